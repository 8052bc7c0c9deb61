//! A session that reads aloud, step by step, for an owner who waits for each step.

use std::sync::Arc;

use crate::{EngineError, Input, Pace, SessionEvent, SessionId, SessionSpec, SharedEngine, WordEvent, Words};

/// A session of a [`SharedEngine`] over a model that reads aloud; its row is given back when the session is dropped.
pub struct ReadingSession {
    engine: Arc<SharedEngine>,
    id: SessionId,
    /// Whether all of it was said.
    over: bool,
    /// Reused by every step.
    events: Vec<SessionEvent>,
}

/// What was read in a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadStep {
    /// A frame of sound, or nothing while the session waits for words.
    pub pcm: Vec<f32>,
    /// Words that will be heard, with the time at which they start in the session's sound, in seconds.
    pub words: Vec<(String, f64)>,
    /// The frames that became complete, `[n, 1 + codebooks]`, where the session tells its codes.
    pub codes: Vec<i32>,
}

impl ReadingSession {
    /// Opens a session in a free row. It takes steps only as it is asked to, whatever the spec says.
    ///
    /// # Errors
    /// As [`StreamingSession::open`](crate::StreamingSession::open).
    pub fn open(engine: Arc<SharedEngine>, spec: &SessionSpec) -> Result<Self, EngineError> {
        let id = engine.open_and_wait(Arc::new(SessionSpec { pace: Pace::Asked, ..spec.clone() }))?;
        Ok(Self { engine, id, over: false, events: Vec::new() })
    }

    /// Adds text of a speaker (from 0), which may end in the middle of a word.
    ///
    /// # Errors
    /// [`EngineError::Input`] for what cannot be said: nothing of this text is taken. [`EngineError::NoSession`] after
    /// [`ReadingSession::finish`].
    pub fn push(&mut self, text: &str, speaker: usize) -> Result<(), EngineError> {
        self.give(Input::Words(Words { speaker, ..Words::new(text) }))
    }

    /// Says that no more text comes.
    ///
    /// # Errors
    /// [`EngineError::Input`] for a break that is not closed; [`EngineError::NoSession`] the second time.
    pub fn finish(&mut self) -> Result<(), EngineError> {
        self.give(Input::End)
    }

    /// Reads on until there is a frame of sound, or no step is possible before more words come (then there is no sound in
    /// the answer). `None` when everything has been said.
    ///
    /// # Errors
    /// When the model fails; the session is then over.
    pub fn step(&mut self) -> Result<Option<ReadStep>, EngineError> {
        let mut read = ReadStep::default();
        while !self.over {
            self.give(Input::Steps(1))?;
            let mut goes_on = true;
            for event in self.events.drain(..) {
                match event {
                    SessionEvent::Audio { pcm, .. } => (read.pcm, goes_on) = (pcm, false),
                    SessionEvent::Word(WordEvent::Started { text, start }) => read.words.push((text, start)),
                    SessionEvent::Codes(codes) => read.codes.extend(codes),
                    SessionEvent::WordsWanted => goes_on = false,
                    SessionEvent::Ended => self.over = true,
                    SessionEvent::Failed(error) => {
                        self.over = true;
                        return Err(error);
                    }
                    _ => {}
                }
            }
            if !goes_on || self.engine.wants_words(self.id) {
                return Ok(Some(read));
            }
        }
        let said = read != ReadStep::default();
        Ok(said.then_some(read))
    }

    /// The engine that this session is one of.
    pub fn engine(&self) -> &Arc<SharedEngine> {
        &self.engine
    }

    fn give(&mut self, input: Input<'_>) -> Result<(), EngineError> {
        self.engine.push_and_wait(self.id, input, &mut self.events)
    }
}

impl Drop for ReadingSession {
    fn drop(&mut self) {
        self.engine.close_and_clear(self.id);
    }
}
