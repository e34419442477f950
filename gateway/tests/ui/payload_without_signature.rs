use portcullis::jose::jwt::Payload;

fn main() {
    let _ = Payload(b"{}");
}
