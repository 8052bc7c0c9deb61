//! A whole script, read aloud.

use moshi_engine::{EngineError, GoOn, ReadStep, ReadingSession};

/// What somebody says before somebody else does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadTurn {
    /// Who says it: 0 or 1.
    pub speaker: usize,
    /// The text, with `<break time="0.5s"/>` for a pause.
    pub text: String,
}

/// What became of a script.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WholeReading {
    /// The sound: 24 kHz mono.
    pub pcm: Vec<f32>,
    /// The words, with the seconds at which they start in the sound.
    pub words: Vec<(String, f64)>,
    /// `[steps, 1 + codebooks]`: text and codes of each frame as it became complete, where the session tells them; -1 where
    /// there is nothing.
    pub tokens: Vec<i32>,
}

impl WholeReading {
    /// Gives a session all of a script and reads it to its end, as long as `go_on` says so.
    ///
    /// # Errors
    /// As [`ReadingSession::push`] and [`ReadingSession::step_while`].
    pub fn read(session: &mut ReadingSession, script: &[ReadTurn], go_on: &mut GoOn<'_>) -> Result<Self, EngineError> {
        for turn in script {
            session.push(&turn.text, turn.speaker)?;
            session.push(" ", turn.speaker)?; // a turn ends its last word
        }
        session.finish()?;
        let mut whole = Self::default();
        while let Some(step) = session.step_while(go_on)? {
            whole.add(step);
        }
        Ok(whole)
    }

    fn add(&mut self, step: ReadStep) {
        self.pcm.extend(step.pcm);
        self.words.extend(step.words);
        self.tokens.extend(step.codes);
    }
}
