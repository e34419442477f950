//! The Model Context Protocol as the gateway reads it. Pure: bytes in, values out.
//!
//! A message is read strictly and once; what two readers could take for two things is refused. What goes on to a
//! backend is encoded from what was decided, never from what was sent. Streamable HTTP of the revisions 2025-03-26
//! to 2026-07-28; sessions and their headers belong to `proxy`.

mod act;
pub mod answer;
mod batch;
mod caching;
pub mod capabilities;
mod client_message;
mod edit;
mod error_data;
pub mod event_id;
mod fault;
mod features;
mod jsonrpc;
pub mod list_filter;
mod method;
pub mod outcome;
mod refusal;
mod request_metadata;
mod server_message;
pub mod session;
mod settle;
pub mod sse;
mod target;
mod terms;
mod trace;
mod version;

pub use act::{EndSession, OpenStream};
pub use batch::{no_batch, split_batch};
pub use client_message::{ClientMessage, Kind, read_message, read_message_on};
pub use edit::with_member;
pub use error_data::settle_error;
pub use fault::Fault;
pub use features::Features;
pub use jsonrpc::RequestId;
pub use method::{Governance, Method};
pub use refusal::{Refusal, error_body};
pub use request_metadata::{RequestMetadata, encode_header};
pub use server_message::settle_server_message;
pub use target::Target;
pub use terms::{Place, Seals, Strict, Task, Terms};
pub use trace::TraceContext;
pub use version::{Era, ProtocolVersion};
