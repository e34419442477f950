//! How long MCP operations take, in the terms of OpenTelemetry's conventions for MCP: as clients see them
//! (`mcp.server.operation.duration`) and as the gateway sees its backends (`mcp.client.operation.duration`).
//!
//! INVARIANT: no label is what a caller chose. Methods are those of the closed table; a tool is one that the policy
//! names or the backend's catalogue lists, a prompt one that the policy names, up to [`MAX_NAMES`] of a backend, and
//! `other` else; errors are fixed words.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use prometheus::{Error, Histogram, HistogramVec};

use super::register::Registrar;
use crate::mcp::Method;

/// More tools, or prompts, of one backend have no series of their own.
pub const MAX_NAMES: usize = 256;
/// What tools and prompts without series of their own are called.
pub const OTHER: &str = "other";
/// As the conventions advise.
const BUCKETS: [f64; 14] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
const LABELS: &[&str] = &["backend", "mcp_method_name", "gen_ai_tool_name", "gen_ai_prompt_name", "error_type"];

/// Both histograms.
#[derive(Clone, Debug)]
pub(super) struct Histograms {
    server: HistogramVec,
    client: HistogramVec,
}

impl Histograms {
    pub(super) fn register(registrar: &mut Registrar) -> Result<Self, Error> {
        Ok(Self {
            server: registrar.histograms(
                "mcp_server_operation_duration_seconds",
                "MCP requests and notifications as clients see them, from the head to the end of the answer. \
                 `error_type` is empty, `tool_error`, a JSON-RPC code that is not the caller's fault, the reason of a \
                 refusal, or what failed. Streams of GET are left out.",
                LABELS,
                &BUCKETS,
            )?,
            client: registrar.histograms(
                "mcp_client_operation_duration_seconds",
                "The same as the gateway sees its backends, from the first byte sent to the end of the answer; what \
                 was not forwarded is not in it.",
                LABELS,
                &BUCKETS,
            )?,
        })
    }
}

/// The operations of one backend.
pub struct Operations {
    backend: Box<str>,
    histograms: Histograms,
    methods: Vec<Arc<Timed>>,
    tools: Named,
    prompts: Named,
}

/// Those of tools, or of prompts, by name.
type Named = RwLock<HashMap<Box<str>, Arc<Timed>>>;

/// The series of one method, or of one tool or prompt that is asked for.
#[derive(Debug)]
pub struct Timed {
    method: Method,
    /// Of the tool or the prompt; [`OTHER`], or empty where the method has neither.
    name: Box<str>,
    /// Of operations without an error, which are found once.
    server: OnceLock<Histogram>,
    client: OnceLock<Histogram>,
}

/// Whose view of an operation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Server,
    /// The gateway's of its backend.
    Client,
}

impl Operations {
    pub(super) fn new(backend: &str, histograms: &Histograms) -> Self {
        let methods = Method::ALL.iter().map(|method| Timed::new(*method, unnamed(*method)));
        let (backend, histograms) = (backend.into(), histograms.clone());
        let (tools, prompts) = (Named::default(), Named::default());
        Self { backend, histograms, methods: methods.collect(), tools, prompts }
    }

    /// The series of a method; of a call or the use of a prompt, those of the tool or prompt, if `is_known` says that there
    /// is one of this name.
    pub fn of(&self, method: Method, name: Option<&str>, is_known: impl FnOnce(&str) -> bool) -> Option<Arc<Timed>> {
        let of_method = || self.methods.get(method as usize).cloned();
        let named = match method {
            Method::ToolsCall => &self.tools,
            Method::PromptsGet => &self.prompts,
            _ => return of_method(),
        };
        let Some(name) = name else { return of_method() };
        let found = named.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = found.get(name) {
            return Some(Arc::clone(known));
        }
        let is_full = found.len() >= MAX_NAMES;
        drop(found);
        if is_full || !is_known(name) {
            return of_method();
        }
        let mut found = named.write().unwrap_or_else(PoisonError::into_inner);
        if found.len() >= MAX_NAMES {
            return of_method();
        }
        let timed = found.entry(name.into()).or_insert_with(|| Timed::new(method, name));
        Some(Arc::clone(timed))
    }

    /// An operation has ended, with this error if any.
    pub fn observe(&self, side: Side, timed: &Timed, took: Duration, error: Option<&'static str>) {
        let (all, good) = match side {
            Side::Server => (&self.histograms.server, &timed.server),
            Side::Client => (&self.histograms.client, &timed.client),
        };
        let (tool, prompt) = match timed.method {
            Method::PromptsGet => ("", &*timed.name),
            _ => (&*timed.name, ""),
        };
        let find = |error: &str| all.with_label_values(&[&*self.backend, timed.method.as_str(), tool, prompt, error]);
        match error {
            None => good.get_or_init(|| find("")).observe(took.as_secs_f64()),
            Some(error) => find(error).observe(took.as_secs_f64()),
        }
    }
}

impl Timed {
    fn new(method: Method, name: &str) -> Arc<Self> {
        Arc::new(Self { method, name: name.into(), server: OnceLock::new(), client: OnceLock::new() })
    }

    /// The tool, where it has series of its own.
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        Some(&*self.name).filter(|name| self.method == Method::ToolsCall && *name != OTHER)
    }
}

/// What stands for a name where none is known.
fn unnamed(method: Method) -> &'static str {
    if matches!(method, Method::ToolsCall | Method::PromptsGet) { OTHER } else { "" }
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations").field("backend", &self.backend).finish_non_exhaustive()
    }
}
