//! What a caller has sent and the model has not heard: between the half of a call that listens and the one that feeds.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::call::{DueFrame, Pace, Pacer};

/// A queue with a clock; see [`Pacer`]. Times are since the beginning of the call.
#[derive(Debug)]
pub(super) struct Backlog {
    pacer: Mutex<Pacer>,
    /// Told when audio has come.
    more: Notify,
}

/// What a look into the backlog finds.
#[derive(Debug)]
pub(super) struct Look {
    /// The frame that is due.
    pub(super) frame: Option<DueFrame>,
    /// When the next one is, if nothing more comes.
    pub(super) wake: Option<Duration>,
    /// Frames that were given up since the last look.
    pub(super) lost: usize,
}

impl Backlog {
    /// An empty one, before an engine that lets `backlog_limit` frames wait.
    pub(super) fn new(backlog_limit: usize) -> Self {
        Self { pacer: Mutex::new(Pacer::new(Pace::full_duplex(backlog_limit))), more: Notify::new() }
    }

    /// Takes what came at `at`.
    pub(super) fn push(&self, at: Duration, pcm: &[f32]) {
        self.pacer().push(at, pcm);
        self.more.notify_one();
    }

    /// Forgets what waits.
    pub(super) fn clear(&self) {
        self.pacer().clear();
    }

    /// The frame that is due by now, and when to look again.
    pub(super) fn look(&self, now: Duration) -> Look {
        let mut pacer = self.pacer();
        Look { frame: pacer.take(now), wake: pacer.wake(), lost: pacer.take_lost() }
    }

    /// Completes when audio has come since the last time.
    pub(super) async fn more(&self) {
        self.more.notified().await;
    }

    fn pacer(&self) -> MutexGuard<'_, Pacer> {
        self.pacer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
