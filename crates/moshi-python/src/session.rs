//! `rustymoshi.StreamingSession`.

use std::sync::{Arc, Mutex, MutexGuard};

use moshi_engine::{
    EngineError, FRAME_SAMPLES, GoOn, Input, ModelInfo, ModelKind, Sessions, StreamingSession as EngineSession,
};
use moshi_model::expect_kind;
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

use crate::errors::{RustymoshiError, engine};
use crate::signals::interruptible;
use crate::{args, errors, steering};

/// One conversation: it hears and speaks a frame every 80 ms. Made by `Model.session`.
///
/// >>> import numpy as np, rustymoshi
/// >>> session = rustymoshi.Model.default().session(seed=1)
/// >>> pcm, text = session.step(np.zeros(3 * 1920, dtype=np.float32))
/// >>> pcm.dtype, pcm.shape
/// (dtype('float32'), (3840,))
#[pyclass(frozen, module = "rustymoshi")]
pub(crate) struct StreamingSession {
    sessions: Arc<Sessions>,
    session: Mutex<EngineSession>,
}

impl StreamingSession {
    pub(crate) fn new(sessions: Arc<Sessions>, session: EngineSession) -> Self {
        Self { sessions, session: Mutex::new(session) }
    }

    /// A session belongs to one thread at a time: its frames have an order.
    fn lock(&self) -> PyResult<MutexGuard<'_, EngineSession>> {
        self.session.try_lock().map_err(|_| {
            RustymoshiError::new_err(
                "this session is being stepped by another thread; a session is one conversation and takes one step at a \
                 time: open one session per thread with Model.session(), or put a lock around it",
            )
        })
    }

    fn info(&self) -> &ModelInfo {
        self.sessions.model().info()
    }
}

#[pymethods]
impl StreamingSession {
    /// Hear `pcm` and return what is ready: the agent's voice and its words.
    ///
    /// `pcm` is mono float32 at 24 kHz, any number of samples. Every 1,920 samples heard give 1,920 samples back, but for
    /// the first frames, which fill the model's delay: the first call or calls with a frame each give nothing. The answer
    /// to what was heard comes while later frames are heard; after the end of a recording, go on with silence, as
    /// `rustymoshi.Answer` does. Ctrl-C ends a long step between two frames; what was said in it is lost.
    fn step<'py>(&self, py: Python<'py>, pcm: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyArray1<f32>>, String)> {
        let heard = args::heard(pcm)?;
        let mut guard = self.lock()?;
        let session = &mut *guard;
        let (mut spoken, mut text) = (Vec::with_capacity(heard.len()), String::new());
        let step = |go_on: &mut GoOn<'_>| {
            let mut frames = heard.chunks(FRAME_SAMPLES);
            frames.try_for_each(|frame| {
                if !go_on() {
                    return Err(EngineError::Stopped);
                }
                session.step(frame, &mut spoken, &mut text)
            })
        };
        interruptible(py, step, engine)?;
        Ok((spoken.into_pyarray(py), text))
    }

    /// Step one frame of the user's codes, without the codec.
    ///
    /// `user_codes` holds one code per user stream, -1 for nothing. Returns the frame that became complete,
    /// `[text, agent codes...]` as int32 of shape `[1 + dep_q]`, or None while the model's delay fills.
    fn step_codes<'py>(
        &self,
        py: Python<'py>,
        user_codes: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyArray1<i32>>>> {
        let codes = args::codes_1d("user_codes", self.info().user_streams, user_codes)?;
        let mut guard = self.lock()?;
        let session = &mut *guard;
        let frame = py.detach(|| session.step_codes(&codes)).map_err(engine)?;
        Ok(frame.map(|tokens| tokens.into_pyarray(py)))
    }

    /// Say that nothing more will come, and return the rest of what the agent says: a translation goes on until it is
    /// complete, for a minute at most. Afterwards the session is closed.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyArray1<f32>>, String)> {
        let mut guard = self.lock()?;
        let session = &mut *guard;
        let (mut spoken, mut text) = (Vec::new(), String::new());
        py.detach(|| session.end(&mut spoken, &mut text)).map_err(engine)?;
        Ok((spoken.into_pyarray(py), text))
    }

    /// Say `text` next, in the model's own voice: "now", or once it has had nothing to say for half a second ("quiet").
    ///
    /// The words are forced on the model's text one by one, as it begins each; its own words go on after them. Text that is
    /// given before the last is said goes behind it. `<break time="0.5s"/>` is a pause.
    #[pyo3(signature = (text, when="now"))]
    fn say(&self, py: Python<'_>, text: &str, when: &str) -> PyResult<()> {
        expect_kind(self.info(), "say", ModelKind::Dialogue).map_err(engine)?;
        let when = steering::when(when)?;
        let mut guard = self.lock()?;
        let session = &mut *guard;
        py.detach(|| session.say(text, when)).map_err(engine)
    }

    /// Force what the next steps say: `text_tokens`, one for each of n steps, `codes` int `[dep_q, n]`, or both. -1 leaves a
    /// token or code to the model. Steps that were forced before and have not been taken yet come first.
    ///
    /// What a step says is the frame that becomes complete some steps later: the codebooks are delayed.
    #[pyo3(signature = (text_tokens=None, codes=None))]
    fn force(
        &self,
        py: Python<'_>,
        text_tokens: Option<&Bound<'_, PyAny>>,
        codes: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let cells = steering::forced(text_tokens, codes, self.info().dep_q)?;
        let mut guard = self.lock()?;
        let session = &mut *guard;
        py.detach(|| session.push(Input::Forced(&cells), drop)).map_err(engine)
    }

    /// Add vectors to the temporal transformer's input, float32 `[n, dim]`, one in each of the next n steps (`[dim]` is one):
    /// beside the tokens, as references are given to the model of MoshiRAG. `Model.info["dim"]` is the width.
    fn add(&self, py: Python<'_>, vectors: &Bound<'_, PyAny>) -> PyResult<()> {
        let vectors = args::vectors("vectors", self.info().dim, vectors)?;
        if vectors.is_empty() {
            return Ok(());
        }
        let mut guard = self.lock()?;
        let session = &mut *guard;
        py.detach(|| session.push(Input::Added(&vectors), drop)).map_err(engine)
    }

    /// The text tokens that the session was opened to `watch` and has said since the last call: a list of `(token, step)`, with
    /// steps of 80 ms counted from 0. What was said before the last `reset` is forgotten.
    fn take_events(&self) -> PyResult<Vec<(i32, u64)>> {
        Ok(self.lock()?.take_tokens())
    }

    /// An independent session that continues from the state of this one.
    fn fork(&self, py: Python<'_>) -> PyResult<Self> {
        let guard = self.lock()?;
        let session = &*guard;
        let fork = py.detach(|| self.sessions.fork(session)).map_err(errors::engine)?;
        Ok(Self::new(self.sessions.clone(), fork))
    }

    /// Start the conversation anew, with the same parameters and seed.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        let mut guard = self.lock()?;
        let session = &mut *guard;
        py.detach(|| session.reset()).map_err(engine)
    }

    fn __repr__(&self) -> PyResult<String> {
        let session = self.lock()?;
        Ok(format!("StreamingSession(model={:?}, seed={})", self.info().source, session.spec().sampling.seed))
    }
}
