//! `portcullis login`: signs a person in at a gateway that has the plain endpoints, and prints an access token for a
//! script.
//!
//! The code on the page is bound to this process by PKCE (RFC 7636): whoever sees it over a shoulder cannot use it. With
//! `--save` the tokens are kept in a file that only its owner can read, and the next run needs nobody at the keyboard.

use std::io::{BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::Answer;
use crate::outbound::{self, Outbound};

/// Longer than a refresh that asks the identity provider takes.
const PATIENCE: Duration = Duration::from_secs(30);
const MAX_ANSWER: usize = 256 * 1024;

/// Where and for what to sign in.
#[derive(Debug, Args)]
pub(super) struct Question {
    /// The gateway's origin, such as `https://mcp.example.com`.
    #[arg(value_name = "URL")]
    gateway: String,
    /// The server that the token is for, by its URL; the default one when left out.
    #[arg(long)]
    resource: Option<String>,
    /// Scopes, separated by spaces; every usual one when left out.
    #[arg(long)]
    scope: Option<String>,
    /// Keep the tokens in this file, and renew them from it as long as that works.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// A PEM file with an authority to believe beside the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// What is kept of a sign-in.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    gateway: String,
    resource: Option<String>,
    scope: Option<String>,
    refresh_token: String,
}

/// What a gateway gave.
#[derive(Debug, Deserialize)]
struct Tokens {
    access_token: String,
    refresh_token: Option<String>,
}

/// Signs in, or renews what was kept; prints the access token alone, so that a script can take it.
pub(super) fn run(question: &Question) -> Result<Answer, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(sign_in(question)).map(Answer::Yes)
}

async fn sign_in(question: &Question) -> Result<String, String> {
    let gateway = Gateway::new(question)?;
    if let Some(tokens) = renewed(question, &gateway).await? {
        return keep(question, &gateway, tokens);
    }
    let verifier = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let link = gateway.link(question, &URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier)))?;
    let code = ask(&link).map_err(|error| error.to_string())?;
    let tokens = gateway.post("/auth/exchange", &json!({ "auth_code": code, "code_verifier": verifier })).await?;
    keep(question, &gateway, tokens)
}

/// New tokens for those that were kept; none where nothing was, or the person has to sign in again.
async fn renewed(question: &Question, gateway: &Gateway) -> Result<Option<Tokens>, String> {
    let Some(file) = question.save.as_ref().filter(|file| file.exists()) else { return Ok(None) };
    let unusable = |why: &dyn std::fmt::Display| format!("`{}`: {why}; remove it to sign in anew", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| unusable(&error))?;
    let kept: Kept = serde_json::from_str(&text).map_err(|error| unusable(&error))?;
    // A refresh token goes to the gateway that gave it and to no other, whatever the command line says.
    let same = kept.gateway == gateway.origin && kept.resource == question.resource && kept.scope == question.scope;
    if !same {
        return Ok(None);
    }
    match gateway.post("/auth/refresh", &json!({ "refresh_token": kept.refresh_token })).await {
        Ok(tokens) => Ok(Some(tokens)),
        Err(why) if why.contains("invalid_grant") => Ok(None),
        Err(why) => Err(why),
    }
}

fn keep(question: &Question, gateway: &Gateway, tokens: Tokens) -> Result<String, String> {
    if let (Some(file), Some(refresh_token)) = (&question.save, tokens.refresh_token) {
        let kept = Kept {
            gateway: gateway.origin.clone(),
            resource: question.resource.clone(),
            scope: question.scope.clone(),
            refresh_token,
        };
        write_private(file, &serde_json::to_string(&kept).map_err(|error| error.to_string())?)
            .map_err(|error| format!("`{}` cannot be written: {error}", file.display()))?;
    }
    Ok(tokens.access_token)
}

/// Writes a file that was never readable to others, and never half written.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let aside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&aside, path)
}

/// Has the person sign in; the code that they bring back.
fn ask(link: &Url) -> std::io::Result<String> {
    let mut out = std::io::stderr().lock();
    writeln!(out, "Open this link in a browser, sign in, and paste the code here within a minute:\n\n  {link}\n")?;
    write!(out, "code: ")?;
    out.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

struct Gateway {
    origin: String,
    outbound: Outbound,
}

impl Gateway {
    fn new(question: &Question) -> Result<Self, String> {
        let url = Url::parse(&question.gateway).map_err(|_error| {
            format!("`{}` is no URL; write the gateway's origin, such as `https://mcp.example.com`", question.gateway)
        })?;
        let read = |file: &PathBuf| std::fs::read(file).map_err(|error| format!("`{}`: {error}", file.display()));
        let extra_ca_pem = question.ca_file.as_ref().map(read).transpose()?;
        let settings = outbound::Settings { extra_ca_pem, timeout: PATIENCE, ..outbound::Settings::default() };
        let outbound = Outbound::new(&settings).map_err(|error| error.to_string())?;
        let origin = url.origin().ascii_serialization();
        outbound.check(&origin).map_err(|error| error.to_string())?;
        Ok(Self { origin, outbound })
    }

    fn link(&self, question: &Question, challenge: &str) -> Result<Url, String> {
        let named = [("resource", &question.resource), ("scope", &question.scope)];
        let mut pairs = vec![("code_challenge", challenge), ("code_challenge_method", "S256")];
        pairs.extend(named.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
        Url::parse_with_params(&format!("{}/auth/login", self.origin), pairs).map_err(|error| error.to_string())
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Tokens, String> {
        let url = format!("{}{path}", self.origin);
        let fault = |why: String| format!("`{url}`: {why}");
        let sent = self.outbound.client().post(&url).json(body).send().await;
        let response = sent.map_err(|error| fault(error.without_url().to_string()))?;
        let status = response.status().as_u16();
        if status == 404 {
            return Err(fault(
                "the gateway has no such endpoint; its operator turns it on with `server.auth_endpoints`".to_owned(),
            ));
        }
        let bytes = outbound::read(response, &url, MAX_ANSWER).await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&bytes).map_err(|_error| fault(format!("status {status}")))?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().escape_debug().to_string();
        if status != 200 {
            return Err(fault(format!("{}: {}", text("error"), text("error_description"))));
        }
        serde_json::from_value(answer).map_err(|_error| fault("the answer has no access token".to_owned()))
    }
}
