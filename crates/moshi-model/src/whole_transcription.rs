//! A recognition of a whole recording.

use std::sync::Arc;

use moshi_engine::{EngineError, GoOn, Sessions};

use crate::{Sound, Transcriber, TranscriptionSession, Understood};

/// A recognition that hears a recording, piece by piece.
pub struct WholeTranscription {
    sound: Sound,
    session: TranscriptionSession,
    pcm: Vec<f32>,
}

impl WholeTranscription {
    /// Opens a session among the model's, to hear `sound`.
    ///
    /// # Errors
    /// As [`Sessions::open`].
    pub fn open(sound: Sound, sessions: &Sessions, transcriber: &Arc<Transcriber>) -> Result<Self, EngineError> {
        Ok(Self { sound, session: TranscriptionSession::open(sessions, transcriber)?, pcm: Vec::new() })
    }

    /// Hears the next piece and appends what it says to `out`; false when that was the last.
    ///
    /// # Errors
    /// As [`Sound::read`] and [`TranscriptionSession::step`].
    pub fn advance(&mut self, out: &mut Understood, go_on: &mut GoOn<'_>) -> Result<bool, EngineError> {
        self.pcm.clear();
        let more = self.sound.read(&mut self.pcm)?;
        self.session.step(&self.pcm, out, go_on)?;
        if !more {
            self.session.finish(out)?;
        }
        Ok(more)
    }

    /// What it hears.
    pub fn sound(&self) -> &Sound {
        &self.sound
    }
}
