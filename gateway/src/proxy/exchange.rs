//! One request and its answer on the client's side, over HTTP/1.1 or HTTP/2.
//!
//! A body is read whole or not at all. An answer has a true length, or is a stream that ends or is visibly cut. What
//! is refused before its body was read is answered in a way that the client gets to see, and its connection is closed
//! rather than left out of step. Only heads that passed `head_gate` get here; what is answered is the caller's affair. One
//! type all through, and a little longer than other files for that.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use pingora_core::apps::HttpPersistentSettings;
use pingora_core::protocols::http::{ReusableHttpStream, ServerSession};
use pingora_http::RequestHeader;

pub use super::body::BodyFault;
use super::budget::{AtBackend, Budgets, Caller, Held, Local, Room, SMALL_BODY, Spent};
use super::listener::Deadlines;
use super::shares::Share;
use super::written::{close_gently, head, in_time, insert, write, write_pieces};
use super::{body, head_gate};
use crate::limit::ClientAddress;

/// How long an unread body that is small is read on to keep the connection.
const SMALL_BODY_DEADLINE: Duration = Duration::from_secs(1);
/// What is sent to the gateway itself is a form of a few lines: it comes at once, or from nobody.
const LOCAL_BODY_DEADLINE: Duration = Duration::from_secs(5);
/// What a client may send behind its request while it waits for the answer; it is thrown away.
const AHEAD: usize = 64 * 1024;

/// The client is gone, or its connection is broken: there is nobody to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub struct Gone;

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Unanswered,
    Streaming,
    Answered,
    Cut,
}

/// One request and its answer.
pub struct Exchange {
    session: ServerSession,
    progress: Progress,
    /// Whether nothing of the request is left unread.
    body_read: bool,
    /// The body, once it was read.
    body: Option<Bytes>,
    /// Whether the client sent on before it had its answer. One of its bytes is lost by then, and the connection
    /// with it.
    ahead: bool,
    status: u16,
    sent: u64,
    deadlines: Deadlines,
    /// Fields of whatever is answered.
    carried: HeaderMap,
    /// Its place among the requests of the process.
    place: Option<Held>,
    /// Its place among those of its backend.
    place_at_backend: Option<AtBackend>,
    /// Whose it is.
    of: Of,
    /// Whether it counts among what its caller may ask in a while.
    counted: bool,
    /// The room that its body takes, until its end: what was read of it lives as long.
    room: Room,
}

/// Whose share a request counts against.
enum Of {
    /// Nobody is known yet; the share of the address is taken once the request is to take time.
    Stranger { address: Option<ClientAddress>, share: Option<Share>, local: Option<Held> },
    /// A caller's.
    Caller(Option<Share>),
}

impl Exchange {
    pub(super) fn new(
        mut session: ServerSession,
        shutting_down: bool,
        deadlines: Deadlines,
        budgets: &Budgets,
    ) -> Self {
        let head = session.req_header();
        let keep = !shutting_down && keeps_connection(head);
        session.set_keepalive(keep.then_some(deadlines.keep_alive.as_secs().max(1)));
        let body_read = session.is_body_empty();
        let peer = session.client_addr().and_then(|peer| Some(peer.as_inet()?.ip()));
        let address = budgets.stranger(peer, &session.req_header().headers);
        Self {
            session,
            progress: Progress::Unanswered,
            body_read,
            body: None,
            ahead: false,
            status: 0,
            sent: 0,
            deadlines,
            carried: HeaderMap::new(),
            place: None,
            place_at_backend: None,
            of: Of::Stranger { address, share: budgets.share_of(address), local: None },
            counted: false,
            room: budgets.request_body(),
        }
    }

    pub(super) fn take_place(&mut self, place: Held) {
        self.place = Some(place);
    }

    /// It is this caller's from here on, no longer its address's.
    pub(super) fn is_of(&mut self, caller: Caller) {
        self.of = Of::Caller(caller.place);
        self.room.share(caller.bytes);
    }

    /// It is answered in process: among its address's, in a place and with room that calls do not need.
    ///
    /// # Errors
    ///
    /// Returns [`Spent`] when there is none.
    pub(super) fn is_local(&mut self, budgets: &Budgets) -> Result<(), Spent> {
        self.count_for_address()?;
        let Of::Stranger { address, local, .. } = &mut self.of else { return Ok(()) };
        let Local { place, room } = budgets.local(*address)?;
        (*local, self.room) = (Some(place), room);
        self.deadlines.body = self.deadlines.body.min(LOCAL_BODY_DEADLINE);
        Ok(())
    }

    /// Takes a place among those of its address, if nobody is known whose it is.
    fn count_for_address(&mut self) -> Result<(), Spent> {
        match &mut self.of {
            Of::Stranger { share: Some(share), .. } => share.resize(1),
            _ => Ok(()),
        }
    }

    /// Holds a place among the requests of its backend until its end.
    pub fn take_place_at_backend(&mut self, place: AtBackend) {
        self.place_at_backend = Some(place);
    }

    /// Gives up the places among the requests: what follows has a place of another kind, or waits for nobody.
    pub fn leave_place(&mut self) {
        self.place = None;
        self.place_at_backend = None;
        if let Of::Caller(place) = &mut self.of {
            *place = None;
        }
    }

    /// Fields that whatever is answered from here on carries.
    pub fn carry(&mut self, fields: HeaderMap) {
        self.carried.extend(fields);
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.session.req_header().method
    }

    /// The path, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.session.req_header().uri.path()
    }

    /// The version of HTTP.
    #[must_use]
    pub fn version(&self) -> Version {
        self.session.req_header().version
    }

    /// The header fields.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.session.req_header().headers
    }

    /// The only value of a field; `None` when it is absent, there twice, or not visible ASCII.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        let mut values = self.headers().get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }

    /// Whether a field is there more than once, or not visible ASCII.
    #[must_use]
    pub fn is_ambiguous(&self, name: &HeaderName) -> bool {
        self.headers().contains_key(name) && self.header(name).is_none()
    }

    /// The host that was asked for: `:authority`, or `Host`.
    #[must_use]
    pub fn host(&self) -> &str {
        let authority = self.session.req_header().uri.authority().map(http::uri::Authority::as_str);
        authority.or_else(|| self.header(&header::HOST)).unwrap_or_default()
    }

    /// The address at the other end of the connection.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.session.client_addr()?.as_inet().copied()
    }

    /// The request without its body, for the in-process router.
    #[must_use]
    pub fn parts(&self) -> http::request::Parts {
        self.session.req_header().as_owned_parts()
    }

    /// What was answered: the status, 0 for none, and the bytes of the body.
    #[must_use]
    pub fn answered(&self) -> (u16, u64) {
        (self.status, self.sent)
    }

    /// Has it counted among what its caller may ask in a while: once, however often it begins anew.
    pub(super) fn count<E>(&mut self, count: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        if !self.counted {
            count()?;
            self.counted = true;
        }
        Ok(())
    }

    /// Gives up what was taken to serve it at a door that does not count any more; its body is kept, if it was read.
    pub(super) fn begin_anew(&mut self) {
        self.place_at_backend = None;
        match &mut self.of {
            Of::Caller(place) => *place = None,
            Of::Stranger { local, .. } => *local = None,
        }
    }

    /// Reads the whole body, at most `limit` bytes; one that was read before is there still.
    ///
    /// # Errors
    ///
    /// Returns a [`BodyFault`]; it can be answered, and the connection ends with that.
    pub async fn read_body(&mut self, limit: usize) -> Result<Bytes, BodyFault> {
        if let Some(body) = &self.body {
            if body.len() > limit {
                return Err(BodyFault::TooLarge);
            }
            self.room.resize(body.len())?;
            return Ok(body.clone());
        }
        let body = body::read(&mut self.session, limit, self.deadlines.body, &mut self.room).await?;
        self.body_read = true;
        self.body = Some(body.clone());
        Ok(body)
    }

    /// Answers at once, with a true `Content-Length`.
    ///
    /// # Errors
    ///
    /// Returns [`Gone`] when there is nobody to read it, or something was answered before.
    pub async fn answer(&mut self, mut response: Response<Bytes>) -> Result<(), Gone> {
        if self.progress != Progress::Unanswered {
            return Err(Gone);
        }
        // The rest of a body is waited for as far as its address may have requests waiting.
        let waits = self.body_read || self.count_for_address().is_ok();
        if !self.body_read && waits {
            self.body_read = body::finish_small(&mut self.session, SMALL_BODY, SMALL_BODY_DEADLINE).await;
        }
        if !self.body_read {
            self.session.set_keepalive(None);
        }
        self.progress = Progress::Cut;
        self.status = response.status().as_u16();
        self.sent = response.body().len() as u64;
        let without_body = *self.method() == Method::HEAD;
        add(response.headers_mut(), &self.carried);
        write(&mut self.session, response, without_body, self.deadlines.write).await?;
        self.progress = Progress::Answered;
        if !self.body_read {
            if !waits {
                self.place = None;
            }
            close_gently(&mut self.session, true).await;
        }
        Ok(())
    }

    /// Answers a request that is refused by its head; nothing more is read from this connection, and no place is kept
    /// from others meanwhile.
    pub(super) async fn refuse(&mut self, mut response: Response<Bytes>) -> Result<(), Gone> {
        self.leave_place();
        add(response.headers_mut(), &self.carried);
        self.body_read = false;
        self.session.set_keepalive(None);
        self.progress = Progress::Cut;
        let without_body = *self.method() == Method::HEAD;
        write(&mut self.session, response, without_body, self.deadlines.write).await?;
        self.progress = Progress::Answered;
        close_gently(&mut self.session, true).await;
        Ok(())
    }

    /// Begins an answer whose length is not known.
    ///
    /// # Errors
    ///
    /// Returns [`Gone`] when there is nobody to read it, or something was answered before.
    pub async fn begin_stream(&mut self, status: StatusCode, fields: &HeaderMap) -> Result<(), Gone> {
        if self.progress != Progress::Unanswered {
            return Err(Gone);
        }
        let mut head = head(status, fields)?;
        for (name, value) in &self.carried {
            head.append_header(name.clone(), value.clone()).map_err(|_invalid| Gone)?;
        }
        if self.session.req_header().version == Version::HTTP_11 {
            insert(&mut head, header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
        }
        self.progress = Progress::Streaming;
        self.status = status.as_u16();
        in_time(self.deadlines.write, self.session.write_response_header(Box::new(head))).await
    }

    /// Sends a piece of a stream; returns when the connection has taken it.
    ///
    /// # Errors
    ///
    /// Returns [`Gone`] when there is nobody to read it, or no stream was begun.
    pub async fn send(&mut self, piece: Bytes) -> Result<(), Gone> {
        if self.progress != Progress::Streaming {
            return Err(Gone);
        }
        self.sent += piece.len() as u64;
        write_pieces(&mut self.session, piece, self.deadlines.write).await
    }

    /// Ends a stream: the client sees that it is complete.
    ///
    /// # Errors
    ///
    /// Returns [`Gone`] when there is nobody to read it, or no stream was begun.
    pub async fn finish_stream(&mut self) -> Result<(), Gone> {
        if self.progress != Progress::Streaming {
            return Err(Gone);
        }
        in_time(self.deadlines.write, self.session.write_response_body(Bytes::new(), true)).await?;
        self.progress = Progress::Answered;
        Ok(())
    }

    /// Cuts the connection: what was sent so far must not look complete.
    pub fn cut(&mut self) {
        self.progress = Progress::Cut;
    }

    /// Waits until the client goes away; for use beside whatever the client is waiting for, once its body was read.
    ///
    /// A client that sends on meanwhile is watched still, and gone once it has sent more than anybody keeps.
    pub async fn gone(&mut self) -> Gone {
        if !self.body_read {
            return std::future::pending().await;
        }
        for _ in 0..AHEAD {
            match self.session.read_body_or_idle(true).await {
                Err(error) if body::is_ahead(&error) => {
                    self.ahead = true;
                    self.session.set_keepalive(None);
                }
                _ => return Gone,
            }
        }
        Gone
    }

    /// Gives the connection back when it is in step, and ends it otherwise.
    pub(super) async fn end(
        mut self,
        outcome: Result<(), Gone>,
    ) -> Option<(ReusableHttpStream, HttpPersistentSettings)> {
        let whole = self.progress == Progress::Answered && outcome.is_ok();
        if whole && (self.session.is_http2() || (self.body_read && !self.ahead)) {
            let settings = HttpPersistentSettings::for_session(&self.session);
            return Some((self.session.finish().await.ok()??, settings));
        }
        self.session.shutdown().await;
        None
    }
}

/// Whether another request may come on the connection of this one. None does after a chunked body: Pingora reads chunk
/// extensions, sizes and trailers that another reader frames apart, and must not be the second to read what follows.
pub(super) fn keeps_connection(head: &RequestHeader) -> bool {
    head.version == Version::HTTP_11
        && !wants_close(&head.headers)
        && !head.headers.contains_key(header::TRANSFER_ENCODING)
        && !head_gate::has_control(head.raw_path())
}

fn wants_close(fields: &HeaderMap) -> bool {
    let values = fields.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case("close"))
}

fn add(fields: &mut HeaderMap, carried: &HeaderMap) {
    for (name, value) in carried {
        fields.append(name, value.clone());
    }
}
