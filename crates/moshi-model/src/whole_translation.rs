//! A translation of a whole recording.

use moshi_engine::{EngineError, FRAME_SAMPLES, GoOn, StreamingSession};

use crate::Sound;

/// A session that hears a recording, piece by piece, and goes on after its end until it has said everything.
pub struct WholeTranslation {
    sound: Sound,
    session: StreamingSession,
    pcm: Vec<f32>,
}

impl WholeTranslation {
    /// A session that has heard nothing, and what it shall hear.
    pub fn new(sound: Sound, session: StreamingSession) -> Self {
        Self { sound, session, pcm: Vec::new() }
    }

    /// Hears the next piece and appends what is said to `spoken` and `text`; false when that was the last.
    ///
    /// # Errors
    /// As [`Sound::read`] and [`StreamingSession::step`]; [`EngineError::Stopped`].
    pub fn advance(
        &mut self,
        spoken: &mut Vec<f32>,
        text: &mut String,
        go_on: &mut GoOn<'_>,
    ) -> Result<bool, EngineError> {
        self.pcm.clear();
        let more = self.sound.read(&mut self.pcm)?;
        for frame in self.pcm.chunks(FRAME_SAMPLES) {
            if !go_on() {
                return Err(EngineError::Stopped);
            }
            self.session.step(frame, spoken, text)?;
        }
        if !more {
            self.session.end(spoken, text)?;
        }
        Ok(more)
    }

    /// What it hears.
    pub fn sound(&self) -> &Sound {
        &self.sound
    }
}
