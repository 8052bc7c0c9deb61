//! `rustymoshi.Model` and its language model.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moshi_engine::{GoOn, ModelInfo, ModelKind, Prompt, SessionParams, SessionSpec, Sessions, SpeechModel};
use moshi_model::{
    AdaptedSessions, LoadOptions, Loaded, WholeTranscription, WholeTranslation, conversation, expect_kind,
};
use numpy::ndarray::{Array2, Array3};
use numpy::{IntoPyArray, PyArray2, PyArray3};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::codec::Mimi;
use crate::errors::engine;
use crate::session::StreamingSession;
use crate::signals::interruptible;
use crate::source::{self, Wanted};
use crate::speech::Speech;
use crate::synthesis::{self, Asked, SynthesisSession};
use crate::transcript::Transcript;
use crate::transcription::{self, TranscriptionSession};
use crate::translation::{self, Translation};
use crate::{args, audio, numbers};

/// A loaded speech model: Mimi, the language model and its tokenizer. Its sessions share the weights.
///
/// >>> import rustymoshi
/// >>> model = rustymoshi.Model.default()
/// >>> session = model.session(seed=7, temperature=0.8)
#[pyclass(frozen, module = "rustymoshi")]
pub(crate) struct Model {
    sessions: Arc<AdaptedSessions>,
    loaded: Loaded,
}

impl Model {
    fn new(loaded: Loaded) -> Self {
        Self { sessions: Arc::new(AdaptedSessions::new(&loaded)), loaded }
    }

    fn about(&self) -> &ModelInfo {
        self.loaded.model.info()
    }

    /// The prompt of a role and a voice, if there is one of them.
    fn prompt(&self, py: Python<'_>, role: Option<&str>, voice: Option<&Path>) -> PyResult<Option<Arc<Prompt>>> {
        if role.is_none() && voice.is_none() {
            return Ok(None);
        }
        let roles = self.loaded.role_play().map_err(engine)?;
        let prompt = interruptible(py, |go_on| roles.prompt(voice, role.unwrap_or_default(), go_on), engine)?;
        Ok(Some(Arc::new(prompt)))
    }
}

#[pymethods]
impl Model {
    /// Load a model from a folder, a file or a hub repository such as `"kyutai/moshiko-candle-bf16"`, with a branch, tag or
    /// commit `"owner/name@revision"`. Ctrl-C ends it at any moment; what was downloaded is kept for the next time.
    ///
    /// `device` is "auto", "cpu", "cuda", "metal" or "reference"; `dtype` is the format of the weights in memory ("f32",
    /// "bf16", "f16"), None keeps what the file holds; `quantize` ("q8", "q4") makes integers of them while they are loaded,
    /// with scales chosen for the least error; `exact=True` rounds nothing for speed (activations, keys and values in single
    /// precision), for comparisons; `threads` is the number of threads per step; `revision` is the
    /// repository's branch, tag or commit (`"refs/pr/1"` too); `progress(file, bytes_done, bytes_total)` is called during a download;
    /// `lora` is a folder (or a list of them) with an adapter, `lora.safetensors` and `config.json`, for sessions to choose:
    /// those that are named here need not be loaded when a session first asks for them.
    #[staticmethod]
    #[pyo3(signature = (path_or_repo, device="auto", dtype=None, *, quantize=None, exact=false, threads=None, revision=None, progress=None, lora=None))]
    #[allow(clippy::too_many_arguments)]
    fn load(
        py: Python<'_>,
        path_or_repo: &Bound<'_, PyAny>,
        device: &str,
        dtype: Option<&str>,
        quantize: Option<&str>,
        exact: bool,
        #[pyo3(from_py_with = numbers::threads)] threads: Option<usize>,
        revision: Option<&str>,
        progress: Option<Py<PyAny>>,
        lora: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let adapters = lora.map(source::adapters).transpose()?.unwrap_or_default();
        let options = LoadOptions { exact, adapters, ..source::options(device, dtype, quantize, threads, None)? };
        let loaded = Wanted::new(path_or_repo, revision, progress)?.load_model(py, options)?;
        Ok(Self::new(loaded))
    }

    /// The built-in model. See `notice` for what it can do.
    #[staticmethod]
    #[pyo3(signature = (device="auto", *, threads=None))]
    fn default(
        py: Python<'_>,
        device: &str,
        #[pyo3(from_py_with = numbers::threads)] threads: Option<usize>,
    ) -> PyResult<Self> {
        let options = source::options(device, None, None, threads, None)?;
        let loaded = py.detach(|| moshi_model::builtin(&options)).map_err(engine)?;
        Ok(Self::new(loaded))
    }

    /// Open a conversation. Parameters left at None take the checkpoint's own values; a temperature of 0 is greedy, a
    /// `top_k` of 0 keeps all tokens. The same seed and audio give the same answer, whatever other sessions do; a seed of
    /// -1 or None is any.
    ///
    /// `role` is who the model plays, in words, and `voice` whose voice it has: a recording of some seconds, a published
    /// `.pt`, or the name of one in the folder `voices` beside the model. The session begins when it has taken them in; a
    /// voice is kept for further sessions. `lora` is the folder of an adapter, which is loaded when a session first asks for it. `cfg` draws a
    /// translation towards the best it knows of and away from the worst, by a second row: 3 is strong, 1 and None are none.
    /// `watch` lists text tokens: `StreamingSession.take_events` says when they were said.
    #[pyo3(signature = (*, seed=0, temperature=None, top_k=None, text_temperature=None, text_top_k=None, top_p=None,
        pad_mult=None, repetition_penalty=None, repetition_context=None, role=None, voice=None, lora=None, cfg=None, watch=None))]
    #[allow(clippy::too_many_arguments)]
    fn session(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = numbers::seed)] seed: u64,
        #[pyo3(from_py_with = numbers::temperature)] temperature: Option<f32>,
        #[pyo3(from_py_with = numbers::top_k)] top_k: Option<usize>,
        #[pyo3(from_py_with = numbers::text_temperature)] text_temperature: Option<f32>,
        #[pyo3(from_py_with = numbers::text_top_k)] text_top_k: Option<usize>,
        #[pyo3(from_py_with = numbers::top_p)] top_p: Option<f32>,
        #[pyo3(from_py_with = numbers::pad_mult)] pad_mult: Option<f32>,
        #[pyo3(from_py_with = numbers::repetition_penalty)] repetition_penalty: Option<f32>,
        #[pyo3(from_py_with = numbers::repetition_context)] repetition_context: Option<usize>,
        role: Option<&str>,
        voice: Option<PathBuf>,
        lora: Option<PathBuf>,
        #[pyo3(from_py_with = numbers::cfg)] cfg: Option<f32>,
        watch: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<StreamingSession> {
        let defaults = self.about().defaults;
        let params = SessionParams {
            seed,
            temperature: temperature.unwrap_or(defaults.temperature),
            top_k: top_k.unwrap_or(defaults.top_k),
            text_temperature: text_temperature.unwrap_or(defaults.text_temperature),
            text_top_k: text_top_k.unwrap_or(defaults.text_top_k),
            top_p: top_p.unwrap_or(defaults.top_p),
            pad_mult: pad_mult.unwrap_or(defaults.pad_mult),
            repetition_penalty: repetition_penalty.unwrap_or(defaults.repetition_penalty),
            repetition_context: repetition_context.unwrap_or(defaults.repetition_context),
        };
        let prompt = self.prompt(py, role, voice.as_deref())?;
        let (sessions, adapter) = adapted(py, &self.sessions, lora.as_deref())?;
        let watched = watch.map(|tokens| args::tokens("watch", tokens)).transpose()?.unwrap_or_default();
        let spec = SessionSpec { adapter, prompt, guidance: cfg, watched, ..conversation(self.about(), params) };
        let session = py.detach(|| sessions.open(spec)).map_err(engine)?;
        Ok(StreamingSession::new(sessions, session))
    }

    /// Write down what a recording says: a file of any common format by its path, or mono float32 samples at 24 kHz. Takes
    /// a model for recognition (`kind` "stt").
    ///
    /// Returns the text, and the words with the seconds at which they start and stop. A file is read piece by piece, however
    /// long it is. `progress(seconds, total, words)` is called for each piece; `total` is None where a file does not say it.
    #[pyo3(signature = (audio_or_path, *, progress=None))]
    fn transcribe(
        &self,
        py: Python<'_>,
        audio_or_path: &Bound<'_, PyAny>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Transcript> {
        let transcriber = self.loaded.recognition("transcribe").map_err(engine)?;
        let sound = audio::sound(audio_or_path)?;
        let whole = py.detach(|| WholeTranscription::open(sound, &self.sessions.now(), transcriber)).map_err(engine)?;
        transcription::transcribe(py, whole, progress.as_ref())
    }

    /// Open a recognition of a recording that comes piece by piece. Takes a model for recognition (`kind` "stt").
    fn transcription(&self, py: Python<'_>) -> PyResult<TranscriptionSession> {
        let transcriber = self.loaded.recognition("transcription").map_err(engine)?;
        let open = || moshi_model::TranscriptionSession::open(&self.sessions.now(), transcriber);
        let session = py.detach(open).map_err(engine)?;
        Ok(TranscriptionSession::new(session, self.about().user_streams, transcriber.heads()))
    }

    /// Say in the model's language what a recording says: a file of any common format by its path, or mono float32 samples
    /// at 24 kHz. Takes a model for translation (`kind` "translation").
    ///
    /// Returns the voice and the text. The model goes on after the end of the recording until it has said everything, for a
    /// minute at most. `seed`, the temperatures and `cfg` are those of `session`; `progress(seconds, total, text)` is called for
    /// each piece.
    #[pyo3(signature = (audio_or_path, *, seed=0, temperature=None, text_temperature=None, cfg=None, progress=None))]
    fn translate(
        &self,
        py: Python<'_>,
        audio_or_path: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = numbers::seed)] seed: u64,
        #[pyo3(from_py_with = numbers::temperature)] temperature: Option<f32>,
        #[pyo3(from_py_with = numbers::text_temperature)] text_temperature: Option<f32>,
        #[pyo3(from_py_with = numbers::cfg)] cfg: Option<f32>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Translation> {
        let info = self.about();
        expect_kind(info, "translate", ModelKind::Translation).map_err(engine)?;
        let sound = audio::sound(audio_or_path)?;
        let params = SessionParams {
            seed,
            temperature: temperature.unwrap_or(info.defaults.temperature),
            text_temperature: text_temperature.unwrap_or(info.defaults.text_temperature),
            ..info.defaults
        };
        let spec = SessionSpec { guidance: cfg, ..conversation(info, params) };
        let session = py.detach(|| self.sessions.now().open(spec)).map_err(engine)?;
        translation::translate(py, WholeTranslation::new(sound, session), progress.as_ref())
    }

    /// Read a text aloud. Takes a model for synthesis (`kind` "tts").
    ///
    /// `script` is a text, in which `<break time="0.5s"/>` is a pause, or a list of turns `(speaker, text)` with speakers 0
    /// and 1.
    ///
    /// `voice` is a published voice of this model (the path of its file or of the sound beside it, a name in the folder
    /// `voices` beside the model, or its address on the hub, `"hf://kyutai/tts-voices/NAME.wav"`), or a list of them, one for
    /// each speaker; for a model that takes a voice as the beginning of what is said, a sound file or samples; None is any.
    ///
    /// `cfg` draws the sound towards the voice; None is 2 as published. `padding_between` is the least silence between words
    /// in steps of 80 ms, counted beyond the text tokens of a word. `num_codebooks` makes fewer codebooks than the model has:
    /// faster, and rougher. The same seed gives the same sound; -1 or None is any. Ctrl-C ends it between two steps.
    #[pyo3(signature = (script, voice=None, cfg=None, seed=0, temperature=0.6, text_temperature=0.6, padding_between=1, num_codebooks=None))]
    #[allow(clippy::too_many_arguments)]
    fn synthesize(
        &self,
        py: Python<'_>,
        script: &Bound<'_, PyAny>,
        voice: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = numbers::cfg)] cfg: Option<f32>,
        #[pyo3(from_py_with = numbers::seed)] seed: u64,
        #[pyo3(from_py_with = numbers::reading_temperature)] temperature: f32,
        #[pyo3(from_py_with = numbers::reading_text_temperature)] text_temperature: f32,
        #[pyo3(from_py_with = numbers::padding_between)] padding_between: u32,
        #[pyo3(from_py_with = numbers::codebooks)] num_codebooks: Option<usize>,
    ) -> PyResult<Speech> {
        let asked =
            Asked { seed, temperature, text_temperature, cfg, padding_between, num_codebooks, tells_codes: true };
        let session = synthesis::open(py, &self.sessions.now(), &*self.loaded.codec, voice, &asked)?;
        synthesis::read(py, session, script, 1 + num_codebooks.unwrap_or(self.about().dep_q))
    }

    /// Open a synthesis of a text that comes piece by piece. Takes a model for synthesis (`kind` "tts"); the arguments are
    /// those of `synthesize`.
    #[pyo3(signature = (voice=None, cfg=None, seed=0, temperature=0.6, text_temperature=0.6, padding_between=1, num_codebooks=None))]
    #[allow(clippy::too_many_arguments)]
    fn synthesis(
        &self,
        py: Python<'_>,
        voice: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = numbers::cfg)] cfg: Option<f32>,
        #[pyo3(from_py_with = numbers::seed)] seed: u64,
        #[pyo3(from_py_with = numbers::reading_temperature)] temperature: f32,
        #[pyo3(from_py_with = numbers::reading_text_temperature)] text_temperature: f32,
        #[pyo3(from_py_with = numbers::padding_between)] padding_between: u32,
        #[pyo3(from_py_with = numbers::codebooks)] num_codebooks: Option<usize>,
    ) -> PyResult<SynthesisSession> {
        let asked =
            Asked { seed, temperature, text_temperature, cfg, padding_between, num_codebooks, tells_codes: false };
        Ok(SynthesisSession::new(synthesis::open(py, &self.sessions.now(), &*self.loaded.codec, voice, &asked)?))
    }

    /// What the model is for: "dialogue", "stt" (recognition), "tts" (synthesis) or "translation".
    #[getter]
    fn kind(&self) -> &'static str {
        self.about().kind.name()
    }

    /// The language model alone.
    #[getter]
    fn lm(&self) -> Lm {
        Lm { sessions: self.sessions.clone(), model: self.loaded.model.clone() }
    }

    /// The codec alone, with as many codebooks as the language model uses.
    #[getter]
    fn mimi(&self) -> Mimi {
        Mimi::new(self.loaded.codec.clone())
    }

    /// What the model is: kind, source, executor, streams, cards, delays, bytes of weights; the adapters that it was loaded
    /// with, the conditions that its sessions may be told (the texts of each, or the width of its vectors), and the names of
    /// the voices that lie beside it.
    #[getter]
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let info = self.about();
        let dict = PyDict::new(py);
        dict.set_item("kind", info.kind.name())?;
        dict.set_item("source", &info.source)?;
        dict.set_item("executor", &info.executor)?;
        dict.set_item("n_q", info.n_q)?;
        dict.set_item("dep_q", info.dep_q)?;
        dict.set_item("user_streams", info.user_streams)?;
        dict.set_item("card", info.card)?;
        dict.set_item("text_card", info.text_card)?;
        dict.set_item("dim", info.dim)?;
        dict.set_item("delays", &info.delays)?;
        dict.set_item("adapters", &self.sessions.now().model().info().adapters)?;
        let conditions = PyDict::new(py);
        for condition in &info.conditions {
            match condition.width {
                Some(width) => conditions.set_item(&condition.name, width)?,
                None => conditions.set_item(&condition.name, &condition.texts)?,
            }
        }
        dict.set_item("conditions", conditions)?;
        dict.set_item("voices", self.loaded.voice_names())?;
        dict.set_item("weight_bytes", info.weight_bytes)?;
        dict.set_item("memory_bytes", info.memory.weights)?;
        dict.set_item("session_bytes", info.memory.session)?;
        dict.set_item("sessions_that_fit", info.memory.sessions())?;
        Ok(dict)
    }

    /// Something to know before the first word, or None.
    #[getter]
    fn notice(&self) -> Option<String> {
        self.about().notice.clone()
    }

    fn __repr__(&self) -> String {
        format!("Model(source={:?}, executor={:?})", self.about().source, self.about().executor)
    }
}

/// Where sessions with this adapter are opened, and its name there.
fn adapted(
    py: Python<'_>,
    sessions: &AdaptedSessions,
    lora: Option<&Path>,
) -> PyResult<(Arc<Sessions>, Option<String>)> {
    match lora {
        None => Ok((sessions.now(), None)),
        Some(path) => py.detach(|| sessions.with(path)).map(|(now, name)| (now, Some(name))).map_err(engine),
    }
}

/// The language model of a `Model`.
#[pyclass(frozen, module = "rustymoshi")]
pub(crate) struct Lm {
    sessions: Arc<AdaptedSessions>,
    model: Arc<dyn SpeechModel>,
}

#[pymethods]
impl Lm {
    /// Teacher-forced logits for `codes [1 + n_q, T]` (undelayed: text, agent codes, user codes; -1 where there is nothing).
    ///
    /// Returns float32 `(text_logits [T, text_card], audio_logits [dep_q, T, card])`, where position t of stream q is the
    /// prediction of `codes[.., t]`. `lora` is the folder of an adapter.
    #[pyo3(signature = (codes, *, lora=None))]
    fn forward<'py>(&self, py: Python<'py>, codes: &Bound<'py, PyAny>, lora: Option<PathBuf>) -> PyResult<Logits<'py>> {
        let info = self.model.info();
        let (codes, steps) = args::codes_2d("codes", 1 + info.n_q, codes)?;
        let (sessions, adapter) = adapted(py, &self.sessions, lora.as_deref())?;
        let forward = |go_on: &mut GoOn<'_>| sessions.model().forward_adapted(&codes, steps, adapter.as_deref(), go_on);
        let logits = interruptible(py, forward, engine)?;
        let text_card = logits.text.len() / steps.max(1);
        let text = Array2::from_shape_vec((steps, text_card), logits.text).map_err(shape)?;
        let audio = Array3::from_shape_vec((info.dep_q, steps, info.card), logits.audio).map_err(shape)?;
        Ok((text.into_pyarray(py), audio.into_pyarray(py)))
    }

    fn __repr__(&self) -> String {
        let info = self.model.info();
        format!("Lm(n_q={}, dep_q={}, card={}, text_card={})", info.n_q, info.dep_q, info.card, info.text_card)
    }
}

/// Text `[T, text_card]` and audio `[dep_q, T, card]`.
type Logits<'py> = (Bound<'py, PyArray2<f32>>, Bound<'py, PyArray3<f32>>);

fn shape(error: numpy::ndarray::ShapeError) -> PyErr {
    PyValueError::new_err(error.to_string())
}
