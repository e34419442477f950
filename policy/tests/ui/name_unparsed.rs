//! A name that was not parsed is no name.
use portcullis_policy::BackendName;

fn main() {
    let _ = BackendName("../../etc".into());
}
