//! Log records for an OpenTelemetry collector, over OTLP/HTTP with protobuf bodies.
//!
//! The messages are built from the protocol's own types rather than by the SDK's log pipeline, because that one drops
//! what it cannot deliver; here a batch that was not taken is an error, and comes again.

use std::io;

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::runtime::Runtime;

use super::super::chain::Line;
use super::super::encode::Format;
use super::{DEADLINE, Entry, Sink, runtime};
use crate::config::Secret;
use crate::outbound::{Outbound, Settings};

/// A collector, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Where logs go, as in `http://127.0.0.1:4318/v1/logs`.
    pub endpoint: String,
    /// Fields that it wants, such as a key; their values do not print.
    pub headers: Vec<(String, Secret)>,
    /// What a record's body looks like.
    pub format: Format,
}

/// Sends records.
#[derive(Debug)]
pub(super) struct Exporter {
    runtime: Runtime,
    outbound: Outbound,
    collector: Collector,
}

impl Exporter {
    pub(super) fn open(collector: &Collector) -> io::Result<Self> {
        // A collector stands in the operator's own network, often without TLS; the address is the operator's choice.
        let settings = Settings { allow_http: true, timeout: DEADLINE, ..Settings::default() };
        let outbound = Outbound::new(&settings).map_err(io::Error::other)?;
        Ok(Self { runtime: runtime()?, outbound, collector: collector.clone() })
    }

    fn request(&self, instance: &str, entries: &[Entry]) -> ExportLogsServiceRequest {
        let resource = [
            ("service.name", "portcullis"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", instance),
        ];
        let scope = InstrumentationScope { name: "portcullis.audit".to_owned(), ..InstrumentationScope::default() };
        let log_records = entries.iter().map(|entry| record(entry, self.collector.format)).collect();
        let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }];
        let attributes = resource.iter().map(|(key, value)| attribute(key, value)).collect();
        let resource = Some(Resource { attributes, ..Resource::default() });
        ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }],
        }
    }
}

fn record(entry: &Entry, format: Format) -> LogRecord {
    let nanoseconds = entry.time.as_millis().saturating_mul(1_000_000);
    let request = entry.request_id.as_deref().map(|id| attribute("portcullis.request_id", id));
    LogRecord {
        time_unix_nano: nanoseconds,
        observed_time_unix_nano: nanoseconds,
        severity_number: SeverityNumber::Info.into(),
        event_name: entry.kind.to_owned(),
        body: Some(text(&format.encode(&entry.json))),
        attributes: request.into_iter().collect(),
        trace_id: entry.trace.map(|trace| trace.as_bytes().to_vec()).unwrap_or_default(),
        ..LogRecord::default()
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(text(value)), ..KeyValue::default() }
}

fn text(value: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(value.to_owned())) }
}

impl Sink for Exporter {
    fn last(&mut self) -> io::Result<Option<Line>> {
        Ok(None)
    }

    fn write(&mut self, instance: &str, entries: &[Entry], _durably: bool) -> io::Result<()> {
        let body = self.request(instance, entries).encode_to_vec();
        let mut request = self.outbound.client().post(&self.collector.endpoint);
        request = request.header("content-type", "application/x-protobuf").body(body);
        for (name, value) in &self.collector.headers {
            request = request.header(name, value.expose());
        }
        self.runtime.block_on(async {
            // The address may hold a password; it is left out of the message.
            let answer = request.send().await.map_err(|error| io::Error::other(error.without_url()))?;
            if !answer.status().is_success() {
                return Err(io::Error::other(format!("the collector answers {}", answer.status())));
            }
            let body = answer.bytes().await.map_err(|error| io::Error::other(error.without_url()))?;
            let refused = ExportLogsServiceResponse::decode(body).ok().and_then(|answer| answer.partial_success);
            match refused.filter(|refused| refused.rejected_log_records > 0) {
                Some(refused) => {
                    Err(io::Error::other(format!("the collector refuses records: {}", refused.error_message)))
                }
                None => Ok(()),
            }
        })
    }
}
