//! Portcullis: an authorization gateway for MCP servers.
//!
//! One request takes one path, and each step hands a value to the next that only it can make:
//!
//! ```text
//! route -> authn -> mcp (strict read) -> policy -> audit -> forward -> rewrite -> answer
//! ```
//!
//! `proxy` draws that path; `oauth` and `admin` answer local routes; `app` wires everything together.

pub mod admin;
pub mod app;
pub mod audit;
pub mod authn;
pub mod backend;
pub mod cli;
pub mod clock;
pub mod config;
pub mod entra;
pub mod jose;
mod json;
pub mod limit;
pub mod log;
pub mod mcp;
pub mod metrics;
pub mod oauth;
pub mod outbound;
#[cfg(doctest)]
pub mod proofs;
pub mod proxy;
mod sqlite;
pub mod store;
pub mod subject;
pub mod tls;
pub mod trace;
