//! Where the model's events for one call go: to the connection that reads them, past the counters.

use std::sync::Arc;
use std::time::Duration;

use moshi_engine::{EngineError, Output, SessionEvent};
use tokio::sync::{mpsc, oneshot};

use crate::call::Playout;
use crate::engine_status::EngineStatus;
use crate::metrics::Metrics;

/// What a caller is told of any failure of the model; what happened is for the log.
pub(crate) const MODEL_FAILED: &str = "the model failed; call again";

/// Takes one call's events on the engine thread; never waits.
pub(crate) struct CallSink {
    events: mpsc::Sender<SessionEvent>,
    /// Told whether the call got its row.
    reply: Option<oneshot::Sender<Result<(), EngineError>>>,
    slot: Option<SlotTaken>,
    playout: Playout,
    status: Arc<EngineStatus>,
    metrics: Arc<Metrics>,
}

/// The slot in which a call's numbers are shown, as long as it lasts.
struct SlotTaken {
    status: Arc<EngineStatus>,
    at: usize,
}

impl CallSink {
    /// A sink that passes events on to `events`, once `reply` has been told that there will be any.
    pub(crate) fn new(
        events: mpsc::Sender<SessionEvent>,
        reply: oneshot::Sender<Result<(), EngineError>>,
        status: Arc<EngineStatus>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { events, reply: Some(reply), slot: None, playout: Playout::default(), status, metrics }
    }

    /// Takes an event. False when the call is over.
    pub(crate) fn take(&mut self, output: Output) -> bool {
        let key = output.session.0;
        match output.event {
            SessionEvent::Opened => {
                self.begin();
                // Whoever does not wait for the answer any more has left.
                self.reply.take().is_some_and(|reply| reply.send(Ok(())).is_ok())
            }
            SessionEvent::Reset => {
                self.begin();
                true
            }
            // The server ends, and its calls with it.
            SessionEvent::Failed(EngineError::Stopped) => false,
            SessionEvent::Failed(error) => {
                if let Some(reply) = self.reply.take() {
                    // Whoever has left meanwhile need not know.
                    let _ = reply.send(Err(error));
                } else {
                    self.pass_on(key, SessionEvent::Failed(error));
                }
                false
            }
            event => {
                self.count(key, &event);
                self.pass_on(key, event)
            }
        }
    }

    /// Numbers begin at zero with each conversation.
    fn begin(&mut self) {
        self.slot = None;
        self.playout = Playout::default();
        let at = self.status.slots().take(self.status.started().elapsed());
        // There are as many slots as rows, so one is free.
        self.slot = at.map(|at| SlotTaken { status: Arc::clone(&self.status), at });
    }

    fn count(&mut self, key: u64, event: &SessionEvent) {
        match event {
            SessionEvent::Audio { lag, waited, .. } => self.replied(*lag, *waited),
            SessionEvent::Dropped { frames } => {
                if let Some(slot) = &self.slot {
                    self.status.slots().dropped(slot.at, *frames);
                }
                self.metrics.dropped_frames.increment(*frames as u64);
                tracing::debug!(key, frames, "the caller's backlog was too long; frames were dropped");
            }
            _ => {}
        }
    }

    fn replied(&mut self, lag: Duration, waited: Duration) {
        let dry = self.playout.reply(lag);
        if let Some(slot) = &self.slot {
            self.status.slots().replied(slot.at, lag, dry);
        }
        self.metrics.underruns.increment(u64::from(dry));
        self.metrics.reply_lag.record(lag.as_secs_f64());
        self.metrics.added.record(waited.as_secs_f64());
    }

    fn pass_on(&mut self, key: u64, event: SessionEvent) -> bool {
        let delivered = self.events.try_send(event);
        if matches!(delivered, Err(mpsc::error::TrySendError::Full(_))) {
            self.metrics.overruns.increment(1);
            tracing::info!(key, "the caller does not read; closing its call");
        }
        delivered.is_ok()
    }
}

impl Drop for SlotTaken {
    fn drop(&mut self) {
        self.status.slots().leave(self.at);
    }
}
