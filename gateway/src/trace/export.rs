//! Sends spans to a collector, over OTLP/HTTP with protobuf bodies, a batch at a time and each once.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{self as proto, ResourceSpans, ScopeSpans, Status};
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::span::{Kind, Span, Value};
use crate::config::Secret;
use crate::metrics::Spans;
use crate::outbound::{Outbound, OutboundError, Settings};

/// Spans that go together.
const BATCH: usize = 512;
/// The first span of a batch waits for others so long.
const LINGER: Duration = Duration::from_millis(500);
/// A collector that takes longer has not taken them.
const DEADLINE: Duration = Duration::from_secs(10);

/// A collector, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Where traces go, as in `http://127.0.0.1:4318/v1/traces`.
    pub endpoint: String,
    /// Fields that it wants, such as a key; their values do not print.
    pub headers: Vec<(String, Secret)>,
}

/// What is in the queue.
#[derive(Debug)]
pub(super) enum Item {
    Span(Box<Span>),
    /// Somebody waits until what came before is sent.
    Flush(oneshot::Sender<()>),
}

/// Sends what is in the queue.
#[derive(Debug)]
pub struct Exporter {
    collector: Collector,
    items: mpsc::Receiver<Item>,
    series: Spans,
    resource: Resource,
    failing: bool,
}

impl Exporter {
    pub(super) fn new(collector: Collector, items: mpsc::Receiver<Item>, series: Spans) -> Self {
        let instance = format!("{:016x}", rand::random::<u64>());
        let about = [
            ("service.name", Any::StringValue("portcullis".to_owned())),
            ("service.version", Any::StringValue(env!("CARGO_PKG_VERSION").to_owned())),
            ("service.instance.id", Any::StringValue(instance)),
        ];
        let attributes = about.into_iter().map(|(key, value)| attribute(key, value)).collect();
        let resource = Resource { attributes, ..Resource::default() };
        Self { collector, items, series, resource, failing: false }
    }

    /// Sends until the tracer is gone.
    ///
    /// # Errors
    ///
    /// Returns an error when no HTTP client can be made; then nothing is sent.
    pub async fn run(mut self) -> Result<(), OutboundError> {
        // A collector stands in the operator's own network, often without TLS; the address is the operator's choice.
        let outbound = Outbound::new(&Settings { allow_http: true, timeout: DEADLINE, ..Settings::default() })?;
        while let Some(first) = self.items.recv().await {
            let (spans, waiting) = self.batch(first).await;
            if !spans.is_empty() {
                self.send(&outbound, spans).await;
            }
            for done in waiting {
                // Who does not wait any more does not need to know.
                let _ = done.send(());
            }
        }
        Ok(())
    }

    async fn batch(&mut self, first: Item) -> (Vec<Span>, Vec<oneshot::Sender<()>>) {
        let (mut spans, mut waiting) = (Vec::new(), Vec::new());
        let until = Instant::now() + LINGER;
        let mut next = Some(first);
        while let Some(item) = next {
            match item {
                Item::Span(span) => spans.push(*span),
                Item::Flush(done) => waiting.push(done),
            }
            if spans.len() >= BATCH || !waiting.is_empty() {
                break;
            }
            next = tokio::time::timeout_at(until, self.items.recv()).await.ok().flatten();
        }
        (spans, waiting)
    }

    async fn send(&mut self, outbound: &Outbound, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let body = self.request(spans).encode_to_vec();
        let mut request = outbound.client().post(&self.collector.endpoint);
        request = request.header("content-type", "application/x-protobuf").body(body);
        for (name, value) in &self.collector.headers {
            request = request.header(name, value.expose());
        }
        // The address may hold a password; it is left out of the message.
        let problem = match request.send().await {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("the collector answers {}", answer.status())),
            Err(error) => Some(error.without_url().to_string()),
        };
        match problem {
            None => {
                self.series.exported.inc_by(count);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the collector takes spans again");
                }
            }
            Some(error) => {
                self.series.failed.inc_by(count);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(error, "the collector does not take spans; they are lost, and requests go on");
                }
            }
        }
    }

    fn request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let scope = InstrumentationScope { name: "portcullis".to_owned(), ..InstrumentationScope::default() };
        let spans = spans.into_iter().map(written).collect();
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
        let resource = Some(self.resource.clone());
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }],
        }
    }
}

/// A span in the protocol's own form. `tracestate` stays out of it: what a caller writes there is not ours to keep.
fn written(span: Span) -> proto::Span {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let kind = match span.kind {
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
    };
    let link = |(trace, span): (super::TraceId, super::context::SpanId)| Link {
        trace_id: trace.as_bytes().to_vec(),
        span_id: span.as_bytes().to_vec(),
        ..Link::default()
    };
    let status = span.failed.then(|| Status { code: StatusCode::Error.into(), ..Status::default() });
    proto::Span {
        trace_id: span.trace.as_bytes().to_vec(),
        span_id: span.id.as_bytes().to_vec(),
        parent_span_id: span.parent.map(|parent| parent.as_bytes().to_vec()).unwrap_or_default(),
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(span.began),
        end_time_unix_nano: nanoseconds(span.began + span.took),
        attributes: span.attributes.into_iter().map(|(key, value)| attribute(key, any(value))).collect(),
        links: span.link.map(link).into_iter().collect(),
        status,
        ..proto::Span::default()
    }
}

fn any(value: Value) -> Any {
    match value {
        Value::Word(word) => Any::StringValue(word.to_owned()),
        Value::Text(text) => Any::StringValue(text.into()),
        Value::Number(number) => Any::IntValue(number),
    }
}

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
