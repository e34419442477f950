//! The forward path over real sockets: a scripted backend on one side, raw HTTP/1.1 and HTTP/2 clients on the other,
//! and every test looks at both. The inputs include those that Pingora's own proxy or hyper let through.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "this is a test, all of it")]

mod answers;
mod backend;
mod bodies;
mod budgets;
mod certificates;
mod client;
mod connections;
mod deadlines;
mod fields;
mod frames;
mod http2;
mod http2_abuse;
mod malformed;
mod refusals;
mod streams;
mod tls;
mod world;
