//! What was read aloud: `rustymoshi.Speech` and its words.

use moshi_model::WholeReading;
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// A word that is read aloud, and when. Part of a `Speech`, and of what `SynthesisSession.step` returns.
#[pyclass(frozen, get_all, module = "rustymoshi")]
pub(crate) struct SpokenWord {
    /// The word as it is written, punctuation included.
    text: String,
    /// When it starts, in seconds from the beginning of the sound.
    start: f64,
}

#[pymethods]
impl SpokenWord {
    fn __repr__(&self) -> String {
        format!("SpokenWord({:?}, {:.2})", self.text, self.start)
    }
}

impl SpokenWord {
    /// Words as Python objects.
    pub(crate) fn all(py: Python<'_>, words: Vec<(String, f64)>) -> PyResult<Vec<Py<Self>>> {
        words.into_iter().map(|(text, start)| Py::new(py, Self { text, start })).collect()
    }
}

/// A text that was read aloud. Made by `Model.synthesize`.
#[pyclass(frozen, module = "rustymoshi")]
pub(crate) struct Speech {
    pcm: Py<PyArray1<f32>>,
    words: Vec<Py<SpokenWord>>,
    tokens: Py<PyArray2<i32>>,
    seconds: f64,
}

impl Speech {
    /// Of frames with so many tokens.
    pub(crate) fn new(py: Python<'_>, whole: WholeReading, streams: usize) -> PyResult<Self> {
        let WholeReading { pcm, words, tokens } = whole;
        let seconds = pcm.len() as f64 / f64::from(moshi_audio::SAMPLE_RATE);
        let tokens = Array2::from_shape_vec((tokens.len() / streams.max(1), streams), tokens);
        let tokens = tokens.map_err(|e| PyValueError::new_err(e.to_string()))?.into_pyarray(py).unbind();
        Ok(Self { pcm: pcm.into_pyarray(py).unbind(), words: SpokenWord::all(py, words)?, tokens, seconds })
    }
}

#[pymethods]
impl Speech {
    /// The sound: mono float32 samples at 24 kHz in [-1, 1].
    #[getter]
    fn pcm(&self, py: Python<'_>) -> Py<PyArray1<f32>> {
        self.pcm.clone_ref(py)
    }

    /// Its words, in order, each with `.text` and `.start`.
    #[getter]
    fn words(&self, py: Python<'_>) -> Vec<Py<SpokenWord>> {
        self.words.iter().map(|word| word.clone_ref(py)).collect()
    }

    /// What the model wrote, frame by frame, int32 `[steps, 1 + n_q]`: the text token, then a code for each codebook that was
    /// made; -1 where there is none. The sound begins some frames later: the text is ahead of it.
    #[getter]
    fn tokens(&self, py: Python<'_>) -> Py<PyArray2<i32>> {
        self.tokens.clone_ref(py)
    }

    fn __repr__(&self) -> String {
        format!("Speech({:.2} s, {} words)", self.seconds, self.words.len())
    }
}
