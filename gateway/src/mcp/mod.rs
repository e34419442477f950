//! The Model Context Protocol as the gateway reads it. Pure: bytes in, values out.
//!
//! A message is read strictly and once; what two readers could take for two things is refused. What goes on to a
//! backend is encoded from what was decided, never from what was sent. Streamable HTTP of the revisions 2025-03-26
//! to 2026-07-28; sessions and their headers belong to `proxy`.

mod act;
pub mod answer;
pub mod capabilities;
mod client_message;
mod jsonrpc;
pub mod list_filter;
mod method;
mod refusal;
mod request_metadata;
pub mod session;
pub mod sse;
mod version;

pub use act::{EndSession, OpenStream};
pub use client_message::{ClientMessage, Kind, Target, read_message};
pub use jsonrpc::RequestId;
pub use method::{Governance, Method};
pub use refusal::{Refusal, error_body};
pub use request_metadata::RequestMetadata;
pub use version::{Era, ProtocolVersion};
