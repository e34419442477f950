//! The constructor is the policy's own.
use portcullis_policy::{Permit, Permitted};

fn forge(permit: Permit) -> Permitted<&'static str> {
    Permitted::new("delete everything", permit)
}

fn main() {}
