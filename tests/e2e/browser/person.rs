//! A person at a browser, who does what a test says.

use std::process::Stdio;

use portcullis_tests::process::{file, node, tool};
use portcullis_tests::{Flow, World};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use url::Url;

use crate::code;

/// A person in front of a gateway that serves TLS.
#[derive(Debug)]
pub(crate) struct Person {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// Where the client on their machine waits for answers.
    redirect: String,
    _browser: Child,
}

impl Person {
    pub(crate) async fn before(world: &World) -> Self {
        assert!(tool("interop/node_modules").exists());
        let mut command = Command::new(node());
        command.arg(file("interop/person.mjs")).arg(world.url()).arg(world.directory());
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let mut browser = spawned.unwrap();
        let (input, output) = (browser.stdin.take().unwrap(), browser.stdout.take().unwrap());
        let mut output = BufReader::new(output).lines();
        let redirect = told(&mut output).await.as_str().unwrap().to_owned();
        Self { input, output, redirect, _browser: browser }
    }

    /// Does something, and tells what came of it.
    pub(crate) async fn does(&mut self, what: &Value) -> Value {
        self.input.write_all(format!("{what}\n").as_bytes()).await.unwrap();
        told(&mut self.output).await
    }

    /// Opens an address as a program does that wants them to sign in.
    pub(crate) async fn opens(&mut self, to: &str) -> Value {
        self.does(&json!({ "does": "open", "to": to })).await
    }

    /// Allows what is asked for, and wants it remembered or not.
    pub(crate) async fn allows(&mut self, remember: bool) -> Value {
        self.does(&json!({ "does": "allow", "remember": remember })).await
    }

    /// Agrees to what a client asks for when this address is opened, for as long as may be.
    pub(crate) async fn agrees(&mut self, to: &str) -> Value {
        let page = self.opens(to).await;
        assert!(is_asked(&page), "{page}");
        let allowed = self.allows(true).await;
        assert!(has_code(&allowed), "{allowed}");
        allowed
    }

    /// The address of an authorization request of the client on their machine; `more` stands for what it would say.
    pub(crate) fn address(&self, flow: &Flow<'_>, who: &str, more: &[(&str, &str)]) -> String {
        let mut parameters = flow.parameters(who);
        parameters.insert("redirect_uri".to_owned(), self.redirect.clone());
        parameters.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Url::parse_with_params(&format!("{}/authorize", flow.world.url()), parameters).unwrap().into()
    }

    /// What the client on their machine trades an answer for.
    pub(crate) async fn tokens(&self, flow: &Flow<'_>, seen: &Value) -> Value {
        let mut form = flow.code_form(&code(&seen["landed"]));
        form.insert("redirect_uri".to_owned(), self.redirect.clone());
        flow.token(&form).await.json().await.unwrap()
    }
}

async fn told(output: &mut Lines<BufReader<ChildStdout>>) -> Value {
    let line = output.next_line().await.unwrap().expect("the browser's script has ended; see above");
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
}

/// Whether the consent page is what there is to see: of its status, and of nothing that went to the client.
pub(crate) fn is_asked(seen: &Value) -> bool {
    seen["asked"] == true && seen["status"] == 200 && seen["landed"].is_null()
}

/// Whether the browser was sent on, without a page, to a client that got a code.
pub(crate) fn is_silent(seen: &Value) -> bool {
    seen["asked"] == false && seen["status"] == 303 && has_code(seen)
}

/// Whether the client got a code.
pub(crate) fn has_code(seen: &Value) -> bool {
    seen["landed"].as_str().is_some_and(|landed| landed.contains("code="))
}
