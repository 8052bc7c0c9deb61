//! A recognition whose owner waits for each step.

use std::sync::Arc;

use moshi_engine::{EngineError, FRAME_SAMPLES, GoOn, Input, Sessions, StreamingSession};

use crate::{Transcriber, Transcription, Understood};

/// A recording that is heard piece by piece. However it is cut, it says the same.
pub struct TranscriptionSession {
    session: StreamingSession,
    transcriber: Arc<Transcriber>,
    transcription: Transcription,
    heard: Heard,
}

/// What was heard so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Nothing,
    Sound,
    Codes,
    End,
}

impl TranscriptionSession {
    /// Opens one among the model's sessions.
    ///
    /// # Errors
    /// As [`Sessions::open`].
    pub fn open(sessions: &Sessions, transcriber: &Arc<Transcriber>) -> Result<Self, EngineError> {
        let session = sessions.open(transcriber.spec())?;
        let (transcriber, transcription) = (transcriber.clone(), transcriber.begin());
        Ok(Self { session, transcriber, transcription, heard: Heard::Nothing })
    }

    /// Hears samples (24 kHz mono, any number), as long as `go_on` says so, and appends what they say to `out`. The silence
    /// that the model wants in front goes before the first of them.
    ///
    /// # Errors
    /// After the end; as [`StreamingSession::step`]; [`EngineError::Stopped`], and then the rest was not heard.
    pub fn step(&mut self, pcm: &[f32], out: &mut Understood, go_on: &mut GoOn<'_>) -> Result<(), EngineError> {
        self.begin(Heard::Sound, out)?;
        for frame in pcm.chunks(FRAME_SAMPLES) {
            if !go_on() {
                return Err(EngineError::Stopped);
            }
            self.push(Input::Audio(frame), out)?;
        }
        Ok(())
    }

    /// Hears a frame of codes, without the codec. Nothing is put in front of codes or behind them: the frames of silence
    /// that belong there are the caller's.
    ///
    /// # Errors
    /// After the end; as [`StreamingSession::step_codes`].
    pub fn step_codes(&mut self, codes: &[i32], out: &mut Understood) -> Result<(), EngineError> {
        self.begin(Heard::Codes, out)?;
        self.push(Input::Codes(codes), out)
    }

    /// Says that nothing more will come and appends the rest to `out`: the last words, which are later than the sound.
    ///
    /// # Errors
    /// When it has ended before; as [`StreamingSession::step`].
    pub fn finish(&mut self, out: &mut Understood) -> Result<(), EngineError> {
        self.check_open()?;
        if self.heard == Heard::Sound {
            self.push(Input::End, out)?;
        }
        self.heard = Heard::End;
        self.transcription.finish(&self.transcriber, out);
        Ok(())
    }

    /// Begins anew with another recording, whatever was wrong.
    ///
    /// # Errors
    /// As [`StreamingSession::reset`]; a session that was finished is closed.
    pub fn reset(&mut self) -> Result<(), EngineError> {
        self.check_open()?;
        self.session.reset()?;
        (self.transcription, self.heard) = (self.transcriber.begin(), Heard::Nothing);
        Ok(())
    }

    fn check_open(&self) -> Result<(), EngineError> {
        match self.heard {
            Heard::End => Err(EngineError::Input(
                "this transcription is finished; open another for the next recording".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, with: Heard, out: &mut Understood) -> Result<(), EngineError> {
        self.check_open()?;
        if self.heard == Heard::Nothing {
            self.heard = with;
            if with == Heard::Sound {
                let silence = vec![0.0; self.transcriber.silence_before()];
                self.push(Input::Audio(&silence), out)?;
            }
        }
        if self.heard == with {
            Ok(())
        } else {
            Err(EngineError::Input("a transcription hears samples or codes, not both".to_owned()))
        }
    }

    fn push(&mut self, input: Input<'_>, out: &mut Understood) -> Result<(), EngineError> {
        let Self { session, transcriber, transcription, .. } = self;
        session.push(input, |event| transcription.take(transcriber, &event, out))
    }
}
