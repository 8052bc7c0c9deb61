//! A session that reads aloud, step by step, for an owner who waits for each step.

use std::sync::Arc;

use crate::{EngineError, GoOn, Input, Pace, SessionEvent, SessionId, SessionSpec, SharedEngine, WordEvent, Words};

/// A session of a [`SharedEngine`] over a model that reads aloud; its row is given back when the session is dropped.
pub struct ReadingSession {
    engine: Arc<SharedEngine>,
    id: SessionId,
    /// Tokens that are told of a frame: text and the codebooks that are made.
    streams: usize,
    /// Whether no more text comes.
    finished: bool,
    /// Whether all of it was said.
    over: bool,
    /// What was read since the last answer.
    read: ReadStep,
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
        let streams = spec.codebooks.map_or(usize::MAX, |codebooks| codebooks.saturating_add(1));
        let (read, events) = (ReadStep::default(), Vec::new());
        Ok(Self { engine, id, streams, finished: false, over: false, read, events })
    }

    /// Adds text of a speaker (from 0), which may end in the middle of a word.
    ///
    /// # Errors
    /// [`EngineError::Input`] for what cannot be said, and after [`ReadingSession::finish`]: nothing of this text is taken.
    pub fn push(&mut self, text: &str, speaker: usize) -> Result<(), EngineError> {
        self.expect_more()?;
        self.give(Input::Words(Words { speaker, ..Words::new(text) }))
    }

    /// Says that no more text comes.
    ///
    /// # Errors
    /// [`EngineError::Input`] for a break that is not closed, and the second time.
    pub fn finish(&mut self) -> Result<(), EngineError> {
        self.expect_more()?;
        self.give(Input::End)?;
        self.finished = true;
        Ok(())
    }

    /// Reads on until there is a frame of sound, or no step is possible before more words come (then there is no sound in
    /// the answer). `None` when everything has been said.
    ///
    /// # Errors
    /// When the model fails; the session is then over.
    pub fn step(&mut self) -> Result<Option<ReadStep>, EngineError> {
        self.step_while(&mut || true)
    }

    /// As [`ReadingSession::step`], as long as `go_on` says so, which is asked between two steps: before the first sound
    /// there are as many as the text is ahead of it, and those of a spoken prefix.
    ///
    /// # Errors
    /// As [`ReadingSession::step`], and [`EngineError::Stopped`]: the session goes on from there when it is stepped again.
    pub fn step_while(&mut self, go_on: &mut GoOn<'_>) -> Result<Option<ReadStep>, EngineError> {
        while !self.over {
            if !go_on() {
                return Err(EngineError::Stopped);
            }
            if self.advance()? {
                return Ok(Some(std::mem::take(&mut self.read)));
            }
        }
        let read = std::mem::take(&mut self.read);
        Ok((read != ReadStep::default()).then_some(read))
    }

    /// Whether everything has been said.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// One step of the model, if it can take one. Whether there is something to answer: sound, or that it waits for words.
    fn advance(&mut self) -> Result<bool, EngineError> {
        self.give(Input::Steps(1))?;
        let (mut answers, read) = (false, &mut self.read);
        for event in self.events.drain(..) {
            match event {
                SessionEvent::Audio { pcm, .. } => (read.pcm, answers) = (pcm, true),
                SessionEvent::Word(WordEvent::Started { text, start }) => read.words.push((text, start)),
                SessionEvent::Codes(codes) => read.codes.extend(codes.into_iter().take(self.streams)),
                SessionEvent::WordsWanted => answers = true,
                SessionEvent::Ended => self.over = true,
                SessionEvent::Failed(error) => {
                    self.over = true;
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(answers || self.engine.wants_words(self.id))
    }

    fn expect_more(&self) -> Result<(), EngineError> {
        if self.finished {
            let message = "this text was finished before, and no more of it is taken; open another session";
            return Err(EngineError::Input(message.to_owned()));
        }
        Ok(())
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
