//! The one way that compiles, at work: what was read and permitted goes on byte for byte. That no other way
//! compiles is in `src/proofs.rs`.

use portcullis::mcp::{RequestMetadata, read_message};
use portcullis_policy::{BackendName, Kind, Policy, Subject};

#[test]
fn what_was_permitted_is_what_is_sent() {
    let backend = BackendName::try_from("weather").unwrap();
    let document = "roles: { Reader: { opens: [read] } }\ntools: { weather: { read: [get_forecast] } }\n";
    let policy = Policy::from_yaml(document, std::slice::from_ref(&backend)).unwrap();
    let reader = Subject::new(Kind::User, "t", "o").with_roles(vec!["Reader".to_owned()]);
    let call = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_forecast"}}"#[..].into();
    let message = read_message(&call, &RequestMetadata::default(), &backend).unwrap();
    let permitted = policy.authorize(&reader, message).unwrap();
    assert_eq!(permitted.act().encode(), call);
}
