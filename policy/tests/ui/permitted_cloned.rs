//! One answer is good for one request.
use portcullis_policy::Permitted;

fn twice(permitted: &Permitted<String>) -> Permitted<String> {
    permitted.clone()
}

fn main() {}
