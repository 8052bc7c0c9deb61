//! What the engine thread does all day: takes the engine's turns, counts them, and survives a model that fails.
//!
//! A model that fails as a whole, or panics, wherever, is thrown away: every caller is told, and it is made again from the
//! same weights. What callers hear of it is [`MODEL_FAILED`](crate::call_sink::MODEL_FAILED); what happened is in the log.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use moshi_engine::{EngineError, FrameModel, JobReport, SharedEngine, Turn};

use crate::engine_status::{EngineHealth, EngineStatus};
use crate::metrics::{Metrics, gauge};
use crate::model::ModelHost;

/// How long an idle thread sleeps at most, so that gauges stay fresh.
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// Drives the engine.
pub(crate) struct EngineLoop {
    /// Makes the model again when it failed.
    pub(crate) model: ModelHost,
    /// What is driven.
    pub(crate) engine: Arc<SharedEngine>,
    /// Its rows.
    pub(crate) rows: usize,
    /// Shown to everybody.
    pub(crate) status: Arc<EngineStatus>,
    /// Shown to whoever watches the server.
    pub(crate) metrics: Arc<Metrics>,
}

impl EngineLoop {
    /// Runs until the engine is stopped.
    pub(crate) fn run(mut self) {
        let _end = LostAtTheEnd { status: Arc::clone(&self.status), engine: Arc::clone(&self.engine) };
        let engine = Arc::clone(&self.engine);
        while let Some(turn) = engine.turn(IDLE_WAIT) {
            self.status.beat();
            match turn.failure().cloned() {
                None => self.finish(turn),
                Some(why) => self.lose_everyone(turn, &why),
            }
            self.publish();
        }
    }

    /// Hands out what a turn made, and counts it.
    fn finish(&self, turn: Turn<'_>) {
        let JobReport { rows, failed, began, took, .. } = turn.hand_out();
        self.metrics.failures.increment(failed as u64);
        if rows > 0 {
            let tick = self.status.started().elapsed().saturating_sub(began);
            self.metrics.ticked(took, tick, rows);
            self.status.ticked(tick);
        }
    }

    /// After a failure of the whole model: every caller is told, and the model is made again from the same weights.
    fn lose_everyone(&mut self, turn: Turn<'_>, why: &EngineError) {
        self.status.set_health(EngineHealth::Restarting);
        tracing::error!(%why, calls = self.engine.metrics().open, "the model failed; making it again");
        self.metrics.failures.increment(1);
        turn.hand_out();
        self.engine.lose(why);
        match self.made_again() {
            Ok(model) => {
                self.metrics.restarts.increment(1);
                self.engine.renew(model);
                self.status.set_health(EngineHealth::Well);
            }
            Err(error) => {
                tracing::error!(%error, "the model could not be made again; no call is admitted any more");
                self.status.set_health(EngineHealth::Lost);
            }
        }
    }

    /// A new model. Making it may panic as the old one did.
    fn made_again(&mut self) -> Result<Box<dyn FrameModel>, EngineError> {
        let made = catch_unwind(AssertUnwindSafe(|| self.model.make(self.rows)));
        made.unwrap_or_else(|panic| Err(EngineError::Model(format!("it panicked: {}", panic_text(&*panic)))))
    }

    fn publish(&self) {
        let now = self.engine.metrics();
        self.metrics.open.set(gauge(now.open));
        self.metrics.backlog.set(gauge(now.backlog));
        self.status.set_backlog(now.backlog as u64);
    }
}

/// However the thread ends, nobody must take its engine for well, or wait for its events.
struct LostAtTheEnd {
    status: Arc<EngineStatus>,
    engine: Arc<SharedEngine>,
}

impl Drop for LostAtTheEnd {
    fn drop(&mut self) {
        self.status.set_health(EngineHealth::Lost);
        self.engine.stop();
        self.engine.lose(&EngineError::Stopped);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
