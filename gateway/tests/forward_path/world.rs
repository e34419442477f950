//! A gateway that is only the forward path: read, decide by a small policy, forward, answer.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use pingora_core::apps::ServerApp;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::{GetSocketDigest, SocketDigest};
use portcullis::backend::care::Care;
use portcullis::backend::{Settings, Upstream};
use portcullis::limit::TrustedProxies;
use portcullis::mcp::{EndSession, OpenStream, RequestMetadata, read_message};
use portcullis::metrics::Metrics;
use portcullis::proxy::budget::{Budgets, Limits};
use portcullis::proxy::exchange::{BodyFault, Exchange, Gone};
use portcullis::proxy::forward::{BackendAnswer, ForwardError, UpstreamRequest, forward};
use portcullis::proxy::listener::{Deadlines, Handler, Listener};
use portcullis_policy::{BackendName, Kind, Policy, Subject};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::backend::Backend;

pub(crate) const BODY_LIMIT: usize = 4 << 20;
pub(crate) const ANSWER_LIMIT: usize = 1 << 20;
/// More than the buffers of both ends take.
pub(crate) const LARGE: usize = 64 << 20;
pub(crate) const HEAD_DEADLINE: Duration = Duration::from_millis(600);
pub(crate) const BODY_DEADLINE: Duration = Duration::from_millis(1200);
pub(crate) const WRITE_DEADLINE: Duration = Duration::from_millis(1500);
pub(crate) const KEEP_ALIVE: Duration = Duration::from_millis(2500);

const POLICY: &str = r#"
roles: { User: { opens: [user] } }
tools: { scripted: { user: ["*"], admin: [delete_everything] } }
"#;

/// A gateway and the scripted backend behind it.
pub(crate) struct World {
    pub(crate) gateway: SocketAddr,
    pub(crate) backend: Backend,
    pub(crate) upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
    budgets: Arc<Budgets>,
    _shutdown: watch::Sender<bool>,
}

impl World {
    pub(crate) async fn start() -> Self {
        let backend = Backend::start().await;
        let url = format!("http://{}/mcp", backend.address);
        Self::with(backend, settings(&url)).await
    }

    /// A world whose gateway holds no more than this.
    pub(crate) async fn within(limits: Limits) -> Self {
        let backend = Backend::start().await;
        let url = format!("http://{}/mcp", backend.address);
        Self::of(backend, settings(&url), limits).await
    }

    pub(crate) async fn with(backend: Backend, settings: Settings) -> Self {
        Self::of(backend, settings, Limits::default()).await
    }

    async fn of(backend: Backend, settings: Settings, limits: Limits) -> Self {
        let upstream = Arc::new(Upstream::new(settings).unwrap());
        let policy = Policy::from_yaml(POLICY, &[name()]).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let budgets = Arc::new(Budgets::new(limits, TrustedProxies::default(), &metrics));
        let gateway = Gateway { upstream: upstream.clone(), policy, budgets: budgets.clone() };
        let deadlines =
            Deadlines { head: HEAD_DEADLINE, body: BODY_DEADLINE, write: WRITE_DEADLINE, keep_alive: KEEP_ALIVE };
        let (shutdown, watch) = watch::channel(false);
        let listener = Arc::new(Listener::new(gateway, deadlines, budgets.clone()));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((connection, _)) = socket.accept().await {
                connection.set_nodelay(true).unwrap();
                let (listener, watch) = (listener.clone(), watch.clone());
                let socket = SocketDigest::from_raw_fd(connection.as_raw_fd());
                let mut stream = Stream::from(connection);
                stream.set_socket_digest(socket);
                tokio::spawn(async move { listener.process_new(Box::new(stream), &watch).await });
            }
        });
        Self { gateway: address, backend, upstream, metrics, budgets, _shutdown: shutdown }
    }

    /// Waits until nothing of a budget is in use; at most five seconds.
    pub(crate) async fn until_given_back(&self, budget: &str) {
        for _ in 0..500 {
            if self.budget(budget).0 == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{budget} are never given back: {:?}", self.budget(budget));
    }

    /// How much of a budget is in use, and how often it was refused.
    pub(crate) fn budget(&self, name: &str) -> (i64, u64) {
        self.budgets.observe(&self.metrics);
        let series = &self.metrics.budgets;
        (series.used.with_label_values(&[name]).get(), series.refused.with_label_values(&[name]).get())
    }

    /// The control of every suite of refusals: an ordinary call succeeds, on a new connection.
    pub(crate) async fn still_serves(&self) {
        let answer = self.post(call("echo", 0)).await;
        assert!(answer.is_ok(), "the control must succeed: {answer:?}");
    }
}

pub(crate) fn settings(url: &str) -> Settings {
    Settings {
        name: name(),
        url: url.parse().unwrap(),
        ca_file: None,
        connect_timeout: Duration::from_secs(2),
        timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(2),
        care: Care::default(),
    }
}

fn name() -> BackendName {
    BackendName::try_from("scripted").unwrap()
}

/// A call of a scripted tool with so many bytes of arguments, as the gateway would write it itself.
pub(crate) fn call(tool: &str, padding: usize) -> String {
    let padding = "A".repeat(padding);
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"b":"{padding}"}}}}}}"#
    )
}

struct Gateway {
    upstream: Arc<Upstream>,
    policy: Policy,
    budgets: Arc<Budgets>,
}

#[async_trait]
impl Handler for Gateway {
    async fn handle(&self, exchange: &mut Exchange) -> Result<(), Gone> {
        if exchange.path() == "/local" {
            return exchange.answer(text(StatusCode::OK, "hello")).await;
        }
        if exchange.path() == "/large" {
            return exchange.answer(Response::new(Bytes::from(vec![b'A'; LARGE]))).await;
        }
        if exchange.path() == "/forgotten" {
            return Ok(());
        }
        assert!(exchange.path() != "/panic", "a fault of the program's own");
        if exchange.path() != "/mcp" {
            return exchange.answer(text(StatusCode::NOT_FOUND, "no")).await;
        }
        let request = match self.request(exchange).await {
            Ok(request) => request,
            Err(status) => return exchange.answer(text(status, "no")).await,
        };
        let answer = tokio::select! {
            biased;
            answer = forward(&self.upstream, request, &|| true) => answer,
            gone = exchange.gone() => return Err(gone),
        };
        match answer {
            Ok(answer) => relay(exchange, answer, &self.budgets).await,
            Err(error) => exchange.answer(text(status_of(&error), &error.to_string())).await,
        }
    }
}

impl Gateway {
    async fn request(&self, exchange: &mut Exchange) -> Result<UpstreamRequest, StatusCode> {
        let caller = Subject::new(Kind::User, "tenant", "object").with_roles(vec!["User".to_owned()]);
        let session = exchange.header(&HeaderName::from_static("mcp-session-id")).map(str::to_owned);
        let (upstream, session) = (&self.upstream, session.as_deref());
        match *exchange.method() {
            Method::POST => {
                let body = exchange.read_body(BODY_LIMIT).await.map_err(|fault| match fault {
                    BodyFault::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                    BodyFault::TooSlow => StatusCode::REQUEST_TIMEOUT,
                    BodyFault::OverShare => StatusCode::TOO_MANY_REQUESTS,
                    BodyFault::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
                    BodyFault::Broken | BodyFault::Ended => StatusCode::BAD_REQUEST,
                })?;
                let message = read_message(&body, &RequestMetadata::default(), &name());
                let message = message.map_err(|_refusal| StatusCode::BAD_REQUEST)?;
                let permitted = self.policy.authorize(&caller, message).map_err(|_denial| StatusCode::FORBIDDEN)?;
                Ok(UpstreamRequest::message(upstream, &permitted, exchange.headers(), session))
            }
            Method::GET => {
                let act = self.policy.authorize(&caller, OpenStream(name())).unwrap();
                let last = exchange.header(&HeaderName::from_static("last-event-id"));
                Ok(UpstreamRequest::stream(upstream, &act, exchange.headers(), session.unwrap_or("none"), last))
            }
            Method::DELETE => {
                let act = self.policy.authorize(&caller, EndSession(name())).unwrap();
                Ok(UpstreamRequest::end(upstream, &act, exchange.headers(), session.unwrap_or("none")))
            }
            _ => Err(StatusCode::METHOD_NOT_ALLOWED),
        }
    }
}

async fn relay(exchange: &mut Exchange, mut answer: BackendAnswer<'_>, budgets: &Budgets) -> Result<(), Gone> {
    let mut room = budgets.answer_body();
    let (status, fields) = (answer.status(), answer.fields_for_client());
    if answer.header(&header::CONTENT_TYPE) != Some("text/event-stream") {
        let whole = tokio::select! {
            biased;
            whole = answer.whole(ANSWER_LIMIT, &mut room) => whole,
            gone = exchange.gone() => return Err(gone),
        };
        return match whole {
            Ok(body) => {
                let mut response = Response::new(body);
                (*response.status_mut(), *response.headers_mut()) = (status, fields);
                exchange.answer(response).await
            }
            Err(error) => exchange.answer(text(status_of(&error), &error.to_string())).await,
        };
    }
    exchange.begin_stream(status, &fields).await?;
    loop {
        let piece = tokio::select! {
            biased;
            piece = answer.next_piece(Duration::from_secs(2)) => piece,
            gone = exchange.gone() => return Err(gone),
        };
        match piece {
            Ok(Some(piece)) => exchange.send(piece).await?,
            Ok(None) => return exchange.finish_stream().await,
            Err(_) => {
                exchange.cut();
                return Ok(());
            }
        }
    }
}

fn status_of(error: &ForwardError) -> StatusCode {
    if matches!(error, ForwardError::Timeout) { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY }
}

fn text(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(text.as_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
