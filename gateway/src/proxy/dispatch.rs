//! From a decided request to a backend's answer: which server gets it, and what is said when none answers.

use http::HeaderMap;

use super::door::{Failure, Visit};
use super::exchange::Exchange;
use super::forward::{BackendAnswer, ForwardError, UpstreamRequest, forward};
use super::lifecycle::Stage;
use super::rejection::Rejection;
use super::session::Session;
use crate::backend::Upstream;
use crate::mcp;

impl<'d> Visit<'d> {
    /// Sends the request, unless the client goes away first.
    ///
    /// INVARIANT: another server gets it only after no connection to the one before could be made, so that not one
    /// byte of it was written; and never when it belongs to a session.
    pub(super) async fn forward(
        &mut self,
        exchange: &mut Exchange,
        session: &Session,
        id: Option<mcp::RequestId>,
        request: impl Fn(&Upstream, &HeaderMap) -> UpstreamRequest + Send,
    ) -> Result<BackendAnswer<'d>, Failure> {
        let replicas = &self.mount.replicas;
        let candidates = match &session.raw {
            None => replicas.in_turn(),
            Some(_) => replicas.of_session(session.replica.as_deref()).ok_or(Rejection::UnknownSession)?,
        };
        self.forwarded = true;
        let mut rejection = Rejection::BadGateway { id: id.clone() };
        for upstream in candidates {
            let request = request(upstream, exchange.headers());
            let answer = tokio::select! {
                biased;
                answer = forward(upstream, request) => answer,
                gone = exchange.gone() => return Err(gone.into()),
                () = self.door.lifecycle.reached(Stage::LastCall) => {
                    self.error = Some("closing");
                    return Err(Rejection::GatewayTimeout { id }.into());
                }
            };
            match answer {
                Ok(answer) => {
                    self.error = None;
                    return Ok(answer);
                }
                Err(error @ ForwardError::Connect(_)) => rejection = self.failed(&error, id.clone()),
                Err(error) => return Err(self.failed(&error, id).into()),
            }
        }
        Err(rejection.into())
    }

    /// What the caller is told of a failed exchange with a backend, and what the operator is.
    pub(super) fn failed(&mut self, error: &ForwardError, id: Option<mcp::RequestId>) -> Rejection {
        self.error = Some(error.label());
        self.door.metrics.backend_errors.with_label_values(&[self.mount.name.as_ref(), error.label()]).inc();
        tracing::warn!(request_id = %self.id, backend = %self.mount.name, %error, "an exchange with a backend failed");
        match error {
            ForwardError::Timeout => Rejection::GatewayTimeout { id },
            ForwardError::NoRoom => Rejection::Unavailable { id },
            ForwardError::Connect(_) | ForwardError::Broken(_) | ForwardError::WrongBackend => {
                Rejection::BadGateway { id }
            }
        }
    }
}
