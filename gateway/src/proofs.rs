//! What must not be skipped is a type: nobody outside can make the proof that a caller was verified, an act
//! permitted, a signature checked or a code spent, and nothing but a permitted act becomes a request to a backend.
//!
//! Each claim below is a pair of programs: the first compiles, the second differs in what it forges and must not.
//! They run as documentation tests, and a nightly compiler also checks that each fails with the error named; this
//! module is compiled for nothing else.

/// A caller is verified by `authn` alone.
///
/// ```no_run
/// use portcullis::authn::VerifiedIdentity;
/// use portcullis_policy::Subject;
/// fn read(identity: &VerifiedIdentity) -> &Subject { identity.subject() }
/// ```
/// ```compile_fail,E0451
/// use portcullis::authn::VerifiedIdentity;
/// use portcullis_policy::Subject;
/// fn forge(subject: Subject, by: &VerifiedIdentity) -> VerifiedIdentity {
///     VerifiedIdentity { subject, expires_at: by.expires_at(), token_id: None }
/// }
/// ```
/// ```compile_fail,E0624
/// use portcullis::authn::VerifiedIdentity;
/// use portcullis_policy::Subject;
/// fn forge(subject: Subject, by: &VerifiedIdentity) -> VerifiedIdentity {
///     VerifiedIdentity::new(subject, by.expires_at(), None, None)
/// }
/// ```
/// ```compile_fail,E0277
/// use portcullis::authn::VerifiedIdentity;
/// fn forge() -> VerifiedIdentity { Default::default() }
/// ```
/// ```compile_fail,E0308
/// use portcullis::authn::VerifiedIdentity;
/// fn copy(by: &VerifiedIdentity) -> VerifiedIdentity { by.clone() }
/// ```
pub struct IdentityIsVerified;

/// The payload of a token is read after its signature was.
///
/// ```no_run
/// use portcullis::jose::jwt::{Payload, parse};
/// fn read(token: &str) -> bool { parse(token).is_ok() }
/// fn pass(payload: Payload<'_>) -> Payload<'_> { payload }
/// ```
/// ```compile_fail,E0423
/// use portcullis::jose::jwt::Payload;
/// fn forge() -> Payload<'static> { Payload(b"{}") }
/// ```
pub struct PayloadIsSigned;

/// A message is one that the strict reader accepted.
///
/// ```no_run
/// use portcullis::mcp::{ClientMessage, RequestMetadata, read_message};
/// use portcullis_policy::BackendName;
/// fn read(body: &bytes::Bytes, backend: &BackendName) -> Option<ClientMessage> {
///     read_message(body, &RequestMetadata::default(), backend).ok()
/// }
/// ```
/// ```compile_fail,E0451
/// use portcullis::mcp::{ClientMessage, RequestMetadata, read_message};
/// use portcullis_policy::BackendName;
/// fn read(body: &bytes::Bytes, backend: &BackendName) -> Option<ClientMessage> {
///     let message = read_message(body, &RequestMetadata::default(), backend).ok()?;
///     Some(ClientMessage { backend: backend.clone(), ..message })
/// }
/// ```
pub struct MessageIsRead;

/// An act is permitted by the policy alone, and stays what was permitted.
///
/// ```no_run
/// use portcullis::mcp::{ClientMessage, OpenStream};
/// use portcullis_policy::{Policy, Subject, Permit, Permitted};
/// fn ask(policy: &Policy, caller: &Subject, message: ClientMessage) -> Option<Permitted<ClientMessage>> {
///     policy.authorize(caller, message).ok()
/// }
/// ```
/// ```compile_fail,E0451
/// use portcullis::mcp::{ClientMessage, OpenStream};
/// use portcullis_policy::{Policy, Subject, Permit, Permitted};
/// fn forge(act: ClientMessage, permit: Permit) -> Permitted<ClientMessage> { Permitted { act, permit } }
/// ```
/// ```compile_fail,E0277
/// use portcullis::mcp::{ClientMessage, OpenStream};
/// use portcullis_policy::{Policy, Subject, Permit, Permitted};
/// fn convert(open: Permitted<OpenStream>) -> Permitted<ClientMessage> { open.into() }
/// ```
/// ```compile_fail,E0594
/// use portcullis::mcp::{ClientMessage, OpenStream};
/// use portcullis_policy::{Policy, Subject, Permit, Permitted};
/// fn swap(open: &mut Permitted<OpenStream>, other: OpenStream) { *open.act() = other; }
/// ```
pub struct ActIsPermitted;

/// A request to a backend is made of a permitted act.
///
/// ```no_run
/// use bytes::{Bytes, BytesMut};
/// use portcullis::{backend::Upstream, mcp::{ClientMessage, OpenStream}, proxy::forward::UpstreamRequest};
/// use portcullis_policy::{BackendName, Permitted};
/// fn send(upstream: &Upstream, message: &Permitted<ClientMessage>) -> UpstreamRequest {
///     UpstreamRequest::message(upstream, message, &http::HeaderMap::new(), None)
/// }
/// ```
/// ```compile_fail,E0308
/// use bytes::{Bytes, BytesMut};
/// use portcullis::{backend::Upstream, mcp::{ClientMessage, OpenStream}, proxy::forward::UpstreamRequest};
/// use portcullis_policy::{BackendName, Permitted};
/// fn undecided(upstream: &Upstream, message: &ClientMessage) -> UpstreamRequest {
///     UpstreamRequest::message(upstream, message, &http::HeaderMap::new(), None)
/// }
/// ```
/// ```compile_fail,E0308
/// use bytes::{Bytes, BytesMut};
/// use portcullis::{backend::Upstream, mcp::{ClientMessage, OpenStream}, proxy::forward::UpstreamRequest};
/// use portcullis_policy::{BackendName, Permitted};
/// fn another(upstream: &Upstream, message: &Permitted<OpenStream>) -> UpstreamRequest {
///     UpstreamRequest::message(upstream, message, &http::HeaderMap::new(), None)
/// }
/// ```
/// ```compile_fail,E0451
/// use bytes::{Bytes, BytesMut};
/// use portcullis::{backend::Upstream, mcp::{ClientMessage, OpenStream}, proxy::forward::UpstreamRequest};
/// use portcullis_policy::{BackendName, Permitted};
/// fn literal(backend: BackendName, head: BytesMut, body: Bytes) -> UpstreamRequest {
///     UpstreamRequest { backend, head, body, repeatable: true }
/// }
/// ```
pub struct RequestIsPermitted;

/// A code is spent by the store alone.
///
/// ```no_run
/// use portcullis::store::{Grant, SpentCode};
/// fn grant(spent: SpentCode) -> Grant { spent.into_grant() }
/// ```
/// ```compile_fail,E0451
/// use portcullis::store::{Grant, SpentCode};
/// fn forge(grant: Grant) -> SpentCode { SpentCode { grant } }
/// ```
/// ```compile_fail,E0624
/// use portcullis::store::{Grant, SpentCode};
/// fn forge(grant: Grant) -> SpentCode { SpentCode::new(grant) }
/// ```
pub struct CodeIsSpent;
