//! The authorization server as clients and browsers see it, in front of an identity provider on a loopback socket.
//!
//! A suite of refusals begins with the request that must succeed, and then changes one thing at a time. Longer than other
//! files here because it is the stage of all of them.

mod assertions;
mod authorization;
mod callback;
mod client_auth;
mod consent;
mod device;
mod identity;
mod metadata;
mod plain;
mod recorded;
mod refresh;
mod registration;
mod remembered;
mod revocation;
mod step_up;
mod token;

use std::collections::HashMap;

use axum::body::Body;
use http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;
use url::Url;

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::jose::access_token;
use crate::jose::claims::EntraExpectations;
use crate::jose::entra_token;
use crate::jose::key_set::{EntraKeys, KeySet};
use crate::outbound::Outbound;
use crate::store::SqliteStore;
use crate::{entra, outbound};
use identity::Identity;

const ISSUER: &str = "https://gw.example";
const RESOURCE: &str = "https://gw.example/weather/mcp";
const OTHER_RESOURCE: &str = "https://gw.example/crm/mcp";
const REDIRECT: &str = "http://127.0.0.1:33418/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The gateway's own side, its clock, and the identity provider behind it.
struct World {
    app: Router,
    state: Arc<State>,
    clock: ManualClock,
    entra: Identity,
    database: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        Self::with(ISSUER, vec![weather(), crm()]).await
    }

    async fn with(issuer: &str, resources: Vec<Resource>) -> Self {
        Self::with_all(issuer, resources, None, Clients::any()).await
    }

    /// A world in which consent is remembered so long.
    async fn remembering(issuer: &str, resources: Vec<Resource>, remember_consent: Option<Duration>) -> Self {
        Self::with_all(issuer, resources, remember_consent, Clients::any()).await
    }

    async fn with_all(
        issuer: &str,
        resources: Vec<Resource>,
        remember_consent: Option<Duration>,
        clients: Clients,
    ) -> Self {
        Self::build(issuer, resources, remember_consent, clients, Vec::new()).await
    }

    /// A world that takes the word of these issuers from these clients.
    async fn trusting(resources: Vec<Resource>, clients: Clients, issuers: Vec<Trusted>) -> Self {
        Self::build(ISSUER, resources, None, clients, issuers).await
    }

    async fn build(
        issuer: &str,
        resources: Vec<Resource>,
        remember_consent: Option<Duration>,
        clients: Clients,
        issuers: Vec<Trusted>,
    ) -> Self {
        let clock = ManualClock::new(NOW);
        let entra = Identity::start(clock.clone(), format!("{issuer}/auth/callback")).await;
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("portcullis.db");
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&database).await.unwrap());
        let settings = Settings {
            issuer: issuer.to_owned(),
            hosts: Vec::new(),
            resources,
            access_token_lifetime: Duration::from_mins(15),
            refresh_token_lifetime: Duration::from_hours(30 * 24),
            remember_consent,
            device_authorization: true,
            auth_endpoints: true,
            default_resource: None,
        };
        let state = State::new(
            settings,
            store,
            Sealer::new([7; 32]),
            SigningKey::generate().unwrap(),
            Arc::new(sign_in(&entra, &clock)),
            Arc::new(clock.clone()),
        );
        let state = Arc::new(state.with_clients(clients).with_issuers(issuers));
        let app = router(Arc::clone(&state), Limits::default());
        Self { app, state, clock, entra, database, _directory: directory }
    }

    /// The same server, with these keys from now on.
    fn sign_with(&mut self, keys: SigningKeys) {
        self.begin_anew(keys, Clients::any());
    }

    /// The same server, with these clients from now on.
    fn reload(&mut self, clients: Clients) {
        self.begin_anew(self.state.signing_keys.clone(), clients);
    }

    fn begin_anew(&mut self, keys: SigningKeys, clients: Clients) {
        let State { settings, store, sealer, entra, clock, .. } = &*self.state;
        let (store, entra, clock) = (Arc::clone(store), Arc::clone(entra), Arc::clone(clock));
        let state = State::new(settings.clone(), store, sealer.clone(), keys, entra, clock);
        self.state = Arc::new(state.with_clients(clients));
        self.app = router(Arc::clone(&self.state), Limits::default());
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.app.clone().oneshot(request).await.unwrap().into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, parameters: &[(&str, &str)]) -> Answer {
        self.send(form(path, parameters)).await
    }

    async fn post_json(&self, path: &str, body: impl ToString) -> Answer {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// A client with this redirect URI; gives its id.
    async fn register(&self, redirect_uri: &str) -> String {
        let answer = self.post_json("/register", metadata_of(redirect_uri)).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()["client_id"].as_str().unwrap().to_owned()
    }

    /// A person who signs in all the way; gives the code that the client gets.
    async fn code(&self, client_id: &str) -> String {
        let mut browser = Browser::new(self);
        let back = browser.sign_in(&authorize(client_id)).await;
        back.parameter("code").expect("a code")
    }

    async fn redeem(&self, client_id: &str, code: &str) -> Answer {
        self.post("/token", &exchange(client_id, code)).await
    }

    async fn refresh(&self, client_id: &str, token: &str) -> Answer {
        let parameters = [("grant_type", "refresh_token"), ("client_id", client_id), ("refresh_token", token)];
        self.post("/token", &parameters).await
    }

    /// A client, and the tokens it got for a person.
    async fn signed_in(&self) -> (String, Value) {
        let client_id = self.register(REDIRECT).await;
        let code = self.code(&client_id).await;
        let answer = self.redeem(&client_id, &code).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        (client_id, answer.json())
    }

    /// The claims of an access token, verified as `authn` would.
    fn claims(&self, tokens: &Value) -> Value {
        let token = tokens["access_token"].as_str().expect("an access token");
        let jws = crate::jose::jwt::parse(token).unwrap();
        let verifier = access_token::Verifier::new(self.state.settings.issuer.as_str(), self.state.signing_keys.iter());
        serde_json::to_value(verifier.verify(&jws, self.clock.now()).unwrap()).unwrap()
    }
}

fn sign_in(identity: &Identity, clock: &ManualClock) -> Entra {
    let outbound = Outbound::new(&outbound::Settings::default()).unwrap();
    let http = outbound.client().clone();
    let keys = EntraKeys::new(outbound, &identity.origin, identity::TENANT);
    let expectations = EntraExpectations {
        issuer: keys.issuer(),
        tenant_id: identity::TENANT.to_owned(),
        allowed_tenants: vec![],
        client_id: identity::CLIENT.to_owned(),
        scopes: vec!["access_as_user".to_owned()],
        clock_skew: Duration::from_mins(1),
        version_one: None,
        claims: std::collections::BTreeSet::new(),
    };
    let settings = entra::Settings {
        authority: entra::cloud::Authority::new(&identity.origin),
        tenant_id: identity::TENANT.to_owned(),
        several_tenants: false,
        client_id: identity::CLIENT.to_owned(),
        credential: entra::Credential::Secret(identity::SECRET.to_owned()),
        clock_skew: Duration::from_mins(1),
        scopes: vec![identity::SCOPE.to_owned()],
        redirect_uri: identity.redirect_uri.clone(),
    };
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    let keys = Arc::new(KeySet::new(Box::new(keys), Arc::clone(&clock)));
    Entra::new(settings, http, entra_token::Verifier::new(expectations, keys), clock)
}

fn weather() -> Resource {
    resource("weather", RESOURCE, &[("read", "Read"), ("write", "Change"), ("delete", "Delete for good")])
}

fn crm() -> Resource {
    resource("crm", OTHER_RESOURCE, &[("read", "Read"), ("pii", "See personal data")])
}

fn resource(name: &str, url: &str, scopes: &[(&str, &str)]) -> Resource {
    let scope =
        |(name, title): &(&str, &str)| Scope { name: (*name).to_owned(), title: (*title).to_owned(), step_up: None };
    Resource {
        url: url.to_owned(),
        path: Url::parse(url).unwrap().path().to_owned(),
        name: name.to_owned(),
        scopes: scopes.iter().map(scope).collect(),
    }
}

fn metadata_of(redirect_uri: &str) -> Value {
    json!({
        "client_name": "Test client",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
    })
}

/// What the official clients send to `/authorize`.
fn authorize(client_id: &str) -> Vec<(&'static str, String)> {
    vec![
        ("response_type", "code".to_owned()),
        ("client_id", client_id.to_owned()),
        ("redirect_uri", REDIRECT.to_owned()),
        ("state", "client state/+ &<".to_owned()),
        ("code_challenge", URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))),
        ("code_challenge_method", "S256".to_owned()),
        ("resource", RESOURCE.to_owned()),
        ("scope", "read write offline_access".to_owned()),
        ("prompt", "consent".to_owned()),
    ]
}

/// The same request with one parameter changed, added (`Some`) or left out (`None`).
fn with(
    mut request: Vec<(&'static str, String)>,
    name: &'static str,
    value: Option<&str>,
) -> Vec<(&'static str, String)> {
    request.retain(|(known, _)| *known != name);
    request.extend(value.map(|value| (name, value.to_owned())));
    request
}

fn exchange<'a>(client_id: &'a str, code: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", "authorization_code"),
        ("client_id", client_id),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
        ("resource", RESOURCE),
    ]
}

fn query(path: &str, parameters: &[(&str, String)]) -> String {
    let mut encoded = url::form_urlencoded::Serializer::new(String::new());
    encoded.extend_pairs(parameters);
    format!("{path}?{}", encoded.finish())
}

fn form(path: &str, parameters: &[(&str, &str)]) -> Request<Body> {
    let mut encoded = url::form_urlencoded::Serializer::new(String::new());
    encoded.extend_pairs(parameters);
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(Body::from(encoded.finish())).unwrap()
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{} is not JSON: {}", self.status, self.body))
    }

    fn header(&self, name: impl http::header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn location(&self) -> Option<&str> {
        self.headers.get(header::LOCATION).map(|value| value.to_str().unwrap())
    }

    /// A parameter of the redirect.
    fn parameter(&self, name: &str) -> Option<String> {
        let url = Url::parse(self.location()?).unwrap();
        url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    /// `error` of a JSON answer or of a redirect.
    fn error(&self) -> String {
        self.parameter("error").unwrap_or_else(|| self.json()["error"].as_str().unwrap_or_default().to_owned())
    }

    /// The names of the boxes on the page that are ticked.
    fn boxes(&self) -> Vec<String> {
        let tags = self.body.split("<input ").skip(1).map(|rest| rest.split('>').next().unwrap());
        let ticked = tags.filter(|tag| tag.contains("type=\"checkbox\"") && tag.contains(" checked"));
        ticked.map(|tag| tag.split("name=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()).collect()
    }

    /// The value of a hidden field of the page.
    fn field(&self, name: &str) -> String {
        let (_, rest) = self.body.split_once(&format!("name=\"{name}\" value=\"")).expect("the field is on the page");
        rest.split_once('"').unwrap().0.to_owned()
    }
}

/// A browser with cookies.
struct Browser<'w> {
    world: &'w World,
    cookies: HashMap<String, String>,
}

impl<'w> Browser<'w> {
    fn new(world: &'w World) -> Self {
        Self { world, cookies: HashMap::new() }
    }

    async fn send(&mut self, mut request: Request<Body>) -> Answer {
        let line: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !line.is_empty() {
            request.headers_mut().insert(header::COOKIE, line.join("; ").parse().unwrap());
        }
        let answer = self.world.send(request).await;
        for line in answer.headers.get_all(header::SET_COOKIE) {
            let (name, rest) = line.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Opens the authorization request and gets the consent page.
    async fn open(&mut self, request: &[(&str, String)]) -> Answer {
        let page = self.get(&query("/authorize", request)).await;
        assert_eq!(page.status, 200, "{:?} {}", page.location(), page.body);
        page
    }

    async fn decide(&mut self, page: &Answer, decision: &str) -> Answer {
        let (transaction, csrf) = (page.field("transaction"), page.field("csrf"));
        let mut fields = vec![("transaction", transaction.as_str()), ("csrf", &csrf), ("decision", decision)];
        let boxes = page.boxes();
        fields.extend(boxes.iter().map(|name| (name.as_str(), "1")));
        self.send(form("/consent", &fields)).await
    }

    /// Everything up to the identity provider; gives the address that the browser is sent to.
    async fn depart(&mut self, request: &[(&str, String)]) -> String {
        let page = self.open(request).await;
        let answer = self.decide(&page, "approve").await;
        answer.location().unwrap_or_else(|| panic!("not sent on: {} {}", answer.status, answer.body)).to_owned()
    }

    /// Everything up to the client; gives the last redirect.
    async fn sign_in(&mut self, request: &[(&str, String)]) -> Answer {
        let departure = self.depart(request).await;
        let arrival = self.world.entra.sign_in(&departure, identity::ALICE);
        self.get(&arrival).await
    }
}
