//! From a signal to the end: not ready, then closed, then drained, then gone; and the trail is whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ExecutionPhase, ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, broadcast};
use tokio::time::Instant;

use super::{StartError, start};
use crate::proxy::{Lifecycle, Stage};

/// How often it is looked whether the last request is out.
const LOOK: Duration = Duration::from_millis(20);
/// So long nobody must have been inside: an answer that was just written has to leave the process, too.
const QUIET: Duration = Duration::from_millis(200);
/// The part of the grace that is kept for telling those who still wait.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Waits for what tells the process to end.
pub(super) struct Signals {
    received: Mutex<[Signal; 3]>,
    lifecycle: Arc<Lifecycle>,
    drain_delay: Duration,
    handover: PathBuf,
}

impl Signals {
    /// Listens for SIGTERM, SIGQUIT and SIGINT; call it where a runtime is entered. `handover` is where a process waits that
    /// was started to take the sockets over.
    pub(super) fn listen(
        lifecycle: Arc<Lifecycle>,
        drain_delay: Duration,
        handover: PathBuf,
    ) -> Result<Self, StartError> {
        let on = |kind| signal(kind).map_err(start("the signals"));
        let received = [on(SignalKind::terminate())?, on(SignalKind::quit())?, on(SignalKind::interrupt())?];
        Ok(Self { received: Mutex::new(received), lifecycle, drain_delay, handover })
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let [terminate, quit, interrupt] = &mut *self.received.lock().await;
        tokio::select! {
            _ = terminate.recv() => {
                self.lifecycle.advance(Stage::Leaving);
                tracing::info!(delay = ?self.drain_delay, "the gateway is to stop: it says that it is not ready");
                // A second signal has no patience.
                tokio::select! {
                    () = tokio::time::sleep(self.drain_delay) => {}
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                ShutdownSignal::GracefulTerminate
            }
            // Without a successor, ending would be an outage.
            () = called(quit, &self.handover) => {
                tracing::info!("the gateway hands its sockets to the process that was started with --upgrade");
                ShutdownSignal::GracefulUpgrade
            }
            _ = interrupt.recv() => {
                self.lifecycle.advance(Stage::LastCall);
                ShutdownSignal::FastShutdown
            }
        }
    }
}

/// Waits for SIGQUIT while a process waits for the sockets.
async fn called(quit: &mut Signal, handover: &Path) {
    loop {
        match quit.recv().await {
            Some(()) if handover.exists() => return,
            Some(()) => {
                let at = handover.display();
                tracing::error!(%at, "SIGQUIT hands the sockets over, but no process waits for them, and this one goes on; start the new one with --upgrade first, or end this one with SIGTERM");
            }
            None => std::future::pending().await,
        }
    }
}

/// Waits until nothing more is accepted and nobody is inside, or the grace is over.
pub(super) async fn drained(lifecycle: &Lifecycle, mut phases: broadcast::Receiver<ExecutionPhase>, grace: Duration) {
    loop {
        match phases.recv().await {
            Ok(ExecutionPhase::ShutdownStarted | ExecutionPhase::Terminated)
            | Err(broadcast::error::RecvError::Closed) => break,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
        }
    }
    lifecycle.advance(Stage::Closing);
    tracing::info!(inside = lifecycle.inside(), ?grace, "nothing more is accepted");
    let end = Instant::now() + grace;
    let last_call = end - LAST_CALL.min(grace / 4);
    let mut quiet_since = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = Instant::now();
        if lifecycle.inside() > 0 {
            quiet_since = now;
        }
        if now >= last_call {
            lifecycle.advance(Stage::LastCall);
        }
        if now - quiet_since >= QUIET || now >= end {
            tracing::info!(inside = lifecycle.inside(), "drained");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_requests_inside_and_no_longer_than_the_grace() {
        let life = Arc::new(Lifecycle::default());
        let (phases, watch) = broadcast::channel(4);
        phases.send(ExecutionPhase::GracefulTerminate).unwrap();
        phases.send(ExecutionPhase::ShutdownStarted).unwrap();
        let started = Instant::now();
        drained(&life, watch, Duration::from_secs(10)).await;
        assert!(started.elapsed() < Duration::from_secs(1), "nobody is inside");
        assert_eq!(life.stage(), Stage::Closing);
    }
}
