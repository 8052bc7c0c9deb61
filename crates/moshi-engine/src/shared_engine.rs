//! One engine for many threads: callers that wait for their answer, and callers whose answer is sent.
//!
//! **Who drives.** Whoever has a step to wait for runs it for everybody who is waiting at that moment, and callers that come
//! during a step are served together by the next one: sessions of a large model, whose step costs the reading of its
//! weights, share that cost without a thread of their own and without waiting for one another's audio. A server that sends
//! answers has a thread of its own, which does nothing but [`SharedEngine::turn`].
//!
//! **What is locked.** The lock is held to push a frame or to look for one, and never while the model works.
//!
//! **What a failure ends.** A row that fails alone, and every row of a step that fails as a whole, is broken until it is
//! reset, or closed, as its session's spec says. A model that panics, wherever, is in no state that anybody could vouch for:
//! it is thrown away, and all its sessions say so for good. Nobody waits for a model that is gone.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{
    Engine, EngineConfig, EngineError, EngineMetrics, FrameModel, Input, Job, JobReport, Output, SessionEvent,
    SessionId, SessionSpec,
};

/// Takes the events of one session, on the thread that drives: it must not wait. False closes the session.
pub type Sink = Box<dyn FnMut(Output) -> bool + Send>;

/// Tells the time since some moment.
type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// An [`Engine`] behind a lock, and where its sessions' events go.
pub struct SharedEngine {
    state: Mutex<State>,
    changed: Condvar,
    clock: Clock,
}

pub(crate) struct State {
    pub(crate) engine: Engine,
    /// Whether somebody has the model, or hands out what it made: nobody else may then.
    pub(crate) driving: bool,
    stopped: bool,
    /// Events of those who wait for them.
    mail: HashMap<SessionId, Vec<SessionEvent>>,
    /// Events of those to whom they are sent.
    sinks: HashMap<SessionId, Sink>,
}

/// What a job made, until it is handed out.
#[derive(Default)]
pub(crate) struct Done {
    report: JobReport,
    /// Events for sinks. Those who fetch theirs have them as soon as the engine knows of them.
    sent: Vec<Output>,
}

impl SharedEngine {
    /// Shares the rows of `model`, for callers that measure no lag.
    pub fn new(model: Box<dyn FrameModel>, config: EngineConfig) -> Self {
        Self::with_clock(model, config, || Duration::ZERO)
    }

    /// Shares the rows of `model`. `clock` tells the time by which audio arrives, and from which each reply's lag is computed.
    pub fn with_clock(
        model: Box<dyn FrameModel>,
        config: EngineConfig,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let state = State {
            engine: Engine::new(model, config),
            driving: false,
            stopped: false,
            mail: HashMap::new(),
            sinks: HashMap::new(),
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), clock: Box::new(clock) }
    }

    /// Asks for a session whose events go to `sink`, beginning with [`SessionEvent::Opened`], or [`SessionEvent::Failed`] for
    /// what only the model can refuse. Does not wait.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open(&self, spec: impl Into<Arc<SessionSpec>>, sink: Sink) -> Result<SessionId, EngineError> {
        let mut state = self.lock();
        let id = state.engine.open(spec)?;
        state.sinks.insert(id, sink);
        self.changed.notify_all();
        Ok(id)
    }

    /// Takes what a caller sent at time `at`. Does not wait.
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub fn push(&self, at: Duration, id: SessionId, input: Input<'_>) -> Result<(), EngineError> {
        let pushed = self.lock().engine.push(at, id, input);
        self.changed.notify_all();
        pushed
    }

    /// Asks for a session to begin anew; see [`Engine::reset`]. Does not wait.
    ///
    /// # Errors
    /// As [`Engine::reset`].
    pub fn reset(&self, id: SessionId) -> Result<(), EngineError> {
        let asked = self.lock().engine.reset(id);
        self.changed.notify_all();
        asked
    }

    /// As [`SharedEngine::reset`], with another spec from now on.
    ///
    /// # Errors
    /// As [`Engine::reset_as`].
    pub fn reset_as(&self, id: SessionId, spec: SessionSpec) -> Result<(), EngineError> {
        let asked = self.lock().engine.reset_as(id, spec);
        self.changed.notify_all();
        asked
    }

    /// Closes a session at once, whatever waits; its row is given back by whoever drives next. Does not wait. Unknown
    /// sessions are ignored.
    pub fn close(&self, id: SessionId) {
        let mut state = self.lock();
        state.engine.close(id);
        state.mail.remove(&id);
        // A sink that is in use at the moment is dropped by whoever uses it.
        let sink = state.sinks.remove(&id);
        drop(state);
        drop(sink); // without the lock: its owner may do as it likes
        self.changed.notify_all();
    }

    /// Waits up to `wait` for something to do, and does it: one step of everybody who has something to hear, or one opening,
    /// reset or closing. `None` once the engine is stopped.
    pub fn turn(&self, wait: Duration) -> Option<Turn<'_>> {
        let mut state = self.lock();
        if !state.stopped && !state.has_turn() {
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.stopped {
            return None;
        }
        let job = self.begin(&mut state);
        drop(state);
        Some(Turn { engine: self, done: job.map(|job| self.work(job)) })
    }

    /// Ends the driver's turns.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Whether [`SharedEngine::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Whether the model panicked or was given up: no session of it can be opened, reset or stepped any more.
    pub fn is_gone(&self) -> bool {
        self.lock().engine.gone().is_some()
    }

    /// Gives the model up: every session is told `why` and closed, and so is everybody who comes until
    /// [`SharedEngine::renew`]. Waits for a job that runs. A model that panics when it is dropped harms nobody.
    pub fn lose(&self, why: &EngineError) {
        let mut state = self.lock();
        while state.driving {
            state = self.wait(state);
        }
        state.driving = true;
        let mut outputs = Vec::new();
        let model = state.engine.lose(why, &mut outputs);
        let sent = state.sort(outputs);
        drop(state);
        discard(model);
        self.hand_out(Done { sent, ..Done::default() });
    }

    /// Goes on with another model after [`SharedEngine::lose`].
    pub fn renew(&self, model: Box<dyn FrameModel>) {
        self.lock().engine.renew(model);
        self.changed.notify_all();
    }

    /// Most sessions at once.
    pub fn capacity(&self) -> usize {
        self.lock().engine.capacity()
    }

    /// How wide vectors are that can be added to the model's input; 0 for a model that takes none.
    pub fn width(&self) -> usize {
        self.lock().engine.width()
    }

    /// Counters and gauges.
    pub fn metrics(&self) -> EngineMetrics {
        self.lock().engine.metrics()
    }

    /// Takes the next job, if there is one and nobody drives: from here on the caller does, until it has handed out what
    /// came of it.
    pub(crate) fn begin(&self, state: &mut State) -> Option<Job> {
        let job = if state.driving { None } else { state.engine.job((self.clock)()) };
        state.driving |= job.is_some();
        job
    }

    /// Does a job without the lock.
    pub(crate) fn work(&self, mut job: Job) -> Done {
        let ran = catch_unwind(AssertUnwindSafe(|| job.run()));
        let now = (self.clock)();
        match ran {
            Ok(()) => {
                let (mut state, mut outputs) = (self.lock(), Vec::new());
                let report = state.engine.settle(job, now, &mut outputs);
                Done { report, sent: state.sort(outputs) }
            }
            Err(panic) => {
                // Who is in the model is told when this is handed out.
                let why = gone_after(&*panic);
                self.lock().engine.give_up(&why);
                discard(Some(job.model));
                Done { report: JobReport { error: Some(why), ..JobReport::default() }, sent: Vec::new() }
            }
        }
    }

    /// Gives everybody what is theirs, in order, and lets others drive.
    pub(crate) fn hand_out(&self, done: Done) -> JobReport {
        let Done { report, mut sent } = done;
        let mut state = self.lock();
        if let Some(why) = state.engine.gone().cloned() {
            // Its sessions have nothing more to hear than that.
            let mut outputs = Vec::new();
            state.engine.lose(&why, &mut outputs);
            sent.append(&mut state.sort(outputs));
        }
        let mut gone = Vec::new();
        if !sent.is_empty() {
            let mut sinks = std::mem::take(&mut state.sinks);
            drop(state);
            let refused = send(sent, &mut sinks);
            state = self.lock();
            gone = state.take_back(sinks, &refused);
        }
        state.driving = false;
        drop(state);
        drop(gone); // without the lock: their owners may do as they like
        self.changed.notify_all();
        report
    }

    /// Brings back a model that was taken out by [`Engine::lend`], unless it panicked, and lets others drive.
    pub(crate) fn give_back(&self, model: Option<Box<dyn FrameModel>>) {
        if let Some(model) = model {
            self.lock().engine.take_back(model);
        }
        self.hand_out(Done::default());
    }

    pub(crate) fn now(&self) -> Duration {
        (self.clock)()
    }

    /// Waits until somebody has done something.
    pub(crate) fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// From now on somebody fetches the events of this session.
    pub(crate) fn await_mail(&mut self, id: SessionId) {
        self.mail.insert(id, Vec::new());
    }

    /// Appends the events that were made for a session since the last time.
    pub(crate) fn fetch_mail(&mut self, id: SessionId, events: &mut Vec<SessionEvent>) {
        if let Some(mail) = self.mail.get_mut(&id) {
            events.append(mail);
        }
    }

    pub(crate) fn forget_mail(&mut self, id: SessionId) {
        self.mail.remove(&id);
    }

    /// Whether there is something to do for whoever drives next.
    fn has_turn(&self) -> bool {
        !self.driving && self.engine.gone().is_none() && self.engine.ready()
    }

    /// Puts the events of those who fetch them where they fetch them; the others are returned.
    fn sort(&mut self, outputs: Vec<Output>) -> Vec<Output> {
        if self.mail.is_empty() {
            return outputs;
        }
        let mut sent = Vec::new();
        for output in outputs {
            match self.mail.get_mut(&output.session) {
                Some(mail) => mail.push(output.event),
                None => sent.push(output),
            }
        }
        sent
    }

    /// Takes the sinks back after use and closes the sessions of those that `refused`. Returns the sinks of sessions that
    /// are over.
    fn take_back(&mut self, mut sinks: HashMap<SessionId, Sink>, refused: &[SessionId]) -> Vec<Sink> {
        refused.iter().for_each(|id| self.engine.close(*id));
        sinks.extend(self.sinks.drain());
        let over: Vec<SessionId> = sinks.keys().filter(|id| !self.engine.is_open(**id)).copied().collect();
        let gone = over.iter().filter_map(|id| sinks.remove(id)).collect();
        self.sinks = sinks;
        gone
    }
}

/// One turn of whoever drives. What it made is handed out by [`Turn::hand_out`], or when it is dropped.
pub struct Turn<'a> {
    engine: &'a SharedEngine,
    done: Option<Done>,
}

impl Turn<'_> {
    /// Why the model failed as a whole, if it did: the sessions of its step have failed, or, if it panicked
    /// ([`SharedEngine::is_gone`]), all. They are told when the turn is handed out.
    pub fn failure(&self) -> Option<&EngineError> {
        self.done.as_ref().and_then(|done| done.report.error.as_ref())
    }

    /// Gives every session what was made for it.
    pub fn hand_out(mut self) -> JobReport {
        self.done.take().map_or_else(JobReport::default, |done| self.engine.hand_out(done))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            self.engine.hand_out(done);
        }
    }
}

/// Gives sinks their events, in order; returns the sessions whose sinks want no more. A sink that panics is one of them.
fn send(outputs: Vec<Output>, sinks: &mut HashMap<SessionId, Sink>) -> Vec<SessionId> {
    let mut refused = Vec::new();
    for output in outputs {
        let id = output.session;
        let Some(sink) = sinks.get_mut(&id).filter(|_| !refused.contains(&id)) else { continue };
        if !catch_unwind(AssertUnwindSafe(|| sink(output))).unwrap_or(false) {
            refused.push(id);
        }
    }
    refused
}

/// What everybody hears from now on of a model that panicked.
pub(crate) fn gone_after(panic: &(dyn std::any::Any + Send)) -> EngineError {
    EngineError::Model(format!(
        "it panicked ({}) and is not gone on with; open new sessions, and please report this",
        panic_text(panic)
    ))
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Drops a model that failed: its drop may run into whatever made it fail.
pub(crate) fn discard(model: Option<Box<dyn FrameModel>>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(model)));
}
