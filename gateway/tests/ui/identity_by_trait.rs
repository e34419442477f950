use portcullis::authn::VerifiedIdentity;

fn made<T: Default + Clone>() {}

fn main() {
    made::<VerifiedIdentity>();
}
