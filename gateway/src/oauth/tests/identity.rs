//! An identity provider shaped like Entra: discovery, keys and the token endpoint on a loopback socket; the browser's
//! part is [`Identity::sign_in`]. It takes nothing that Entra would refuse, and remembers what it was sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use axum::Json;
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::*;

pub(super) const TENANT: &str = "11111111-2222-4333-8444-555555555555";
pub(super) const CLIENT: &str = "aaaaaaaa-0000-4000-8000-00000000c1d1";
pub(super) const SECRET: &str = "standin~Secret&for=tests+only%";
pub(super) const SCOPE: &str = "api://aaaaaaaa-0000-4000-8000-00000000c1d1/access_as_user";
pub(super) const ALICE: &str = "0a11ce00-0000-4000-8000-000000000001";
pub(super) const BOB: &str = "0b0b0000-0000-4000-8000-000000000002";

/// Its key, and somebody else's.
static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());
static OTHER: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

type Pairs = Vec<(String, String)>;

/// What happens to the next requests at the token endpoint.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// An error as Entra words it.
    Refused(&'static str, u32),
    /// A page instead of an answer.
    Status(u16),
    /// An answer without an ID token.
    NoIdToken,
    /// An ID token with one claim changed.
    Claim(&'static str, Value),
    /// An ID token signed by somebody else.
    ForeignKey,
    /// The ID token of a person of this other directory.
    OtherDirectory(&'static str),
    /// Another person's ID token.
    OtherPerson,
    /// No answer at all.
    Silence,
}

/// What ID tokens say of how and when the person signed in.
#[derive(Clone, Debug, Default)]
pub(super) struct Proof {
    /// `acrs`; absent when empty.
    pub(super) acrs: Vec<&'static str>,
    /// Seconds since `auth_time`; absent when there is none.
    pub(super) age: Option<i64>,
}

#[derive(Clone, Debug)]
struct Issued {
    challenge: String,
    nonce: String,
    oid: String,
}

#[derive(Default)]
struct Memory {
    codes: HashMap<String, Issued>,
    refresh_tokens: HashMap<String, String>,
    roles: HashMap<String, Vec<&'static str>>,
    fault: Option<Fault>,
    proof: Proof,
    seen: Vec<Pairs>,
    headers: Vec<HeaderMap>,
}

struct Inner {
    origin: String,
    clock: ManualClock,
    number: AtomicU64,
    memory: Mutex<Memory>,
}

/// The running provider.
pub(super) struct Identity {
    pub(super) origin: String,
    pub(super) redirect_uri: String,
    inner: Arc<Inner>,
}

impl Identity {
    pub(super) async fn start(clock: ManualClock, redirect_uri: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let roles = HashMap::from([(ALICE.to_owned(), vec!["Task.Read"]), (BOB.to_owned(), vec!["MCPServer.Admin"])]);
        let memory = Mutex::new(Memory { roles, ..Memory::default() });
        let inner = Arc::new(Inner { origin: origin.clone(), clock, number: AtomicU64::new(0), memory });
        let app = Router::new()
            .route(&format!("/{TENANT}/v2.0/.well-known/openid-configuration"), get(discovery))
            .route(&format!("/{TENANT}/discovery/v2.0/keys"), get(keys))
            .route(&format!("/{TENANT}/oauth2/v2.0/token"), post(token))
            .with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { origin, redirect_uri, inner }
    }

    /// What a browser does there: gives the address that the person comes back to.
    pub(super) fn sign_in(&self, departure: &str, oid: &str) -> String {
        let asked = self.asked(departure);
        let value = |name: &str| asked.get(name).cloned().unwrap_or_default();
        assert_eq!(value("response_type"), "code");
        assert_eq!(value("response_mode"), "query");
        assert_eq!(value("client_id"), CLIENT);
        assert_eq!(value("redirect_uri"), self.redirect_uri);
        assert_eq!(value("code_challenge_method"), "S256");
        let code = format!("0.{}", self.inner.number.fetch_add(1, Ordering::SeqCst));
        let issued = Issued { challenge: value("code_challenge"), nonce: value("nonce"), oid: oid.to_owned() };
        self.inner.memory.lock().unwrap().codes.insert(code.clone(), issued);
        query("/auth/callback", &[("code", code), ("state", value("state")), ("session_state", "s".to_owned())])
    }

    /// What a browser brings back when the sign-in fails there.
    pub(super) fn fail(&self, departure: &str, error: &str, description: &str) -> String {
        let state = self.asked(departure).remove("state").unwrap();
        let says = [("error", error.to_owned()), ("error_description", description.to_owned()), ("state", state)];
        query("/auth/callback", &says)
    }

    /// The parameters of the address that the browser was sent to.
    pub(super) fn asked(&self, departure: &str) -> HashMap<String, String> {
        let url = Url::parse(departure).unwrap();
        let endpoint = format!("{}/{TENANT}/oauth2/v2.0/authorize", self.origin);
        assert_eq!(departure.split('?').next(), Some(endpoint.as_str()));
        url.query_pairs().into_owned().collect()
    }

    pub(super) fn set_fault(&self, fault: impl Into<Option<Fault>>) {
        self.inner.memory.lock().unwrap().fault = fault.into();
    }

    pub(super) fn set_proof(&self, proof: Proof) {
        self.inner.memory.lock().unwrap().proof = proof;
    }

    pub(super) fn set_roles(&self, oid: &str, roles: Vec<&'static str>) {
        self.inner.memory.lock().unwrap().roles.insert(oid.to_owned(), roles);
    }

    /// Every request that the token endpoint got.
    pub(super) fn seen(&self) -> Vec<Pairs> {
        self.inner.memory.lock().unwrap().seen.clone()
    }

    pub(super) fn seen_headers(&self) -> Vec<HeaderMap> {
        self.inner.memory.lock().unwrap().headers.clone()
    }
}

async fn discovery(Shared(inner): Shared<Arc<Inner>>) -> Json<Value> {
    let base = format!("{}/{TENANT}", inner.origin);
    Json(json!({ "issuer": format!("{base}/v2.0"), "jwks_uri": format!("{base}/discovery/v2.0/keys") }))
}

async fn keys(Shared(inner): Shared<Arc<Inner>>) -> Json<Value> {
    let key = KEY.public_key();
    let (n, e) = (key.modulus(), key.exponent());
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (n, e) = (number(n.big_endian_without_leading_zero()), number(e.big_endian_without_leading_zero()));
    let issuer = format!("{}/{TENANT}/v2.0", inner.origin);
    Json(
        json!({ "keys": [{ "kty": "RSA", "use": "sig", "kid": "k1", "x5t": "k1", "issuer": issuer, "n": n, "e": e }] }),
    )
}

/// A compact JWS over these claims.
fn sign(pair: &KeyPair, claims: &Value) -> String {
    let header = json!({ "typ": "JWT", "alg": "RS256", "kid": "k1" });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(&header), encode(claims));
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

async fn token(Shared(inner): Shared<Arc<Inner>>, headers: HeaderMap, body: String) -> Response {
    let pairs: Pairs = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let fields: HashMap<String, String> = pairs.iter().cloned().collect();
    let is_silent = matches!(inner.memory.lock().unwrap().fault, Some(Fault::Silence));
    if is_silent {
        std::future::pending::<()>().await;
    }
    let mut memory = inner.memory.lock().unwrap();
    memory.seen.push(pairs);
    memory.headers.push(headers.clone());
    let value = |name: &str| fields.get(name).map_or("", String::as_str);
    let fault = memory.fault.clone();
    match fault {
        Some(Fault::Refused(error, code)) => return refused(error, code),
        Some(Fault::Status(status)) => return StatusCode::from_u16(status).unwrap().into_response(),
        _ => {}
    }
    if value("client_id") != CLIENT || value("client_secret") != SECRET || headers.contains_key(header::ORIGIN) {
        return refused("invalid_client", 7_000_215);
    }
    if fields.contains_key("resource") {
        return refused("invalid_target", 9_010_010);
    }
    let (oid, nonce) = match value("grant_type") {
        "authorization_code" => {
            let Some(issued) = memory.codes.remove(value("code")) else { return refused("invalid_grant", 54005) };
            if URL_SAFE_NO_PAD.encode(Sha256::digest(value("code_verifier"))) != issued.challenge {
                return refused("invalid_grant", 501_481);
            }
            (issued.oid, Some(issued.nonce))
        }
        "refresh_token" => match memory.refresh_tokens.get(value("refresh_token")) {
            Some(oid) => (oid.clone(), None),
            None => return refused("invalid_grant", 50173),
        },
        _ => return refused("unsupported_grant_type", 70003),
    };
    let refresh_token = format!("upstream-refresh-{}", inner.number.fetch_add(1, Ordering::SeqCst));
    memory.refresh_tokens.insert(refresh_token.clone(), oid.clone());
    let says = Says { nonce: nonce.as_deref(), roles: memory.roles.get(&oid), proof: &memory.proof };
    let id_token = id_token(&inner, &oid, &says, fault.as_ref());
    let mut answer = json!({ "token_type": "Bearer", "scope": SCOPE, "expires_in": 4500, "ext_expires_in": 4500,
        "access_token": "upstream-access", "refresh_token": refresh_token, "id_token": id_token });
    if matches!(fault, Some(Fault::NoIdToken)) {
        answer.as_object_mut().unwrap().remove("id_token");
    }
    Json(answer).into_response()
}

/// What one ID token says beside who it is.
struct Says<'m> {
    nonce: Option<&'m str>,
    roles: Option<&'m Vec<&'static str>>,
    proof: &'m Proof,
}

fn id_token(inner: &Inner, oid: &str, says: &Says<'_>, fault: Option<&Fault>) -> String {
    let now = inner.clock.now().as_secs();
    let oid = if matches!(fault, Some(Fault::OtherPerson)) { BOB } else { oid };
    let mut claims = json!({ "iss": format!("{}/{TENANT}/v2.0", inner.origin), "aud": CLIENT, "iat": now, "nbf": now,
        "exp": now + 3600, "ver": "2.0", "tid": TENANT, "oid": oid, "sub": "pairwise", "name": "Alice",
        "preferred_username": "alice@contoso.example", "uti": "u", "rh": "x" });
    if let Some(nonce) = says.nonce {
        claims["nonce"] = json!(nonce);
    }
    if let Some(roles) = says.roles.filter(|roles| !roles.is_empty()) {
        claims["roles"] = json!(roles);
    }
    if !says.proof.acrs.is_empty() {
        claims["acrs"] = json!(says.proof.acrs);
    }
    if let Some(age) = says.proof.age {
        claims["auth_time"] = json!(now.checked_add_signed(-age).unwrap());
    }
    if let Some(Fault::Claim(name, value)) = fault {
        claims[name] = value.clone();
    }
    if let Some(Fault::OtherDirectory(tenant)) = fault {
        claims["tid"] = json!(tenant);
        claims["iss"] = json!(format!("{}/{tenant}/v2.0", inner.origin));
    }
    sign(if matches!(fault, Some(Fault::ForeignKey)) { &OTHER } else { &KEY }, &claims)
}

fn refused(error: &str, code: u32) -> Response {
    let description = format!("AADSTS{code}: <b>upstream words</b> Trace ID: t Correlation ID: c Timestamp: now");
    let body = json!({ "error": error, "error_description": description, "error_codes": [code], "trace_id": "t" });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}
