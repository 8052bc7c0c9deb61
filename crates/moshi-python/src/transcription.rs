//! `rustymoshi.TranscriptionSession`, and the recognition of whole recordings.

use std::sync::{Mutex, MutexGuard};

use moshi_engine::{EngineError, GoOn};
use moshi_model::{Understood, WholeTranscription};
use pyo3::prelude::*;

use crate::errors::{RustymoshiError, engine};
use crate::signals::interruptible;
use crate::transcript::{Heard, Transcript, Word};
use crate::{args, audio};

/// A recording that is heard piece by piece, however it is cut. Made by `Model.transcription`.
///
/// >>> import rustymoshi
/// >>> model = rustymoshi.Model.load("kyutai/stt-1b-en_fr-candle")  # doctest: +SKIP
/// >>> session = model.transcription()  # doctest: +SKIP
/// >>> heard = session.step(microphone())  # doctest: +SKIP
/// >>> print(heard.text, end="")  # doctest: +SKIP
#[pyclass(frozen, module = "rustymoshi")]
pub(crate) struct TranscriptionSession {
    session: Mutex<moshi_model::TranscriptionSession>,
    streams: usize,
    heads: (usize, usize),
}

impl TranscriptionSession {
    pub(crate) fn new(session: moshi_model::TranscriptionSession, streams: usize, heads: (usize, usize)) -> Self {
        Self { session: Mutex::new(session), streams, heads }
    }

    fn lock(&self) -> PyResult<MutexGuard<'_, moshi_model::TranscriptionSession>> {
        self.session.try_lock().map_err(|_| {
            RustymoshiError::new_err(
                "this transcription is being stepped by another thread; open one per thread with Model.transcription()",
            )
        })
    }

    fn hear(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut moshi_model::TranscriptionSession, &mut Understood, &mut GoOn<'_>) -> Result<(), EngineError>
        + Send,
    ) -> PyResult<Heard> {
        let (mut guard, mut understood) = (self.lock()?, Understood::default());
        let (session, out) = (&mut *guard, &mut understood);
        interruptible(py, |go_on| work(session, out, go_on), engine)?;
        Heard::new(py, understood, self.heads)
    }
}

#[pymethods]
impl TranscriptionSession {
    /// Hear `pcm` (mono float32 at 24 kHz, any number of samples) and return what it brought: `.text` as it is written,
    /// `.words` that are over with their times, `.pause` when the speaker has finished.
    ///
    /// Text is later than the sound by the model's delay (0.5 s, or 2.5 s). Ctrl-C ends a long step between two frames.
    fn step(&self, py: Python<'_>, pcm: &Bound<'_, PyAny>) -> PyResult<Heard> {
        let pcm = args::heard(pcm)?;
        self.hear(py, |session, out, go_on| session.step(&pcm, out, go_on))
    }

    /// Hear one frame of codes, one for each stream that the model hears, without the codec.
    ///
    /// Codes are taken as they are: the silent frames that the model wants in front and behind are the caller's.
    fn step_codes(&self, py: Python<'_>, codes: &Bound<'_, PyAny>) -> PyResult<Heard> {
        let codes = args::codes_1d("codes", self.streams, codes)?;
        self.hear(py, |session, out, _| session.step_codes(&codes, out))
    }

    /// Say that nothing more will come, and return the rest: the last words. Afterwards the session is closed.
    fn finish(&self, py: Python<'_>) -> PyResult<Heard> {
        self.hear(py, |session, out, _| session.finish(out))
    }

    /// Begin anew with another recording.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        let mut guard = self.lock()?;
        let session = &mut *guard;
        py.detach(|| session.reset()).map_err(engine)
    }
}

/// Hears all of a recording; `progress(seconds, total, words)` is told of each piece.
pub(crate) fn transcribe(
    py: Python<'_>,
    mut whole: WholeTranscription,
    progress: Option<&Py<PyAny>>,
) -> PyResult<Transcript> {
    let mut transcript = moshi_model::Transcript::default();
    let mut more = true;
    while more {
        let mut piece = Understood::default();
        more = interruptible(py, |go_on| whole.advance(&mut piece, go_on), engine)?;
        py.check_signals()?;
        if let Some(progress) = progress {
            let sound = whole.sound();
            progress.call1(py, (sound.position(), sound.duration(), Word::all(py, &piece.words)?))?;
        }
        transcript.add(piece);
    }
    audio::warn_of(py, whole.sound())?;
    Transcript::new(py, transcript)
}
