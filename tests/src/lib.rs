//! The world that the end-to-end tests live in: a gateway of its own for each test, on free ports, with an identity
//! provider and a backend, all gone when the test is over.
//!
//! Nothing here reaches into the gateway: it is a process, configured by a file and asked over sockets.

pub mod backend;
pub mod calendar;
pub mod certificate;
pub mod documents;
pub mod flow;
pub mod load;
pub mod lossy;
pub mod node;
pub mod postgres;
pub mod process;
pub mod raw;
pub mod redis;
pub mod reliability;
pub mod source;
pub mod unlucky;
pub mod world;

pub use backend::{Answer, Backend};
pub use calendar::Calendar;
pub use flow::{Flow, Tokens};
pub use node::Node;
pub use process::{Process, free_port, tool};
pub use redis::Redis;
pub use reliability::{fault, measured};
pub use world::{World, WorldBuilder};

/// How many calls a trail says to have been let through. One that had to wait until another configuration counted was
/// decided again by that, and is counted once.
#[must_use]
pub fn allowed(trail: &str) -> usize {
    trail.matches("\"decision\":\"allow\"").count() - trail.matches("\"error\":\"superseded\"").count()
}
