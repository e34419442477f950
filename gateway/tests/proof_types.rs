//! What must not be skipped is a type: nobody outside can make the proof that a caller was verified, an act
//! permitted or a code spent, and nothing but a permitted act becomes a request to a backend.

use http::HeaderMap;
use portcullis::backend::Upstream;
use portcullis::mcp::{ClientMessage, RequestMetadata, read_message};
use portcullis::proxy::forward::UpstreamRequest;
use portcullis_policy::{BackendName, Kind, Permitted, Policy, Subject};

#[test]
fn proofs_cannot_be_made_outside() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

/// The control: the same parts, put together the one way that compiles.
fn from_a_permit(upstream: &Upstream, message: &Permitted<ClientMessage>) -> UpstreamRequest {
    UpstreamRequest::message(upstream, message, &HeaderMap::new(), None)
}

#[test]
fn a_permitted_message_becomes_a_request() {
    let _compiles = from_a_permit;
    let backend = BackendName::try_from("weather").unwrap();
    let document = "roles: { Reader: { opens: [read] } }\ntools: { weather: { read: [get_forecast] } }\n";
    let policy = Policy::from_yaml(document, std::slice::from_ref(&backend)).unwrap();
    let reader = Subject::new(Kind::User, "t", "o").with_roles(vec!["Reader".to_owned()]);
    let call = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_forecast"}}"#[..].into();
    let message = read_message(&call, &RequestMetadata::default(), &backend).unwrap();
    let permitted = policy.authorize(&reader, message).unwrap();
    assert_eq!(permitted.act().encode(), call);
}
