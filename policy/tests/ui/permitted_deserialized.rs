//! A permit does not come in from outside.
use portcullis_policy::Permitted;

fn read<T: serde::de::DeserializeOwned>() {}

fn main() {
    read::<Permitted<String>>();
}
