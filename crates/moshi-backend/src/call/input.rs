//! The way of one caller's frames to the model.

use moshi_engine::SessionSpec;
use moshi_protocol::{CloseReason, Steer};

use super::ending::Ending;
use super::pacer::DueFrame;
use super::pulse::Pulse;
use super::recorder::Recorder;
use super::steering;
use crate::engine_thread::SessionInput;
use crate::metrics::Metrics;

/// Gives the model what a caller says.
pub(crate) struct CallInput<'a> {
    /// Towards the model.
    session: &'a SessionInput,
    /// The caller's signs of life.
    pulse: &'a Pulse,
    /// Takes what is heard, where calls are recorded.
    recorder: Option<Recorder>,
    metrics: &'a Metrics,
}

impl<'a> CallInput<'a> {
    /// Of a call.
    pub(crate) fn new(
        session: &'a SessionInput,
        pulse: &'a Pulse,
        recorder: Option<Recorder>,
        metrics: &'a Metrics,
    ) -> Self {
        Self { session, pulse, recorder, metrics }
    }

    /// Gives the model a frame.
    ///
    /// # Errors
    /// The ending of the call when the engine has ended.
    pub(crate) async fn hear(&self, frame: DueFrame) -> Result<(), Ending> {
        if frame.spoken {
            // Who sent much at once and waits for its answer is not idle.
            self.pulse.beat();
        }
        if let Some(recorder) = &self.recorder {
            recorder.caller(&frame.pcm);
        }
        self.taken(self.session.push(self.pulse.start + frame.since, frame.pcm).await)
    }

    /// Begins the conversation again: the model forgets what it has heard.
    ///
    /// # Errors
    /// As [`CallInput::hear`].
    pub(crate) async fn restart(&self) -> Result<(), Ending> {
        self.taken(self.session.restart().await)
    }

    /// Begins the conversation as another: who the model is was said before it heard anything.
    ///
    /// # Errors
    /// As [`CallInput::hear`].
    pub(crate) async fn begin_as(&self, spec: SessionSpec) -> Result<(), Ending> {
        self.taken(self.session.restart_as(spec).await)
    }

    /// Gives the model what the caller steers it with.
    ///
    /// # Errors
    /// What of it does not fit, in words for the caller.
    pub(crate) fn steer(&self, steer: &Steer) -> Result<(), String> {
        steering::steer(self.session, steer)
    }

    /// So many frames of the caller were given up before the model heard them.
    pub(crate) fn lost(&self, frames: usize) {
        self.metrics.dropped_frames.increment(frames as u64);
    }

    fn taken(&self, taken: bool) -> Result<(), Ending> {
        if taken { Ok(()) } else { Err(Ending::because(CloseReason::Internal)) }
    }
}
