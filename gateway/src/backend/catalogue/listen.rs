//! Waits on a stream of the backend's for the word that its tools have changed.

use std::time::Duration;

use super::{Client, Keeper};

/// Between two tries to listen; a backend that gives no stream is read by time alone.
const PAUSE: Duration = Duration::from_secs(5);

/// Listens as long as the process lives.
pub(super) async fn listen_forever(keeper: &Keeper, client: &Client) {
    loop {
        if keeper.known().catalogue.is_some()
            && let Ok(Some(mut stream)) = client.listen().await
        {
            // What changed before the stream was there was not heard.
            keeper.nudge();
            while let Ok(true) = stream.changed(client.idle()).await {
                keeper.nudge();
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
