//! A small MCP client of its own: registers, signs a person in through the consent page, lists, calls.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

/// What can go wrong is shown as it is.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

const REDIRECT: &str = "http://127.0.0.1:33418/callback";
const VERSION: &str = "2025-11-25";

/// One person's connection to the gateway.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    gateway: String,
    token: String,
    session: Option<String>,
}

impl Client {
    /// Signs a person in, as an MCP client and a browser would.
    pub(crate) async fn sign_in(gateway: &str, person: &str) -> Result<Self, Failure> {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let registration =
            json!({ "client_name": "Quickstart", "redirect_uris": [REDIRECT], "application_type": "native" });
        let registered: Value =
            http.post(format!("{gateway}/register")).json(&registration).send().await?.json().await?;
        let client_id = registered["client_id"].as_str().ok_or("the registration was refused")?.to_owned();
        let verifier = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let code = authorize(&http, gateway, &client_id, &challenge, person).await?;
        let form = BTreeMap::from([
            ("grant_type", "authorization_code"),
            ("client_id", &client_id),
            ("code", &code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", &verifier),
        ]);
        let tokens: Value = http.post(format!("{gateway}/token")).form(&form).send().await?.json().await?;
        let token = tokens["access_token"].as_str().ok_or("there is no access token")?.to_owned();
        let mut client = Self { http, gateway: gateway.to_owned(), token, session: None };
        let hello = json!({ "protocolVersion": VERSION, "capabilities": {}, "clientInfo": { "name": "quickstart", "version": "0" } });
        client.request("initialize", hello).await?;
        client.notify("notifications/initialized").await?;
        Ok(client)
    }

    /// The names of the tools that are listed, in order.
    pub(crate) async fn tools(&mut self) -> Result<Vec<String>, Failure> {
        let answer = self.request("tools/list", json!({})).await?;
        let tools = answer["result"]["tools"].as_array().ok_or("there is no list")?;
        Ok(tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect())
    }

    /// Calls a tool; the answer is a result or an error.
    pub(crate) async fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, Failure> {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    async fn notify(&self, method: &str) -> Result<(), Failure> {
        self.post(json!({ "jsonrpc": "2.0", "method": method })).await.map(|_| ())
    }

    async fn request(&mut self, method: &str, params: Value) -> Result<Value, Failure> {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let response = self.post(message).await?;
        if let Some(session) = response.headers().get("mcp-session-id") {
            self.session = Some(session.to_str()?.to_owned());
        }
        let text = response.text().await?;
        let mut events = text.lines().rev().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
        let answer = events.find(|data| data.contains("\"id\"")).unwrap_or(&text);
        Ok(serde_json::from_str(answer)?)
    }

    async fn post(&self, message: Value) -> Result<reqwest::Response, Failure> {
        let mut request = self
            .http
            .post(format!("{}/mcp", self.gateway))
            .bearer_auth(&self.token)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", VERSION)
            .json(&message);
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        Ok(request.send().await?)
    }
}

/// The browser's part: consent, sign-in, and back with a code.
async fn authorize(
    http: &reqwest::Client,
    gateway: &str,
    client_id: &str,
    challenge: &str,
    person: &str,
) -> Result<String, Failure> {
    let parameters = [
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", REDIRECT),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
        ("state", "s"),
        ("login_hint", person),
    ];
    let shown = http.get(Url::parse_with_params(&format!("{gateway}/authorize"), parameters)?).send().await?;
    let consent = cookie(&shown)?;
    let page = shown.text().await?;
    let field = |name: &str| {
        let marker = format!("name=\"{name}\" value=\"");
        page.split_once(&marker).and_then(|(_, rest)| rest.split_once('"')).map(|(value, _)| value.to_owned())
    };
    let (transaction, csrf) =
        (field("transaction").ok_or("there is no consent page")?, field("csrf").ok_or("no csrf")?);
    let mut form = BTreeMap::from([("transaction", transaction), ("csrf", csrf), ("decision", "approve".to_owned())]);
    let boxes = page.split("type=\"checkbox\" name=\"").skip(1).filter_map(|rest| rest.split_once('"'));
    form.extend(
        boxes.filter(|(_, rest)| rest.starts_with(" value=\"1\" checked")).map(|(name, _)| (name, "1".to_owned())),
    );
    let approved = http.post(format!("{gateway}/consent")).header(COOKIE, consent).form(&form).send().await?;
    let login = cookie(&approved)?;
    let signed_in = http.get(location(&approved)?).send().await?;
    let returned = http.get(location(&signed_in)?).header(COOKIE, login).send().await?;
    let answer = Url::parse(&location(&returned)?)?;
    let code = answer.query_pairs().find(|(name, _)| name == "code").map(|(_, code)| code.into_owned());
    Ok(code.ok_or_else(|| format!("there is no code in {answer}"))?)
}

/// The first cookie that an answer sets, as a browser sends it back.
fn cookie(response: &reqwest::Response) -> Result<String, Failure> {
    let line = response.headers().get(SET_COOKIE).ok_or("there is no cookie")?.to_str()?;
    Ok(line.split(';').next().unwrap_or_default().to_owned())
}

fn location(response: &reqwest::Response) -> Result<String, Failure> {
    let location = response.headers().get(LOCATION).ok_or_else(|| format!("no redirect but {}", response.status()))?;
    Ok(location.to_str()?.to_owned())
}
