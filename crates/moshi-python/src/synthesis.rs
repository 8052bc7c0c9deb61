//! Reading aloud: `Model.synthesize`, and `rustymoshi.SynthesisSession`.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use moshi_checkpoint::HubOptions;
use moshi_engine::{ModelInfo, ReadingSession, SessionParams, Sessions};
use moshi_model::{Codec, ReadTurn, ReadingVoice, ReadingWish, WholeReading, fetch_voice, voice_address};
use numpy::{IntoPyArray, PyArray1, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::background::in_background;
use crate::errors::{RustymoshiError, engine};
use crate::signals::interruptible;
use crate::speech::{Speech, SpokenWord};
use crate::{args, audio, numbers};

/// What a call asks of a synthesis, beside its text.
pub(crate) struct Asked {
    pub(crate) seed: u64,
    pub(crate) temperature: f32,
    pub(crate) text_temperature: f32,
    pub(crate) cfg: Option<f32>,
    pub(crate) padding_between: u32,
    pub(crate) num_codebooks: Option<usize>,
    pub(crate) tells_codes: bool,
}

/// Opens a session for what was asked, with the voice that was given: None, a path or name, a list of them, or samples.
pub(crate) fn open(
    py: Python<'_>,
    sessions: &Sessions,
    codec: &dyn Codec,
    voice: Option<&Bound<'_, PyAny>>,
    asked: &Asked,
) -> PyResult<ReadingSession> {
    let info = sessions.model().info();
    let &Asked { seed, temperature, text_temperature, cfg, padding_between, num_codebooks, tells_codes } = asked;
    let wish = ReadingWish {
        voice: voice.map(|voice| read_voice(voice, info)).transpose()?.unwrap_or_default(),
        guidance: cfg,
        padding_between,
        codebooks: num_codebooks,
        tells_codes,
        ..ReadingWish::new(SessionParams { seed, temperature, text_temperature, ..info.defaults })
    };
    let open = |go_on: &mut moshi_engine::GoOn<'_>| sessions.read(&wish.spec(info, codec, go_on)?);
    interruptible(py, open, engine)
}

/// Reads a whole script aloud.
pub(crate) fn read(
    py: Python<'_>,
    mut session: ReadingSession,
    script: &Bound<'_, PyAny>,
    streams: usize,
) -> PyResult<Speech> {
    let script = turns(script)?;
    let whole = interruptible(py, |go_on| WholeReading::read(&mut session, &script, go_on), engine)?;
    Speech::new(py, whole, streams)
}

/// A script: a text, or turns of a speaker and a text.
fn turns(script: &Bound<'_, PyAny>) -> PyResult<Vec<ReadTurn>> {
    if let Ok(text) = script.cast::<PyString>() {
        return Ok(vec![ReadTurn { speaker: 0, text: text.to_string() }]);
    }
    let wrong = |found: String| {
        PyTypeError::new_err(format!("script: expected a text, or a list of turns (speaker, text), found {found}"))
    };
    let turns = script.try_iter().map_err(|_| wrong(args::describe(script)))?;
    turns
        .map(|turn| {
            let turn = turn?;
            let pair = turn.extract::<(Bound<'_, PyAny>, String)>();
            let (speaker, text) = pair.map_err(|_| wrong(format!("{} in the list", args::describe(&turn))))?;
            Ok(ReadTurn { speaker: numbers::speaker(&speaker)?, text })
        })
        .collect()
}

/// A voice: a path, a name or an address on the hub, a list of them, or samples.
fn read_voice(voice: &Bound<'_, PyAny>, info: &ModelInfo) -> PyResult<ReadingVoice> {
    if voice.cast::<PyUntypedArray>().is_ok() {
        return Ok(ReadingVoice::Sound(audio::sound(voice)?));
    }
    let wrong = |_| {
        PyTypeError::new_err(format!(
            "voice: expected a path, a name, a list of them, or mono float32 samples at 24 kHz, found {}",
            args::describe(voice)
        ))
    };
    let files: Vec<PathBuf> = if voice.is_instance_of::<PyString>() || voice.hasattr("__fspath__")? {
        vec![voice.extract().map_err(wrong)?]
    } else {
        voice.extract().map_err(wrong)?
    };
    let files = files.into_iter().map(|file| at_hand(voice.py(), file, info));
    Ok(ReadingVoice::Files(files.collect::<PyResult<_>>()?))
}

/// A voice as it is or, where it is an address on the hub, its file in the cache.
fn at_hand(py: Python<'_>, voice: PathBuf, info: &ModelInfo) -> PyResult<PathBuf> {
    let Some(address) = voice_address(&voice).map_err(engine)? else { return Ok(voice) };
    let info = info.clone();
    let fetch = move |mut worker| fetch_voice(&info, &address, &HubOptions::from_env(), &mut worker);
    in_background(py, &mut |_| Ok(()), fetch)?.map_err(engine)
}

/// A text that is read aloud while it comes. Made by `Model.synthesis`.
///
/// >>> import rustymoshi
/// >>> model = rustymoshi.Model.load("kyutai/tts-1.6b-en_fr")  # doctest: +SKIP
/// >>> with model.synthesis(voice="anna.wav") as session:  # doctest: +SKIP
/// ...     for piece in answer_of_a_language_model():
/// ...         session.push(piece)
/// ...         for pcm, words in session:  # as far as the text goes
/// ...             play(pcm)
/// ...     session.finish()
/// ...     for pcm, words in session:  # the rest
/// ...         play(pcm)
#[pyclass(frozen, module = "rustymoshi")]
pub(crate) struct SynthesisSession {
    /// None once it was closed.
    session: Mutex<Option<ReadingSession>>,
}

impl SynthesisSession {
    pub(crate) fn new(session: ReadingSession) -> Self {
        Self { session: Mutex::new(Some(session)) }
    }

    fn lock(&self) -> PyResult<MutexGuard<'_, Option<ReadingSession>>> {
        self.session.try_lock().map_err(|_| {
            RustymoshiError::new_err(
                "this synthesis is being stepped by another thread; open one per thread with Model.synthesis(), or put a \
                 lock around it",
            )
        })
    }
}

/// Sound, and the words that begin in it or later.
type Step<'py> = (Bound<'py, PyArray1<f32>>, Vec<Py<SpokenWord>>);

#[pymethods]
impl SynthesisSession {
    /// Add text, which may end in the middle of a word: it is read the same however it is cut. `speaker` is 0 or 1, in the
    /// order of the voices. A word is complete at white space, at `<break time="0.5s"/>`, at another speaker, or at the end.
    #[pyo3(signature = (text, speaker=0))]
    fn push(
        &self,
        py: Python<'_>,
        text: &str,
        #[pyo3(from_py_with = numbers::speaker)] speaker: usize,
    ) -> PyResult<()> {
        let mut guard = self.lock()?;
        let session = guard.as_mut().ok_or_else(closed)?;
        py.detach(|| session.push(text, speaker)).map_err(engine)
    }

    /// Say that no more text comes: what was held back for it is read.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        let mut guard = self.lock()?;
        let session = guard.as_mut().ok_or_else(closed)?;
        py.detach(|| session.finish()).map_err(engine)
    }

    /// Read on: 80 ms of sound (1,920 float32 samples at 24 kHz) and the words that were begun meanwhile, each with the time
    /// `.start` at which it will be heard, which may be later than this sound.
    ///
    /// The sound is empty where the session waits for text: it looks some words ahead. None when everything has been read.
    /// Ctrl-C ends a long step between two frames, and nothing is lost: the next call goes on.
    fn step<'py>(&self, py: Python<'py>) -> PyResult<Option<Step<'py>>> {
        let mut guard = self.lock()?;
        let session = guard.as_mut().ok_or_else(closed)?;
        let read = interruptible(py, |go_on| session.step_while(go_on), engine)?;
        read.map(|read| Ok((read.pcm.into_pyarray(py), SpokenWord::all(py, read.words)?))).transpose()
    }

    /// Steps, as far as the text goes that was given so far; after more text there are more.
    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Step<'py>>> {
        let step = self.step(py)?;
        Ok(step.filter(|(pcm, words)| pcm.len() > 0 || !words.is_empty()))
    }

    /// Give its place back, whatever is left to read. `with` does it at its end.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let session = self.lock()?.take();
        py.detach(|| drop(session));
        Ok(())
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, py: Python<'_>, _raised: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> PyResult<String> {
        let session = self.lock()?;
        let state = match &*session {
            None => "closed",
            Some(session) if session.is_over() => "over",
            Some(_) => "open",
        };
        Ok(format!("SynthesisSession({state})"))
    }
}

fn closed() -> PyErr {
    PyValueError::new_err("this synthesis was closed; open another with Model.synthesis()")
}
