//! How far the end of the process is, and how many requests are inside.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// The stages from serving to the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Requests come and go.
    #[default]
    Serving,
    /// The process is to end, and its load balancers are to see it first: it says that it is not ready.
    Leaving,
    /// Nothing more is accepted. Requests are answered, and streams that wait for news end.
    Closing,
    /// The time is over: who still waits for an answer is told so.
    LastCall,
}

/// The life of the process, as requests see it.
#[derive(Debug, Default)]
pub struct Lifecycle {
    stage: watch::Sender<Stage>,
    inside: AtomicUsize,
}

/// A request that is inside until it is dropped.
pub(super) struct Inside<'l>(&'l Lifecycle);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Lifecycle {
    /// The stage that the process is in.
    #[must_use]
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Goes on to a stage; never back.
    pub fn advance(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let on = to > *stage;
            *stage = to.max(*stage);
            on
        });
    }

    /// How many requests are inside.
    #[must_use]
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::Acquire)
    }

    pub(super) fn enter(&self) -> Inside<'_> {
        self.inside.fetch_add(1, Ordering::AcqRel);
        Inside(self)
    }

    /// Waits until the process is in this stage, or past it.
    pub(super) async fn reached(&self, stage: Stage) {
        // The sender lives in here, so that there is no end of waiting but the stage.
        let _ = self.stage.subscribe().wait_for(|now| *now >= stage).await.map(|_| ());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stages_go_on_and_never_back() {
        let life = Lifecycle::default();
        assert!(futures_util::FutureExt::now_or_never(life.reached(Stage::Closing)).is_none());
        life.advance(Stage::LastCall);
        life.advance(Stage::Closing);
        assert_eq!(life.stage(), Stage::LastCall);
        life.reached(Stage::Closing).await;
    }

    #[test]
    fn a_request_is_inside_until_it_is_dropped() {
        let life = Lifecycle::default();
        let (first, second) = (life.enter(), life.enter());
        drop(first);
        assert_eq!(life.inside(), 1);
        drop(second);
        assert_eq!(life.inside(), 0);
    }
}
