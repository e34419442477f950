//! What was decided about is what is permitted: it cannot be changed afterwards.
use portcullis_policy::Permitted;

fn change(permitted: &mut Permitted<String>) {
    permitted.act().push_str("/everything");
}

fn main() {}
