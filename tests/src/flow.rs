//! An authorization flow, step by step, so that a test can do each step wrong.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use crate::world::World;

/// Where the client of the tests wants its answers.
pub const REDIRECT: &str = "http://127.0.0.1:33418/callback";

/// A client on its way to a token.
#[derive(Debug)]
pub struct Flow<'w> {
    /// Where it is going on.
    pub world: &'w World,
    /// The registered client.
    pub client_id: String,
    /// Its PKCE verifier.
    pub verifier: String,
    /// The gateway that it asks: the world's, or another of the fleet.
    pub at: String,
}

/// What the token endpoint gave.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The access token.
    pub access: String,
    /// The refresh token.
    pub refresh: String,
    /// The granted scopes.
    pub scope: String,
}

/// The consent page's form.
#[derive(Clone, Debug)]
pub struct Consent {
    /// The whole page.
    pub page: String,
    /// Its fields as they are when the page is opened: hidden ones, and boxes that are ticked.
    pub fields: BTreeMap<String, String>,
    /// The cookie that came with the page.
    pub cookie: String,
}

impl World {
    /// Registers a client and signs a person in.
    pub async fn sign_in(&self, person: &str) -> Tokens {
        let flow = Flow::register(self).await;
        let code = flow.code(person).await;
        flow.tokens(&code).await
    }

    /// Posts the consent form with a decision.
    pub async fn decide(&self, consent: &Consent, decision: &str) -> Response {
        let mut form = consent.fields.clone();
        form.insert("decision".to_owned(), decision.to_owned());
        let request = self.http().post(format!("{}/consent", self.url()));
        request.header(COOKIE, &consent.cookie).form(&form).send().await.unwrap()
    }

    /// What a browser shows at the end of a login that somebody approved.
    pub async fn approve(&self, consent: &Consent) -> Response {
        let approved = self.decide(consent, "approve").await;
        assert_eq!(approved.status(), StatusCode::SEE_OTHER);
        let cookie = cookie(&approved);
        let signed_in = self.http().get(location(&approved)).send().await.unwrap();
        self.http().get(location(&signed_in)).header(COOKIE, cookie).send().await.unwrap()
    }

    /// The code that a person gets who signs in by a link.
    pub async fn code_by_link(&self, link: Url) -> String {
        let shown = self.http().get(link).send().await.unwrap();
        let page = self.approve(&Consent::read(shown).await).await.text().await.unwrap();
        let code = page.split_once("id=\"auth_code\">").and_then(|(_, rest)| rest.split_once('<'));
        code.map_or_else(|| panic!("no code on the page: {page}"), |(code, _)| code.to_owned())
    }
}

impl Consent {
    /// The page in an answer.
    pub async fn read(response: Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        let cookie = cookie(&response);
        let page = response.text().await.unwrap();
        let field = |name: &str| {
            let marker = format!("name=\"{name}\" value=\"");
            let (_, rest) = page.split_once(&marker).expect("the form has no such field");
            (name.to_owned(), rest.split('"').next().unwrap_or_default().to_owned())
        };
        let mut fields = BTreeMap::from([field("transaction"), field("csrf")]);
        fields.extend(boxes(&page).into_iter().map(|name| (name, "1".to_owned())));
        Self { page, fields, cookie }
    }
}

impl<'w> Flow<'w> {
    /// Registers a client.
    pub async fn register(world: &'w World) -> Self {
        let metadata = json!({ "client_name": "Tests", "redirect_uris": [REDIRECT], "application_type": "native",
            "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"] });
        let response = world.http().post(format!("{}/register", world.url())).json(&metadata).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        let registered: Value = response.json().await.unwrap();
        let client_id = registered["client_id"].as_str().unwrap().to_owned();
        Self::of(world, &client_id)
    }

    /// Of a client that is known already, or says by its document who it is.
    #[must_use]
    pub fn of(world: &'w World, client_id: &str) -> Self {
        let verifier = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        Self { world, client_id: client_id.to_owned(), verifier, at: world.url() }
    }

    /// Sends an honest authorization request.
    pub async fn begin(&self, person: &str) -> Response {
        self.authorize(&self.parameters(person)).await
    }

    /// The parameters of an honest authorization request.
    #[must_use]
    pub fn parameters(&self, person: &str) -> BTreeMap<String, String> {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&self.verifier));
        let pairs = [
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", REDIRECT),
            ("state", "the state"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("login_hint", person),
            ("resource", &self.world.mcp()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Sends an authorization request.
    pub async fn authorize(&self, parameters: &BTreeMap<String, String>) -> Response {
        let url = Url::parse_with_params(&format!("{}/authorize", self.at), parameters).unwrap();
        self.world.http().get(url).send().await.unwrap()
    }

    /// The consent page of an honest request.
    pub async fn consent(&self, person: &str) -> Consent {
        Consent::read(self.authorize(&self.parameters(person)).await).await
    }

    /// Posts the consent form with a decision.
    pub async fn decide(&self, consent: &Consent, decision: &str) -> Response {
        self.world.decide(consent, decision).await
    }

    /// From an approved consent to the gateway's callback: the URL and the browser's cookie.
    pub async fn at_callback(&self, person: &str) -> (Url, String) {
        let consent = self.consent(person).await;
        let approved = self.decide(&consent, "approve").await;
        assert_eq!(approved.status(), StatusCode::SEE_OTHER);
        let cookie = cookie(&approved);
        let signed_in = self.world.http().get(location(&approved)).send().await.unwrap();
        (location(&signed_in), cookie)
    }

    /// Follows the callback with a cookie.
    pub async fn arrive(&self, callback: &Url, cookie: &str) -> Response {
        let callback = callback.as_str().replacen(&self.world.url(), &self.at, 1);
        self.world.http().get(callback).header(COOKIE, cookie).send().await.unwrap()
    }

    /// The whole way to a code.
    pub async fn code(&self, person: &str) -> String {
        let (callback, cookie) = self.at_callback(person).await;
        let answer = location(&self.arrive(&callback, &cookie).await);
        assert_eq!(parameter(&answer, "state").as_deref(), Some("the state"));
        assert_eq!(parameter(&answer, "iss"), Some(self.world.url()));
        parameter(&answer, "code").unwrap_or_else(|| panic!("no code in {answer}"))
    }

    /// The honest form for a code.
    #[must_use]
    pub fn code_form(&self, code: &str) -> BTreeMap<String, String> {
        let pairs = [
            ("grant_type", "authorization_code"),
            ("client_id", self.client_id.as_str()),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", &self.verifier),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The honest form for a refresh token.
    #[must_use]
    pub fn refresh_form(&self, token: &str) -> BTreeMap<String, String> {
        let pairs = [("grant_type", "refresh_token"), ("client_id", self.client_id.as_str()), ("refresh_token", token)];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Posts to the token endpoint.
    pub async fn token(&self, form: &BTreeMap<String, String>) -> Response {
        self.world.http().post(format!("{}/token", self.at)).form(form).send().await.unwrap()
    }

    /// Trades a code for tokens.
    pub async fn tokens(&self, code: &str) -> Tokens {
        tokens(self.token(&self.code_form(code)).await).await
    }

    /// Trades a refresh token for tokens.
    pub async fn refreshed(&self, token: &str) -> Tokens {
        tokens(self.token(&self.refresh_form(token)).await).await
    }
}

async fn tokens(response: Response) -> Tokens {
    assert_eq!(response.headers()["cache-control"], "no-store");
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    assert_eq!(status, StatusCode::OK, "{body}");
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    Tokens { access: text("access_token"), refresh: text("refresh_token"), scope: text("scope") }
}

/// Directory and object of who a token is about, as operators write it.
#[must_use]
pub fn user(token: &str) -> String {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    format!("{}:{}", claims["tid"].as_str().unwrap(), claims["oid"].as_str().unwrap())
}

/// The names of the boxes on a page that are ticked.
#[must_use]
pub fn boxes(page: &str) -> Vec<String> {
    let tags = page.split("<input ").skip(1).map(|rest| rest.split('>').next().unwrap_or_default());
    let ticked = tags.filter(|tag| tag.contains("type=\"checkbox\"") && tag.contains(" checked"));
    let name = |tag: &str| {
        tag.split_once("name=\"").and_then(|(_, rest)| rest.split_once('"')).map(|(name, _)| name.to_owned())
    };
    ticked.filter_map(name).collect()
}

/// The first cookie that an answer sets, as a browser sends it back.
#[must_use]
pub fn cookie(response: &Response) -> String {
    let line = response.headers()[SET_COOKIE].to_str().unwrap();
    line.split(';').next().unwrap().to_owned()
}

/// Where a redirect leads.
#[must_use]
pub fn location(response: &Response) -> Url {
    let location = response.headers().get(LOCATION).unwrap_or_else(|| panic!("no redirect but {}", response.status()));
    Url::parse(location.to_str().unwrap()).unwrap()
}

/// A parameter of a URL's query.
#[must_use]
pub fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}
