//! Nothing is permitted by default.
use portcullis_policy::Permitted;

fn forge() -> Permitted<()> {
    Default::default()
}

fn main() {}
