//! The one thread that drives the engine, and the handles through which connections talk to it.
//!
//! A call's audio goes straight into the engine's backlog, which is bounded; what the model makes for it waits in a queue of
//! [`EVENT_QUEUE`] events of its own. The engine thread never waits for a caller: a queue that is full closes that call.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use moshi_engine::{EngineConfig, EngineError, Input, SessionEvent, SessionId, SessionSpec, SharedEngine};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};

use crate::calibrate::warm_up;
use crate::call_sink::CallSink;
use crate::engine_loop::EngineLoop;
pub use crate::engine_status::{EngineHealth, EngineStatus};
use crate::metrics::{Metrics, gauge};
use crate::model::ModelHost;

/// Events that may wait for one call: forty seconds of audio, so that the answer to the largest burst that a caller may
/// send fits (the rate limits allow thirty), however fast the model is.
pub const EVENT_QUEUE: usize = 512;
/// Calls that may be asking for admission at the same moment.
const ADMISSIONS: usize = 16;

/// How often whoever is first in line looks again whether the machine keeps up.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Why a call was not admitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdmitError {
    /// Every place is taken.
    #[error("all {capacity} places are taken")]
    Full {
        /// Number of places.
        capacity: usize,
    },
    /// The latest ticks show that the machine does not keep up with the calls it has.
    #[error("this machine is too busy at the moment to take another call")]
    Overloaded,
    /// Too many calls ask at this moment.
    #[error("too many calls are asking for a place at this moment")]
    Busy,
    /// The engine is not running.
    #[error("the model is not running")]
    Stopped,
    /// The engine said no.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl AdmitError {
    /// A short name of the reason, as in a refusal and in `moshi_sessions_refused_total`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Full { .. } | Self::Engine(EngineError::Full { .. }) => "full",
            Self::Overloaded => "overloaded",
            Self::Busy => "busy",
            Self::Engine(EngineError::Parameter { .. }) => "parameter",
            Self::Stopped => "stopped",
            Self::Engine(_) => "internal",
        }
    }
}

/// Admits calls to the engine; cheap to clone.
#[derive(Clone)]
pub struct EngineHandle {
    engine: Arc<SharedEngine>,
    slots: Arc<Semaphore>,
    admissions: Arc<Semaphore>,
    status: Arc<EngineStatus>,
    metrics: Arc<Metrics>,
    capacity: usize,
    /// Whether a machine that does not keep up refuses further calls.
    guarded: bool,
}

/// The thread itself; joined by [`EngineThread::stop`].
pub struct EngineThread {
    engine: Arc<SharedEngine>,
    thread: JoinHandle<()>,
}

impl EngineThread {
    /// Starts the thread with `capacity` rows of the model, which has taken its first steps before. Blocks for these.
    ///
    /// # Errors
    /// When the model cannot be made, or the thread cannot be started.
    pub fn start(
        mut model: ModelHost,
        capacity: usize,
        config: EngineConfig,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, EngineHandle), EngineError> {
        let mut first = model.make(capacity)?;
        warm_up(&mut *first, &model.defaults)?;
        let capacity = capacity.min(first.rows());
        let status = Arc::new(EngineStatus::new(capacity));
        metrics.capacity.set(gauge(capacity));
        let start = status.started();
        let engine = Arc::new(SharedEngine::with_clock(first, config, move || start.elapsed()));
        let (driven, shown, counted) = (Arc::clone(&engine), Arc::clone(&status), Arc::clone(&metrics));
        let driver = EngineLoop { model, engine: driven, rows: capacity, status: shown, metrics: counted };
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || driver.run())
            .map_err(|e| EngineError::Model(format!("cannot start the engine thread: {e}")))?;
        let handle = EngineHandle {
            engine: Arc::clone(&engine),
            slots: Arc::new(Semaphore::new(capacity)),
            admissions: Arc::new(Semaphore::new(ADMISSIONS)),
            status,
            metrics,
            capacity,
            guarded: false,
        };
        Ok((Self { engine, thread }, handle))
    }

    /// Forgets a thread that is stuck: it can be neither ended nor waited for.
    pub fn abandon(self) {
        drop(self);
    }

    /// Ends the thread and waits for it; a step that runs is finished first. Blocks.
    pub fn stop(self) {
        self.engine.stop();
        if self.thread.join().is_err() {
            tracing::error!("the engine thread panicked");
        }
    }
}

impl EngineHandle {
    /// Opens a call, or says at once why not.
    ///
    /// # Errors
    /// [`AdmitError`]; nothing waits for a place to become free.
    pub async fn admit(&self, spec: SessionSpec) -> Result<Session, AdmitError> {
        let place = self.try_place()?;
        let _asking = self.admissions.try_acquire().map_err(|_| AdmitError::Busy)?;
        self.open_call(place, spec).await
    }

    /// Opens a call in a place that [`EngineHandle::next_place`] gave. Waits while too many ask: a caller that has waited
    /// for its turn does not lose it to that.
    ///
    /// # Errors
    /// As [`EngineHandle::admit`].
    pub async fn admit_to(&self, place: OwnedSemaphorePermit, spec: SessionSpec) -> Result<Session, AdmitError> {
        let _asking = self.admissions.acquire().await.map_err(|_| AdmitError::Stopped)?;
        self.open_call(place, spec).await
    }

    /// Waits for a place on a machine that keeps up with the calls it has; whoever has waited longest gets the next. It
    /// is looked again and again, so the wait may be dropped and begun anew at any time. `None` when the engine has ended.
    pub async fn next_place(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let place = Arc::clone(&self.slots).acquire_owned().await.ok()?;
            if !self.too_busy() && self.status.health() != EngineHealth::Restarting {
                return Some(place);
            }
            drop(place);
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Refuses calls as [`AdmitError::Overloaded`] while ticks take longer than a frame.
    pub(crate) fn refuse_when_overloaded(&mut self) {
        self.guarded = true;
    }

    fn try_place(&self) -> Result<OwnedSemaphorePermit, AdmitError> {
        let place = Arc::clone(&self.slots).try_acquire_owned().map_err(|e| match e {
            TryAcquireError::NoPermits => AdmitError::Full { capacity: self.capacity },
            TryAcquireError::Closed => AdmitError::Stopped,
        })?;
        if self.too_busy() { Err(AdmitError::Overloaded) } else { Ok(place) }
    }

    /// Whether the machine does not keep up with the calls it has, seen by a caller who holds a place already: its own
    /// counts, so an empty house is never too busy, whatever it was like when it was full.
    fn too_busy(&self) -> bool {
        self.guarded && self.open() > 1 && self.status.overloaded()
    }

    async fn open_call(&self, slot: OwnedSemaphorePermit, spec: SessionSpec) -> Result<Session, AdmitError> {
        if !self.status.healthy() {
            return Err(AdmitError::Stopped);
        }
        let (events, receiver) = mpsc::channel(EVENT_QUEUE);
        let (reply, answer) = oneshot::channel();
        let mut sink = CallSink::new(events, reply, Arc::clone(&self.status), Arc::clone(&self.metrics));
        let id = self.engine.open(spec, Box::new(move |output| sink.take(output)))?;
        // From here on the row may be open, so the input exists before the answer is awaited: if the caller's request
        // is dropped meanwhile, dropping the input closes the row.
        let input =
            SessionInput { id, engine: Arc::clone(&self.engine), start: self.status.started(), slot: Some(slot) };
        answer.await.map_err(|_| AdmitError::Stopped)??;
        self.metrics.admitted.increment(1);
        Ok(Session { input, events: receiver })
    }

    /// Number of places.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Number of places taken.
    pub fn open(&self) -> usize {
        self.capacity - self.slots.available_permits()
    }

    /// How the engine is doing.
    pub fn status(&self) -> &EngineStatus {
        &self.status
    }
}

/// One admitted call.
pub struct Session {
    /// Towards the model.
    pub input: SessionInput,
    /// From the model. It ends without [`SessionEvent::Ended`] or [`SessionEvent::Failed`] when the queue overran:
    /// the caller did not read.
    pub events: mpsc::Receiver<SessionEvent>,
}

/// The side of a call that speaks to the model; closes the call when dropped.
pub struct SessionInput {
    id: SessionId,
    engine: Arc<SharedEngine>,
    /// When the engine's clock began.
    start: Instant,
    /// Kept until the call is closed, so that the next finds a free row.
    slot: Option<OwnedSemaphorePermit>,
}

impl SessionInput {
    /// Gives the model audio that came at `at`. False when the engine has ended.
    pub async fn push(&self, at: Instant, pcm: Vec<f32>) -> bool {
        let now = at.saturating_duration_since(self.start);
        match self.engine.push(now, self.id, Input::Audio(&pcm)) {
            Ok(()) => true,
            Err(error) => {
                // A call that is over is told so by its events.
                tracing::debug!(key = self.id.0, %error, "audio was not taken");
                !self.engine.is_stopped()
            }
        }
    }

    /// Gives the model something beside its caller's voice. Does not wait.
    ///
    /// # Errors
    /// What the engine says: nothing of it is taken.
    pub fn give(&self, input: Input<'_>) -> Result<(), EngineError> {
        self.engine.push(self.start.elapsed(), self.id, input)
    }

    /// How wide vectors are that can be added to the model's input; 0 for a model that takes none.
    pub fn width(&self) -> usize {
        self.engine.width()
    }

    /// Begins again as another session. False when the engine has ended.
    pub async fn restart_as(&self, spec: SessionSpec) -> bool {
        self.engine.reset_as(self.id, spec).is_ok() || !self.engine.is_stopped()
    }

    /// Begins again with a fresh row and the same parameters. False when the engine has ended.
    pub async fn restart(&self) -> bool {
        self.engine.reset(self.id).is_ok() || !self.engine.is_stopped()
    }
}

impl Drop for SessionInput {
    fn drop(&mut self) {
        self.engine.close(self.id);
        self.slot = None;
    }
}

#[cfg(test)]
mod tests {
    use moshi_engine::SessionParams;

    use super::*;

    #[tokio::test]
    async fn who_has_waited_for_its_turn_does_not_lose_it_because_many_ask() {
        let metrics = Arc::new(Metrics::new("test", "0").unwrap());
        let (thread, handle) = EngineThread::start(ModelHost::loopback(), 2, EngineConfig::default(), metrics).unwrap();
        let asking = handle.admissions.clone().acquire_many_owned(u32::try_from(ADMISSIONS).unwrap()).await.unwrap();
        let spec = SessionSpec::live(SessionParams::default());
        assert!(matches!(handle.admit(spec.clone()).await, Err(AdmitError::Busy)));
        let place = handle.next_place().await.unwrap();
        let mut turn = std::pin::pin!(handle.admit_to(place, spec.clone()));
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut turn).await.is_err(), "it waits");
        drop(asking);
        assert!(turn.await.is_ok());
        tokio::task::spawn_blocking(move || thread.stop()).await.unwrap();
        assert_eq!(handle.status().health(), EngineHealth::Lost, "the thread has ended");
        assert!(matches!(handle.admit(spec).await, Err(AdmitError::Stopped)));
    }

    #[test]
    fn a_failure_of_the_model_is_not_called_a_parameter() {
        let parameter = SessionParams { temperature: -1.0, ..SessionParams::default() }.validate().unwrap_err();
        let model = |words: &str| AdmitError::Engine(EngineError::Model(words.to_owned()));
        let names = [
            (AdmitError::Full { capacity: 1 }, "full"),
            (AdmitError::Engine(EngineError::Full { rows: 1 }), "full"),
            (AdmitError::Overloaded, "overloaded"),
            (AdmitError::Busy, "busy"),
            (AdmitError::Stopped, "stopped"),
            (AdmitError::Engine(parameter), "parameter"),
            (model("no memory"), "internal"),
            (AdmitError::Engine(EngineError::Input("odd".to_owned())), "internal"),
            (AdmitError::Engine(EngineError::NoSession(3)), "internal"),
        ];
        for (error, name) in names {
            assert_eq!(error.name(), name, "{error}");
        }
    }
}
