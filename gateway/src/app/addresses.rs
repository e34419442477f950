//! Waits until all addresses can be listened on: a process that stops may still be at it.
//!
//! The server's own threads would try, and end alone.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use super::{StartError, start};

/// An address that is in use is tried again so often, and after so long each time.
const TRIES: u32 = 40;
const AGAIN: Duration = Duration::from_millis(250);

/// Returns once all of them could be had together.
///
/// # Errors
///
/// Returns a [`StartError`] that names the first that cannot be had, in ten seconds.
pub(super) async fn free(addresses: &[SocketAddr]) -> Result<(), StartError> {
    // Each is held until the last is there: two of ours could be in each other's way.
    let mut held = Vec::with_capacity(addresses.len());
    for address in addresses {
        held.push(listen(*address).await?);
    }
    drop(held);
    Ok(())
}

/// Whether somebody listens on all of them, from whom the sockets can be taken over. Known before anything is opened: a server
/// that waits for them in vain ends the process on the spot.
///
/// # Errors
///
/// Returns a [`StartError`] that names the first on which nobody does.
pub(super) fn taken(addresses: &[SocketAddr]) -> Result<(), StartError> {
    for address in addresses {
        if TcpListener::bind(address).is_ok() {
            let what =
                format!("nothing listens on `{address}` whose sockets could be taken over; start without `--upgrade`");
            return Err(start("--upgrade")(what));
        }
    }
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let mut turn = 0;
    loop {
        let taken = match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse && turn < TRIES => error,
            Err(error) => {
                let what = format!("`{address}` cannot be listened on: {error}; see who does, or set another");
                return Err(start("`server.listen` or `server.admin_listen`")(what));
            }
        };
        if turn == 0 {
            tracing::warn!(%address, error = %taken, "the address is in use; it is tried again for some seconds");
        }
        turn += 1;
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn where_nobody_listens_there_is_nothing_to_take_over() {
        let (one, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let both = [one.local_addr().unwrap(), other.local_addr().unwrap()];
        assert!(taken(&both).is_ok(), "the control");
        drop(other);
        assert!(taken(&both).unwrap_err().to_string().contains("without `--upgrade`"));
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_cannot_be_had_together_are_not_free() {
        let (one, other) = (SocketAddr::from(([127, 0, 0, 1], port())), SocketAddr::from(([127, 0, 0, 1], port())));
        assert!(free(&[one, other]).await.is_ok(), "the control");
        assert!(free(&[one, other]).await.is_ok(), "and nothing is held after");
        let everywhere = SocketAddr::from(([0, 0, 0, 0], one.port()));
        for both in [[one, one], [everywhere, one], [one, everywhere]] {
            let fault = free(&both).await.unwrap_err().to_string();
            assert!(fault.contains("cannot be listened on"), "{fault}");
        }
    }
}
