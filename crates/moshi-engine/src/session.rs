//! One conversation whose owner waits for each step: any number of samples in, what is ready out.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::{EngineError, Input, SessionEvent, SessionId, SessionSpec, SharedEngine, When, Words};

/// A session of a [`SharedEngine`]; its row is given back when the session is dropped.
pub struct StreamingSession {
    engine: Arc<SharedEngine>,
    id: SessionId,
    spec: Arc<SessionSpec>,
    /// Reused by every step.
    events: Vec<SessionEvent>,
    /// Text tokens that it watches for and said, with their steps, the newest.
    seen: VecDeque<(i32, u64)>,
}

/// Most of them that are kept for an owner who does not take them.
const MOST_SEEN: usize = 10_000;

impl StreamingSession {
    /// Opens a session in a free row.
    ///
    /// # Errors
    /// [`EngineError::Full`] when there is none, [`EngineError::Parameter`] for a value out of range.
    pub fn open(engine: Arc<SharedEngine>, spec: impl Into<Arc<SessionSpec>>) -> Result<Self, EngineError> {
        let spec = spec.into();
        let id = engine.open_and_wait(spec.clone())?;
        Ok(Self { engine, id, spec, events: Vec::new(), seen: VecDeque::new() })
    }

    /// Hears `pcm` (any number of samples, 24 kHz mono), appends what the agent says to `pcm_out` and `text`.
    /// Every whole frame heard gives a whole frame of [`FRAME_SAMPLES`](crate::FRAME_SAMPLES) samples, but for the model's
    /// delay at the start.
    ///
    /// # Errors
    /// When a sample is not finite (nothing is taken), or the model fails: a session that was made to be reset says so until
    /// it is, or for good if the model panicked.
    pub fn step(&mut self, pcm: &[f32], pcm_out: &mut Vec<f32>, text: &mut String) -> Result<(), EngineError> {
        self.push(Input::Audio(pcm), |event| said(event, pcm_out, text))
    }

    /// Says that nothing more will come, and appends the rest of what the agent says, as far as the session's tail goes.
    /// Afterwards it is closed.
    ///
    /// # Errors
    /// As [`StreamingSession::step`].
    pub fn end(&mut self, pcm_out: &mut Vec<f32>, text: &mut String) -> Result<(), EngineError> {
        self.push(Input::End, |event| said(event, pcm_out, text))
    }

    /// Steps one frame of the caller's codes, without the codec: one code per user stream in, the frame that became
    /// complete out (text token, then the agent's codes); `None` while the model's delay fills.
    ///
    /// # Errors
    /// When the codes do not fit the model: nothing is taken. As [`StreamingSession::step`].
    pub fn step_codes(&mut self, codes: &[i32]) -> Result<Option<Vec<i32>>, EngineError> {
        let mut complete = None;
        self.push(Input::Codes(codes), |event| {
            if let SessionEvent::Codes(codes) = event {
                complete = Some(codes);
            }
        })?;
        Ok(complete)
    }

    /// An independent session in the state of this one, in a free row of `target` (which may be this session's engine).
    ///
    /// # Errors
    /// [`EngineError::Full`] when `target` has no free row.
    pub fn fork_into(&self, target: Arc<SharedEngine>) -> Result<Self, EngineError> {
        let id = target.fork_and_wait(&self.engine, self.id)?;
        Ok(Self { engine: target, id, spec: self.spec.clone(), events: Vec::new(), seen: self.seen.clone() })
    }

    /// Starts the conversation anew with the same spec, whatever was wrong with it.
    ///
    /// # Errors
    /// When the model fails, or panicked before: then another session must be opened.
    pub fn reset(&mut self) -> Result<(), EngineError> {
        self.seen.clear();
        self.engine.reset_and_wait(self.id)
    }

    /// The engine that this session is one of.
    pub fn engine(&self) -> &Arc<SharedEngine> {
        &self.engine
    }

    /// What the session is.
    pub fn spec(&self) -> &Arc<SessionSpec> {
        &self.spec
    }

    /// Gives the session any input, waits until it is done with, and tells `listen` everything that came of it.
    ///
    /// # Errors
    /// As [`StreamingSession::step`].
    pub fn push(&mut self, input: Input<'_>, mut listen: impl FnMut(SessionEvent)) -> Result<(), EngineError> {
        let heard = self.engine.push_and_wait(self.id, input, &mut self.events);
        for event in self.events.drain(..) {
            match event {
                SessionEvent::Failed(error) => return Err(error),
                SessionEvent::Token { token, step } => {
                    self.seen.push_back((token, step));
                    if self.seen.len() > MOST_SEEN {
                        self.seen.pop_front();
                    }
                    listen(SessionEvent::Token { token, step });
                }
                event => listen(event),
            }
        }
        heard
    }

    /// Has the session say `text` beside its own words, at once or when it is quiet.
    ///
    /// # Errors
    /// [`EngineError::Input`] for text that cannot be said: nothing of it is taken.
    pub fn say(&mut self, text: &str, when: When) -> Result<(), EngineError> {
        self.push(Input::Words(Words { when, ..Words::new(text) }), drop)
    }

    /// The text tokens that the session watches for ([`SessionSpec::watched`]) and has said since they were taken last, each
    /// with the step in which it was said, from 0. Of those that nobody takes the newest are kept.
    pub fn take_tokens(&mut self) -> Vec<(i32, u64)> {
        self.seen.drain(..).collect()
    }
}

/// Keeps what of an event is said.
fn said(event: SessionEvent, pcm_out: &mut Vec<f32>, text: &mut String) {
    match event {
        SessionEvent::Audio { pcm, .. } => pcm_out.extend_from_slice(&pcm),
        SessionEvent::Text { text: words, .. } => text.push_str(&words),
        _ => {}
    }
}

impl Drop for StreamingSession {
    fn drop(&mut self) {
        self.engine.close_and_clear(self.id);
    }
}
