//! The TLS handshake of a connection, by the setting that counts when it begins.

use pingora_core::listeners::tls::Acceptor;
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::stream::Stream as Plain;
use tokio::time::Instant;

use crate::tls::Live;

/// The encrypted connection; `None` when there is nobody that could be told anything.
pub(super) async fn handshake(tls: &Live, stream: Stream, deadline: Instant) -> Option<Stream> {
    let Ok(plain) = stream.into_any().downcast::<Plain>() else {
        tracing::error!("a connection of another kind than TCP cannot be encrypted; report this");
        return None;
    };
    let acceptor = Acceptor::from_server_config(tls.config());
    match tokio::time::timeout_at(deadline, acceptor.tls_handshake(*plain)).await {
        Ok(Ok(encrypted)) => Some(Box::new(encrypted)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}
