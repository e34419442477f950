//! The one door. A request goes through these steps in this order, and there is no second path:
//!
//! ```text
//! head_gate   framing, target and host can be read in one way only
//! route       a backend's path, or the in-process router
//! authn       headers -> VerifiedIdentity                      401 before the body is looked at
//! mcp         bytes -> ClientMessage                           strictly, or refused
//! session     sealed id -> the backend's own                   this caller's, or 404
//! policy      subject + message -> Permitted<ClientMessage>    or a denial with reasons
//! audit       the verdict, before a byte goes to a backend
//! forward     takes the Permitted message and nothing less
//! deliver     lists filtered, sessions sealed, other ids refused
//! ```
//!
//! Pingora's HTTP lives in [`exchange`], [`listener`] and [`forward`]; the rest knows requests and answers only.

mod asked;
mod batch;
mod began;
mod body;
pub mod budget;
mod cors;
mod current;
mod deliver;
mod dispatch;
mod door;
mod ending;
pub mod exchange;
pub mod forward;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod head_gate;
mod headers;
pub mod host;
mod http2;
mod lifecycle;
mod list_cache;
pub mod listener;
mod mount;
mod on_behalf_of;
mod operation;
mod plain;
mod rate;
mod raw_head;
mod reader;
mod rejection;
mod route;
mod seals;
mod secure;
mod session;
mod shares;
pub mod standing;
mod verdict;
mod written;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use portcullis_policy::BackendName;
use tokio::sync::watch;
use tower::ServiceExt;

pub use current::{CurrentDoor, Over};
pub use lifecycle::{Lifecycle, Stage};
pub use mount::Mount;
pub use on_behalf_of::{Exchanger, OnBehalfOf};
pub use route::RouteTable;

use crate::audit::{Auditor, RequestId};
use crate::authn::Authenticator;
use crate::clock::Clock;
use crate::limit::{ClientAddress, Rate, TrustedProxies};
use crate::metrics::Metrics;
use crate::store::Sealer;
use crate::trace::Tracer;
use asked::Asked;
use began::Began;
use budget::{Budgets, Spent};
use current::Latest;
use exchange::{BodyFault, Exchange, Gone};
use list_cache::ListCache;
use rate::Calls;
use route::Route;
use standing::{Current, Standing};

/// Bodies and answers of local routes.
const MAX_LOCAL: usize = 64 * 1024;

/// Why a door has not answered a request.
enum Unserved {
    /// There is nobody to answer.
    Gone,
    /// Another door counts by now, and nothing was sent to a backend: it is for that one.
    Outdated,
}

impl From<Gone> for Unserved {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// Everything that the steps need.
pub struct Door {
    routes: RouteTable,
    authenticator: Authenticator,
    standing: Current,
    sealer: Sealer,
    auditor: Arc<Auditor>,
    metrics: Arc<Metrics>,
    local: Router,
    clock: Arc<dyn Clock>,
    settings: Settings,
    budgets: Arc<Budgets>,
    lifecycle: Arc<Lifecycle>,
    /// Which of its streams are over, for all that the process goes on.
    over: watch::Sender<Over>,
    asked: Arc<Asked>,
    began: Arc<Began>,
    lists: ListCache,
    latest: Latest,
    calls: Arc<Calls>,
    tracer: Option<Arc<Tracer>>,
    /// The minute in which it was last said that somebody comes without TLS.
    told_of_plain: AtomicU64,
}

/// What the data plane was told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of a request's body.
    pub request_body: usize,
    /// Bytes of a JSON answer, and of one event.
    pub answer_body: usize,
    /// Bytes of memory for filtered lists.
    pub list_cache: usize,
    /// Origins whose browsers may call.
    pub allowed_origins: Vec<String>,
    /// How often a caller may ask a backend whose roles say nothing of it.
    pub calls: Option<Rate>,
    /// Proxies whose word on a client's address counts.
    pub trusted_proxies: TrustedProxies,
    /// Whether a network reaches the listener, and there is no TLS on it: only proxies may speak to it then.
    pub plain_network: bool,
    /// Whether callers may ask who they are (`plain`).
    pub auth_endpoints: bool,
}

/// The parts that a door is made of.
pub struct Parts {
    /// Paths and host names.
    pub routes: RouteTable,
    /// Verifies callers.
    pub authenticator: Authenticator,
    /// Decides.
    pub standing: Current,
    /// Seals session ids.
    pub sealer: Sealer,
    /// Records.
    pub auditor: Arc<Auditor>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Answers local routes.
    pub local: Router,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// When everything ends.
    pub lifecycle: Arc<Lifecycle>,
    /// Sizes and origins.
    pub settings: Settings,
    /// What the process may hold.
    pub budgets: Arc<Budgets>,
    /// Traces.
    pub tracer: Option<Arc<Tracer>>,
}

impl Door {
    /// A door of these parts. What backends have asked clients goes on from the door before, and so does the count of
    /// what callers ask, if its limit is the same.
    #[must_use]
    pub fn new(parts: Parts, before: Option<&Self>) -> Self {
        let Parts { routes, authenticator, standing, sealer, auditor, metrics, .. } = parts;
        let (local, clock, lifecycle, settings, budgets) =
            (parts.local, parts.clock, parts.lifecycle, parts.settings, parts.budgets);
        let asked = before.map_or_else(Arc::default, |before| Arc::clone(&before.asked));
        let began = before.map_or_else(Arc::default, |before| Arc::clone(&before.began));
        let calls = before.filter(|before| before.settings.calls == settings.calls);
        let calls = calls.map_or_else(|| Arc::new(Calls::new(settings.calls)), |before| Arc::clone(&before.calls));
        Self {
            routes,
            authenticator,
            standing,
            sealer,
            auditor,
            metrics,
            local,
            clock,
            lists: ListCache::new(settings.list_cache),
            latest: before.map_or_else(Latest::default, |before| Arc::clone(&before.latest)),
            settings,
            budgets,
            lifecycle,
            over: watch::Sender::default(),
            asked,
            began,
            calls,
            tracer: parts.tracer,
            told_of_plain: AtomicU64::new(0),
        }
    }

    /// The backend of this name, where there is one.
    fn mount(&self, name: &BackendName) -> Option<&Arc<Mount>> {
        self.routes.mounts().iter().find(|mount| mount.name == *name)
    }

    /// What counts now; whoever takes it decides by one policy and one catalogue.
    fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// Tells its streams of a reload, and ends those that are over with it.
    fn end_streams(&self, over: &Over) {
        self.over.send_modify(|ended| ended.add(over));
    }

    /// Whether this backend is served by other rules by now.
    fn is_over(&self, backend: &BackendName) -> bool {
        self.over.borrow().has(backend)
    }

    /// Waits until a stream of this backend that only waits for news is to end.
    async fn news_is_over(&self, backend: &BackendName) {
        let mut over = self.over.subscribe();
        tokio::select! {
            () = self.lifecycle.reached(Stage::Closing) => {}
            _ = over.wait_for(|over| over.has(backend)) => {}
        }
    }

    /// Where a request comes from, as far as proxies are believed.
    fn source(&self, exchange: &Exchange) -> Option<IpAddr> {
        self.settings.trusted_proxies.source(exchange.peer().map(|peer| peer.ip()), exchange.headers())
    }

    /// Says that somebody came without TLS over a network: once a minute to the operator, for strangers choose how often
    /// they come.
    fn tell_of_plain(&self, id: RequestId, peer: Option<IpAddr>) {
        let minute = self.clock.now().as_secs() / 60;
        if self.told_of_plain.swap(minute, Ordering::Relaxed) == minute {
            tracing::debug!(request_id = %id, ?peer, "another one without TLS is refused");
        } else {
            tracing::warn!(request_id = %id, ?peer, "plain HTTP from an address that is none of `server.trusted_proxies` is refused; others are counted in `portcullis_turned_away_total`");
        }
    }

    /// Answers a local route in process.
    async fn local(&self, exchange: &mut Exchange) -> Result<(), Unserved> {
        let body = match exchange.read_body(MAX_LOCAL).await {
            Ok(_) if self.is_outdated() => return Err(Unserved::Outdated),
            Ok(body) => body,
            Err(BodyFault::Ended) => return Err(Unserved::Gone),
            Err(fault) => return Ok(exchange.answer(unread(fault)).await?),
        };
        Ok(self.route(exchange, body).await?)
    }

    /// What the router says.
    async fn route(&self, exchange: &mut Exchange, body: Bytes) -> Result<(), Gone> {
        let mut request = Request::from_parts(exchange.parts(), Body::from(body));
        request.extensions_mut().insert(self.source(exchange).map_or_else(ClientAddress::unknown, ClientAddress::of));
        let response = match self.local.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (mut parts, body) = response.into_parts();
        parts.headers.remove(header::CONTENT_LENGTH);
        match body.collect().await {
            Ok(body) => exchange.answer(Response::from_parts(parts, body.to_bytes())).await,
            Err(error) => {
                tracing::error!(%error, "a local answer could not be made");
                exchange.answer(status(StatusCode::INTERNAL_SERVER_ERROR)).await
            }
        }
    }
}

impl Door {
    /// Takes a request all its way, unless another door is to do so.
    async fn pass(&self, exchange: &mut Exchange, id: RequestId) -> Result<(), Unserved> {
        let peer = exchange.peer().map(|peer| peer.ip());
        if self.settings.plain_network && !self.settings.trusted_proxies.may_be_plain(peer) {
            self.tell_of_plain(id, peer);
            self.metrics.turned_away("plain_http");
            return Ok(exchange.answer(status(StatusCode::FORBIDDEN)).await?);
        }
        match self.routes.find(exchange.host(), exchange.path()) {
            Route::Backend(mount) => self.serve(exchange, &Arc::clone(mount), id).await,
            // What is logged and recorded on the way says which request it was.
            Route::Local => {
                if let Err(spent) = exchange.is_local(&self.budgets) {
                    return Ok(exchange.refuse(listener::put_off(spent)).await?);
                }
                let source = self.source(exchange);
                let answered = async {
                    match self.plain(exchange).await {
                        Some(answer) => Ok(exchange.answer(answer).await?),
                        None => self.local(exchange).await,
                    }
                };
                id.scope(source, answered).await
            }
            Route::Misdirected => {
                self.metrics.turned_away("misdirected");
                Ok(exchange.answer(status(StatusCode::MISDIRECTED_REQUEST)).await?)
            }
        }
    }
}

/// What every answer says of its request: the name that it has in the log, the audit trail and its trace.
fn named(id: RequestId) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(1);
    if let Ok(value) = HeaderValue::try_from(id.to_string()) {
        fields.insert(headers::REQUEST_ID, value);
    }
    fields
}

/// What is said to a local request whose body cannot be read.
fn unread(fault: BodyFault) -> Response<Bytes> {
    match fault {
        BodyFault::TooLarge => status(StatusCode::PAYLOAD_TOO_LARGE),
        BodyFault::TooSlow => status(StatusCode::REQUEST_TIMEOUT),
        BodyFault::NoRoom => listener::put_off(Spent::Everybodys),
        BodyFault::OverShare => listener::put_off(Spent::Their),
        BodyFault::Broken | BodyFault::Ended => status(StatusCode::BAD_REQUEST),
    }
}

fn status(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}
