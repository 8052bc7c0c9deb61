//! What the engine thread does all day: takes commands, ticks, hands out events, and survives a model that fails.
//!
//! A model that fails as a whole, or panics, wherever, is thrown away: every caller is told, and it is made again from the
//! same weights. What callers hear of it is [`MODEL_FAILED`]; what happened is in the log.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use moshi_engine::{
    Engine, EngineConfig, EngineError, FrameModel, Input, Output, SessionEvent, SessionId, SessionParams,
};
use tokio::sync::mpsc;

use crate::call::Playout;
use crate::engine_status::{EngineHealth, EngineStatus};
use crate::engine_thread::Command;
use crate::metrics::{Metrics, gauge};
use crate::model::ModelHost;

/// How long an idle thread sleeps at most, so that gauges stay fresh.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// Commands taken between two steps at most, so that a flood of them cannot hold up a step that is due.
const COMMANDS_PER_TICK: usize = 256;

/// What a caller is told of any failure of the model.
pub(crate) const MODEL_FAILED: &str = "the model failed; call again";

struct Route {
    session: SessionId,
    /// Where its numbers are shown.
    place: usize,
    playout: Playout,
    params: SessionParams,
    events: mpsc::Sender<SessionEvent>,
}

/// The engine, its callers, and the clock.
pub(crate) struct EngineLoop {
    model: ModelHost,
    /// None while a model that failed could not be made again.
    engine: Option<Engine>,
    config: EngineConfig,
    rows: usize,
    /// Callers by the key that their connection uses. Engine ids are not used for it: they begin again when the engine
    /// is made anew.
    routes: HashMap<u64, Route>,
    keys: HashMap<SessionId, u64>,
    /// A call that is between two rows because it begins again: should the model panic now, it is told by this.
    between: Option<mpsc::Sender<SessionEvent>>,
    outputs: Vec<Output>,
    start: Instant,
    status: Arc<EngineStatus>,
    metrics: Arc<Metrics>,
}

impl EngineLoop {
    /// A loop over `first`, which `model` made.
    pub(crate) fn new(
        model: ModelHost,
        first: Box<dyn FrameModel>,
        config: EngineConfig,
        status: Arc<EngineStatus>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let rows = first.rows();
        let start = status.started();
        Self {
            model,
            engine: Some(Engine::new(first, config)),
            config,
            rows,
            routes: HashMap::new(),
            keys: HashMap::new(),
            between: None,
            outputs: Vec::new(),
            start,
            status,
            metrics,
        }
    }

    /// Runs until it is told to stop, or until nobody is left who could tell it anything.
    pub(crate) fn run(mut self, inbox: &Receiver<Command>) {
        let _end = LostAtTheEnd(Arc::clone(&self.status));
        loop {
            // A panic must not take the server down: the engine is thrown away afterwards, so no half-written state is
            // seen.
            match catch_unwind(AssertUnwindSafe(|| self.turn(inbox))) {
                Ok(true) => {}
                Ok(false) => return,
                Err(panic) => self.lose_everyone(&format!("it panicked: {}", panic_text(&*panic))),
            }
        }
    }

    /// Commands, a step if one is due, numbers. False at the end.
    fn turn(&mut self, inbox: &Receiver<Command>) -> bool {
        if !self.take_commands(inbox) {
            return false;
        }
        self.status.beat();
        if self.engine.as_ref().is_some_and(Engine::ready) {
            self.tick();
        }
        self.publish();
        true
    }

    /// Takes what has come, waiting for it if there is nothing to step. False at the end.
    fn take_commands(&mut self, inbox: &Receiver<Command>) -> bool {
        if !self.engine.as_ref().is_some_and(Engine::ready) {
            match inbox.recv_timeout(IDLE_WAIT) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Ok(command) => self.apply(command),
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
        for _ in 0..COMMANDS_PER_TICK {
            match inbox.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
                Ok(command) => self.apply(command),
                Err(TryRecvError::Empty) => break,
            }
        }
        true
    }

    fn apply(&mut self, command: Command) {
        match command {
            Command::Admit { key, params, events, reply } => {
                let opened = self.open(key, params, events);
                if reply.send(opened).is_err() {
                    self.close(key);
                }
            }
            Command::Audio { key, at, pcm, credit } => {
                self.push(key, at, &pcm);
                drop(credit);
            }
            Command::Restart { key, credit } => {
                self.restart(key);
                drop(credit);
            }
            Command::Close { key } => self.close(key),
            Command::Stop => {}
        }
    }

    fn open(&mut self, key: u64, params: SessionParams, events: mpsc::Sender<SessionEvent>) -> Result<(), EngineError> {
        let Some(engine) = self.engine.as_mut() else {
            return Err(EngineError::Model("it failed and could not be started again".to_owned()));
        };
        let session = engine.admit(&params)?;
        // There are as many places as rows, so one is free.
        let place = self.status.places().take(self.start.elapsed()).unwrap_or(usize::MAX);
        self.keys.insert(session, key);
        self.routes.insert(key, Route { session, place, playout: Playout::default(), params, events });
        Ok(())
    }

    fn restart(&mut self, key: u64) {
        self.between = self.routes.get(&key).map(|route| route.events.clone());
        let Some(route) = self.release(key) else { return };
        let opened = self.open(key, route.params, route.events.clone());
        self.between = None;
        if let Err(error) = opened {
            // The row was free a moment ago, so this is the model's failure. A full queue tells it by its end.
            tracing::error!(key, %error, "a call could not begin again; it ends");
            self.metrics.failures.increment(1);
            let _ = route.events.try_send(SessionEvent::Failed(MODEL_FAILED.to_owned()));
        }
    }

    fn push(&mut self, key: u64, at: Instant, pcm: &[f32]) {
        let (Some(route), Some(engine)) = (self.routes.get(&key), self.engine.as_mut()) else { return };
        let now = at.saturating_duration_since(self.start);
        if let Err(error) = engine.push(now, route.session, Input::Audio(pcm)) {
            tracing::debug!(key, %error, "audio was not taken");
        }
    }

    fn close(&mut self, key: u64) {
        self.release(key);
    }

    /// Frees a caller's row.
    fn release(&mut self, key: u64) -> Option<Route> {
        let route = self.routes.remove(&key)?;
        self.keys.remove(&route.session);
        self.status.places().leave(route.place);
        if let Some(engine) = self.engine.as_mut() {
            engine.close(route.session);
        }
        Some(route)
    }

    fn tick(&mut self) {
        let Some(engine) = self.engine.as_mut() else { return };
        let mut outputs = std::mem::take(&mut self.outputs);
        let begin = Instant::now();
        let start = self.start;
        let result = engine.tick_timed(&mut outputs, || start.elapsed());
        let step = begin.elapsed();
        let mut rows = 0;
        match result {
            Ok(report) => rows = report.rows,
            Err(error) => self.lose_everyone(&error.to_string()),
        }
        for output in outputs.drain(..) {
            self.deliver(output, step);
        }
        self.outputs = outputs;
        if rows > 0 {
            let tick = begin.elapsed();
            self.metrics.ticked(step, tick, rows);
            self.status.ticked(tick);
        }
    }

    fn deliver(&mut self, mut output: Output, step: Duration) {
        let Some(&key) = self.keys.get(&output.session) else { return };
        let Some(route) = self.routes.get_mut(&key) else { return };
        let last = matches!(output.event, SessionEvent::Ended | SessionEvent::Failed(_));
        match &mut output.event {
            SessionEvent::Audio { lag, .. } => {
                let dry = route.playout.reply(*lag);
                self.status.places().replied(route.place, *lag, dry);
                self.metrics.underruns.increment(u64::from(dry));
                self.metrics.reply_lag.record(lag.as_secs_f64());
                self.metrics.added.record(lag.saturating_sub(step).as_secs_f64());
            }
            SessionEvent::Dropped { frames } => {
                self.status.places().dropped(route.place, *frames);
                self.metrics.dropped_frames.increment(*frames as u64);
                tracing::debug!(key, frames, "the caller's backlog was too long; frames were dropped");
            }
            SessionEvent::Failed(why) => {
                self.metrics.failures.increment(1);
                let why = std::mem::replace(why, MODEL_FAILED.to_owned());
                tracing::error!(key, why, "the model failed for one call; it ends");
            }
            SessionEvent::Text(_) | SessionEvent::Ended => {}
        }
        let delivered = route.events.try_send(output.event);
        if matches!(delivered, Err(mpsc::error::TrySendError::Full(_))) {
            self.metrics.overruns.increment(1);
            tracing::info!(key, "the caller does not read; closing its call");
        }
        if last || delivered.is_err() {
            self.close(key);
        }
    }

    /// After a failure of the whole model: every caller is told, and the model is made again from the same weights.
    fn lose_everyone(&mut self, why: &str) {
        self.status.set_health(EngineHealth::Restarting);
        tracing::error!(why, calls = self.routes.len(), "the model failed; making it again");
        self.metrics.failures.increment(1);
        let leaves = |route: Route| {
            self.status.places().leave(route.place);
            route.events
        };
        let callers = self.routes.drain().map(|(_, route)| leaves(route)).chain(self.between.take());
        for events in callers {
            // A caller whose queue is full learns it from the queue's end.
            let _ = events.try_send(SessionEvent::Failed(MODEL_FAILED.to_owned()));
        }
        self.keys.clear();
        match self.made_again() {
            Ok(model) => {
                self.metrics.restarts.increment(1);
                self.engine = Some(Engine::new(model, self.config));
                self.status.set_health(EngineHealth::Well);
            }
            Err(error) => {
                tracing::error!(%error, "the model could not be made again; no call is admitted any more");
                self.status.set_health(EngineHealth::Lost);
            }
        }
    }

    /// A new model, after the old one is gone. Either may panic as the old one did.
    fn made_again(&mut self) -> Result<Box<dyn FrameModel>, EngineError> {
        let old = self.engine.take();
        if catch_unwind(AssertUnwindSafe(|| drop(old))).is_err() {
            tracing::error!("the model that failed panicked once more when it was dropped");
        }
        let made = catch_unwind(AssertUnwindSafe(|| self.model.make(self.rows)));
        made.unwrap_or_else(|panic| Err(EngineError::Model(format!("it panicked: {}", panic_text(&*panic)))))
    }

    fn publish(&self) {
        let Some(engine) = &self.engine else { return };
        let now = engine.metrics();
        self.metrics.open.set(gauge(now.open));
        self.metrics.backlog.set(gauge(now.backlog));
        self.status.set_backlog(now.backlog as u64);
    }
}

/// However the thread ends, nobody must take its engine for well.
struct LostAtTheEnd(Arc<EngineStatus>);

impl Drop for LostAtTheEnd {
    fn drop(&mut self) {
        self.0.set_health(EngineHealth::Lost);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
