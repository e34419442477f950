//! Answers on their way to a client: status and fields in a head whose framing is ours, bodies in pieces, each with its
//! deadline, and connections that end without overtaking what was said on them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;

use super::body;
use super::exchange::Gone;

/// What is answered when a head could not be read has little to say, and no client waits long for it.
const UNREAD_DEADLINE: Duration = Duration::from_secs(5);
const WRITE_PIECE: usize = 64 * 1024;

/// Answers a request whose head could not be read.
pub(super) async fn answer_unread(session: &mut ServerSession, response: Response<Bytes>) {
    session.set_keepalive(None);
    if write(session, response, false, UNREAD_DEADLINE).await.is_ok() {
        close_gently(session, false).await;
    }
}

/// Writes a whole answer, with its true length.
pub(super) async fn write(
    session: &mut ServerSession,
    response: Response<Bytes>,
    without_body: bool,
    deadline: Duration,
) -> Result<(), Gone> {
    let (parts, body) = response.into_parts();
    let mut head = head(parts.status, &parts.headers)?;
    let bodiless = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !bodiless {
        insert(&mut head, header::CONTENT_LENGTH, HeaderValue::from(body.len()))?;
    }
    in_time(deadline, session.write_response_header(Box::new(head))).await?;
    if !bodiless && !without_body {
        write_pieces(session, body, deadline).await?;
    }
    in_time(deadline, session.write_response_body(Bytes::new(), true)).await
}

/// A deadline for each piece: a slow reader is no dead one.
pub(super) async fn write_pieces(session: &mut ServerSession, mut rest: Bytes, deadline: Duration) -> Result<(), Gone> {
    while !rest.is_empty() {
        let piece = rest.split_to(rest.len().min(WRITE_PIECE));
        in_time(deadline, session.write_response_body(piece, false)).await?;
    }
    Ok(())
}

/// Says that nothing more comes, and lets the client read what came.
pub(super) async fn close_gently(session: &mut ServerSession, has_head: bool) {
    if !session.is_http2() {
        session.shutdown().await;
    }
    body::linger(session, has_head).await;
}

pub(super) async fn in_time(
    deadline: Duration,
    write: impl Future<Output = pingora_core::Result<()>>,
) -> Result<(), Gone> {
    match tokio::time::timeout(deadline, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::debug!(%error, "an answer cannot be written");
            Err(Gone)
        }
        Err(_) => Err(Gone),
    }
}

/// Status and fields of an answer; framing and connection are this module's own.
pub(super) fn head(status: StatusCode, fields: &HeaderMap) -> Result<ResponseHeader, Gone> {
    let mut head = ResponseHeader::build_no_case(status, Some(fields.len() + 3)).map_err(|_invalid| Gone)?;
    for (name, value) in fields.iter().filter(|(name, _)| !is_ours(name)) {
        head.append_header(name.clone(), value.clone()).map_err(|_invalid| Gone)?;
    }
    Ok(head)
}

fn is_ours(name: &HeaderName) -> bool {
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE, header::TRAILER]
        .contains(name)
}

pub(super) fn insert(head: &mut ResponseHeader, name: HeaderName, value: HeaderValue) -> Result<(), Gone> {
    head.insert_header(name, value).map_err(|_invalid| Gone)
}
