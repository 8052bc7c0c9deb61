//! The frame loop: rows, backlog, admission and lag policy, without clock or threads.
//!
//! **When a row steps.** A row is ready when a whole frame of its input has arrived, while its prompt runs, and while it
//! goes on by itself after its end. A step takes every ready row once, in one batch, and waits for nobody: rows whose audio
//! has not arrived stay as they are. Frames that arrive during a step join the next one, so that batches grow by themselves
//! when steps are slow.
//!
//! **Lag policy.** Audio that waits is latency. When the backlog of a session with [`Pace::Live`](crate::Pace) exceeds
//! [`EngineConfig::backlog_limit`] frames, its oldest frames are dropped until [`EngineConfig::backlog_target`] remain, and
//! the drop is counted and reported as [`SessionEvent::Dropped`]. So a reply span is never later than the limit plus one
//! step, however slow the machine and however large the burst. A session with `Pace::Lossless` hears everything.
//!
//! **Who drives.** What needs the model is a [`Job`]: it is taken out ([`Engine::job`]), run without the engine, and given
//! back ([`Engine::settle`]). [`SharedEngine`](crate::SharedEngine) does that for threads and servers; [`Engine::admit`]
//! and [`Engine::tick`] do it at once for those who have an engine to themselves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::job::{Batch, BatchRow, Opening, Work};
use crate::row::Session;
use crate::waiting::Spare;
use crate::{
    EngineConfig, EngineError, FRAME_SAMPLES, FrameModel, HeardCodes, Input, Job, Output, SessionEvent, SessionId,
    SessionSpec, Steering,
};

/// Requests (openings, resets, closings) that are served between two steps at most, so that a flood of them cannot hold up a
/// step that is due.
const REQUESTS_PER_STEP: usize = 64;

/// What one job did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobReport {
    /// Rows that were stepped.
    pub rows: usize,
    /// Sessions that were closed.
    pub closed: usize,
    /// Sessions whose rows failed alone.
    pub failed: usize,
    /// When the step began; zero for other jobs.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
    /// Why the step failed as a whole, if it did: each of its sessions has failed.
    pub error: Option<EngineError>,
}

/// Counters since the engine was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineMetrics {
    /// Sessions that got a row.
    pub admitted: u64,
    /// Sessions refused because every row was taken.
    pub refused: u64,
    /// Frames stepped, over all sessions.
    pub frames: u64,
    /// Batched steps run.
    pub ticks: u64,
    /// Frames dropped by the lag policy.
    pub dropped_frames: u64,
    /// Sessions whose rows failed.
    pub failed: u64,
    /// Sessions open now.
    pub open: usize,
    /// Frames waiting now, over all sessions.
    pub backlog: usize,
}

/// The engine: a model's rows and the sessions that occupy them.
///
/// ```
/// use std::time::Duration;
/// use moshi_engine::{Engine, EngineConfig, Input, Loopback, SessionSpec};
/// let mut engine = Engine::new(Box::new(Loopback::new(8)), EngineConfig::default());
/// let id = engine.admit(SessionSpec::default())?;
/// engine.push(Duration::ZERO, id, Input::Audio(&[0.0; 1920]))?;
/// let mut out = Vec::new();
/// let report = engine.tick(Duration::from_millis(3), &mut out)?;
/// assert_eq!(report.rows, 1);
/// # Ok::<(), moshi_engine::EngineError>(())
/// ```
pub struct Engine {
    pub(crate) model: Model,
    heard_codes: Option<HeardCodes>,
    steering: Option<Arc<dyn Steering>>,
    /// Most sessions at once.
    capacity: usize,
    config: EngineConfig,
    /// Grows with the sessions, up to the capacity. A row that a session left is another's at once: its closing is requested
    /// before the opening.
    pub(crate) rows: Vec<Option<Session>>,
    requests: VecDeque<Request>,
    requests_since_step: usize,
    next_id: u64,
    pub(crate) metrics: EngineMetrics,
    pub(crate) spare: Spare,
    /// Events of requests that were served between two ticks, for the next.
    pub(crate) early: Vec<Output>,
}

/// Where the model is.
pub(crate) enum Model {
    Here(Box<dyn FrameModel>),
    /// Somebody works with it and will bring it back.
    Lent,
    /// It failed or panicked, and this is what everybody hears from now on.
    Gone(EngineError),
}

/// What the model is to be asked for, in the order in which it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    /// Make the row of a session that is new or begins anew.
    Open(SessionId),
    Close {
        row: usize,
    },
}

impl Engine {
    /// An engine over all rows of `model`, which pays for those that are open.
    pub fn new(model: Box<dyn FrameModel>, config: EngineConfig) -> Self {
        Self {
            heard_codes: model.heard_codes(),
            steering: model.steering(),
            capacity: model.rows(),
            model: Model::Here(model),
            config: config.checked(),
            rows: Vec::new(),
            requests: VecDeque::new(),
            requests_since_step: 0,
            next_id: 0,
            metrics: EngineMetrics::default(),
            spare: Spare::new(),
            early: Vec::new(),
        }
    }

    /// Most sessions at once.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How wide vectors are that can be added to the model's input; 0 for a model that takes none.
    pub fn width(&self) -> usize {
        self.steering.as_ref().map_or(0, |steering| steering.width())
    }

    /// Asks for a session. It may be pushed to at once; whether it got its row is told by [`SessionEvent::Opened`] or
    /// [`SessionEvent::Failed`] when the job has run.
    ///
    /// # Errors
    /// [`EngineError::Full`] when every row is taken; [`EngineError::Parameter`] when a value is out of range; why the model
    /// is gone, if it is.
    pub fn open(&mut self, spec: impl Into<Arc<SessionSpec>>) -> Result<SessionId, EngineError> {
        let spec = spec.into();
        spec.sampling.validate()?;
        let steering = self.steering.clone();
        let (_, id) = self.take_row(|id| Session::new(id, spec, steering))?;
        self.requests.push_back(Request::Open(id));
        Ok(id)
    }

    /// Gives a free row to a session.
    pub(crate) fn take_row(
        &mut self,
        make: impl FnOnce(SessionId) -> Session,
    ) -> Result<(usize, SessionId), EngineError> {
        self.check_model()?;
        let free = self.rows.iter().position(Option::is_none);
        let row = match free {
            Some(row) => row,
            None if self.rows.len() < self.capacity => {
                self.rows.push(None);
                self.rows.len() - 1
            }
            None => {
                self.metrics.refused += 1;
                return Err(EngineError::Full { rows: self.capacity });
            }
        };
        let id = SessionId(self.next_id);
        self.next_id += 1;
        self.rows[row] = Some(make(id));
        Ok((row, id))
    }

    /// Asks for a session to begin anew with the same spec. What its caller sent before counts no more; what is pushed from
    /// now on is heard by the new conversation, which begins with [`SessionEvent::Reset`].
    ///
    /// # Errors
    /// [`EngineError::NoSession`]; why the model is gone, if it is.
    pub fn reset(&mut self, id: SessionId) -> Result<(), EngineError> {
        self.check_model()?;
        let spec = self.session_mut(id)?.spec.clone();
        self.reset_as(id, spec)
    }

    /// As [`Engine::reset`], with another spec from now on.
    ///
    /// # Errors
    /// As [`Engine::reset`], and [`EngineError::Parameter`] when a value is out of range: nothing has changed then.
    pub fn reset_as(&mut self, id: SessionId, spec: impl Into<Arc<SessionSpec>>) -> Result<(), EngineError> {
        let spec = spec.into();
        spec.sampling.validate()?;
        self.check_model()?;
        self.session_mut(id)?.begin_as(spec);
        if !self.requests.contains(&Request::Open(id)) {
            self.requests.push_back(Request::Open(id));
        }
        Ok(())
    }

    /// Takes what a caller sent at time `now`.
    ///
    /// # Errors
    /// [`EngineError::NoSession`] when the session is closed or has ended; [`EngineError::Parameter`] when a sample is not
    /// finite, [`EngineError::Input`] when codes do not fit (nothing of that input is taken); [`EngineError::Model`] when the
    /// session is broken, or the model gone.
    pub fn push(&mut self, now: Duration, id: SessionId, input: Input<'_>) -> Result<(), EngineError> {
        self.check_model()?;
        let (config, codes) = (self.config, self.heard_codes);
        let session = self.rows.iter_mut().flatten().find(|s| s.id == id).ok_or(EngineError::NoSession(id.0))?;
        session.push(now, input, (&config, codes), &mut self.spare)
    }

    /// Closes a session at once, dropping what waits. Unknown sessions are ignored: closing twice does no harm.
    pub fn close(&mut self, id: SessionId) {
        let Some(row) = self.row_of(id) else { return };
        let opened = self.rows[row].take().is_some_and(|session| session.known);
        let asked = self.requests.iter().position(|request| *request == Request::Open(id));
        if let Some(at) = asked {
            self.requests.remove(at);
        }
        // What the model was not asked to open yet, it need not be asked to close.
        if opened || asked.is_none() {
            self.requests.push_back(Request::Close { row });
        }
    }

    /// The next thing to do with the model, which is then out until [`Engine::settle`]; `None` when there is nothing to do,
    /// or the model is out already or gone.
    pub fn job(&mut self, now: Duration) -> Option<Job> {
        if !matches!(self.model, Model::Here(_)) {
            return None;
        }
        let due = self.rows.iter().flatten().any(Session::is_ready);
        let patient = !due || self.requests_since_step < REQUESTS_PER_STEP;
        let request = if patient { self.next_request() } else { None };
        let work = match request {
            Some(work) => work,
            None if due => Work::Step(self.batch(now)),
            None => return None,
        };
        self.lend().map(|model| Job { model, work })
    }

    /// Takes the model out, if it is here; whoever takes it brings it back.
    pub(crate) fn lend(&mut self) -> Option<Box<dyn FrameModel>> {
        match std::mem::replace(&mut self.model, Model::Lent) {
            Model::Here(model) => Some(model),
            elsewhere => {
                self.model = elsewhere;
                None
            }
        }
    }

    /// Whether [`Engine::job`] has something to do, now or when the model is back.
    pub fn ready(&self) -> bool {
        self.has_requests() || self.rows.iter().flatten().any(Session::is_ready)
    }

    /// Brings back what [`Engine::lend`] gave.
    pub(crate) fn take_back(&mut self, model: Box<dyn FrameModel>) {
        if self.gone().is_none() {
            self.model = Model::Here(model);
        }
    }

    pub(crate) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Whether a row that was taken is still to be closed for the session before: then the caller does it.
    pub(crate) fn take_closing(&mut self, row: usize) -> bool {
        let asked = self.requests.iter().position(|request| *request == Request::Close { row });
        asked.and_then(|at| self.requests.remove(at)).is_some()
    }

    pub(crate) fn next_request(&mut self) -> Option<Work> {
        loop {
            let request = self.requests.pop_front()?;
            self.requests_since_step += 1;
            match request {
                Request::Close { row } => return Some(Work::Close { row }),
                Request::Open(id) => {
                    let Some(row) = self.row_of(id) else { continue };
                    let Some(session) = &self.rows[row] else { continue };
                    let (epoch, spec) = (session.epoch, session.spec.clone());
                    return Some(Work::Open(Opening { row, id, epoch, spec, opened: Ok(0) }));
                }
            }
        }
    }

    /// Takes one frame of every session that has one.
    pub(crate) fn batch(&mut self, now: Duration) -> Batch {
        self.requests_since_step = 0;
        let (mut rows, mut dropped) = (Vec::with_capacity(self.rows.len()), Vec::new());
        for (row, session) in self.rows.iter_mut().enumerate() {
            let Some(session) = session else { continue };
            let frames = session.waiting.take_dropped();
            if frames > 0 {
                dropped.push((session.id, frames));
            }
            let Some(frame) = session.due(now) else { continue };
            let said = self.spare.pop().unwrap_or_else(|| vec![0.0; FRAME_SAMPLES]);
            rows.push(BatchRow { row, id: session.id, epoch: session.epoch, frame, said, priming: 0 });
        }
        Batch { began: now, dropped, rows, outputs: Vec::new(), result: Ok(()) }
    }

    /// Frames that wait for this session.
    pub fn backlog(&self, id: SessionId) -> usize {
        self.session(id).map_or(0, |s| s.waiting.len())
    }

    /// Whether a session is open, or being opened.
    pub fn is_open(&self, id: SessionId) -> bool {
        self.session(id).is_some()
    }

    /// Whether something of what this session's caller sent has not been heard yet, or its row is being made. Nothing is
    /// waited for in a model that is gone.
    pub fn is_busy(&self, id: SessionId) -> bool {
        !matches!(self.model, Model::Gone(_)) && self.session(id).is_some_and(Session::is_busy)
    }

    /// Counters and gauges.
    pub fn metrics(&self) -> EngineMetrics {
        EngineMetrics {
            open: self.rows.iter().flatten().count(),
            backlog: self.rows.iter().flatten().map(|s| s.waiting.len()).sum(),
            ..self.metrics
        }
    }

    /// Why the model is gone, if it is.
    pub fn gone(&self) -> Option<&EngineError> {
        if let Model::Gone(why) = &self.model { Some(why) } else { None }
    }

    /// Gives the model up: every session is told `why`, and so is everybody who comes until [`Engine::renew`]. Returns the
    /// model, if it was here, for its owner to drop.
    pub fn lose(&mut self, why: &EngineError, out: &mut Vec<Output>) -> Option<Box<dyn FrameModel>> {
        let sessions = self.rows.drain(..).flatten().map(|s| s.id);
        out.extend(sessions.map(|session| Output { session, event: SessionEvent::Failed(why.clone()) }));
        self.requests.clear();
        match std::mem::replace(&mut self.model, Model::Gone(why.clone())) {
            Model::Here(model) => Some(model),
            Model::Lent | Model::Gone(_) => None,
        }
    }

    /// Marks the model as gone while it is out: it will not come back. Its sessions are told by [`Engine::lose`].
    pub(crate) fn give_up(&mut self, why: &EngineError) {
        self.model = Model::Gone(why.clone());
    }

    /// Goes on with another model after [`Engine::lose`]; sessions of the old one stay lost.
    pub fn renew(&mut self, model: Box<dyn FrameModel>) {
        (self.heard_codes, self.steering, self.capacity) = (model.heard_codes(), model.steering(), model.rows());
        self.rows.clear();
        self.requests.clear();
        self.model = Model::Here(model);
    }

    pub(crate) fn check_model(&self) -> Result<(), EngineError> {
        if let Model::Gone(why) = &self.model { Err(why.clone()) } else { Ok(()) }
    }

    pub(crate) fn session(&self, id: SessionId) -> Option<&Session> {
        self.rows.iter().flatten().find(|s| s.id == id)
    }

    fn session_mut(&mut self, id: SessionId) -> Result<&mut Session, EngineError> {
        self.rows.iter_mut().flatten().find(|s| s.id == id).ok_or(EngineError::NoSession(id.0))
    }

    pub(crate) fn row_of(&self, id: SessionId) -> Option<usize> {
        self.rows.iter().position(|s| s.as_ref().is_some_and(|s| s.id == id))
    }
}
