//! What a backend's tools were when the operator last looked at them, and what is done about those that are others
//! now: a tool that is new, or described anew, does not exist until it is approved, is reported, or passes.
//!
//! Pure but for reading and writing the lock file. Who may call what exists is the policy's affair.

mod drift;
mod lock_file;
mod surface;
mod text_diff;

pub use drift::{Change, Finding, Mode, Rule, compare};
pub use lock_file::{LockError, LockFile};
pub use surface::{Drift, Place, Surface};
pub use text_diff::{describe, visible};

#[cfg(test)]
mod tests;
