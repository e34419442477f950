//! The data plane: one request from its head to its answer.

mod body;
pub mod exchange;
pub mod forward;
mod head_gate;
pub mod headers;
pub mod listener;
mod raw_head;
