//! A permit is not something one writes down.
use portcullis_policy::{Permit, Permitted};

fn forge(permit: Permit) -> Permitted<&'static str> {
    Permitted { act: "delete everything", permit }
}

fn main() {}
