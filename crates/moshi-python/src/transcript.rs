//! What recognitions give back: `rustymoshi.Word`, `Transcript` and `Heard`.

use moshi_model::{TranscriptWord, Understood, captions};
use numpy::ndarray::Array3;
use numpy::{IntoPyArray, PyArray1, PyArray3};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// A word and when it was said.
#[pyclass(frozen, get_all, module = "rustymoshi")]
pub(crate) struct Word {
    /// The word, without spaces around it.
    text: String,
    /// When it starts, in seconds from the beginning of the recording.
    start: f64,
    /// When it ends.
    stop: f64,
}

#[pymethods]
impl Word {
    fn __repr__(&self) -> String {
        format!("Word({:?}, {:.2}, {:.2})", self.text, self.start, self.stop)
    }
}

impl Word {
    /// Words as Python objects.
    pub(crate) fn all(py: Python<'_>, words: &[TranscriptWord]) -> PyResult<Vec<Py<Self>>> {
        let word =
            |word: &TranscriptWord| Py::new(py, Self { text: word.text.clone(), start: word.start, stop: word.stop });
        words.iter().map(word).collect()
    }
}

/// What a recording says. Made by `Model.transcribe`.
#[pyclass(frozen, module = "rustymoshi")]
pub(crate) struct Transcript {
    transcript: moshi_model::Transcript,
    words: Vec<Py<Word>>,
}

impl Transcript {
    pub(crate) fn new(py: Python<'_>, transcript: moshi_model::Transcript) -> PyResult<Self> {
        let words = Word::all(py, &transcript.words)?;
        Ok(Self { transcript, words })
    }
}

#[pymethods]
impl Transcript {
    /// The text.
    #[getter]
    fn text(&self) -> &str {
        &self.transcript.text
    }

    /// Its words, in order, each with `.text`, `.start` and `.stop`.
    #[getter]
    fn words(&self, py: Python<'_>) -> Vec<Py<Word>> {
        self.words.iter().map(|word| word.clone_ref(py)).collect()
    }

    /// The words as captions in the format SubRip.
    fn srt(&self) -> String {
        captions::srt(&self.transcript.words)
    }

    /// The words as captions in the format WebVTT.
    fn vtt(&self) -> String {
        captions::vtt(&self.transcript.words)
    }

    fn __repr__(&self) -> String {
        let beginning: String = self.transcript.text.chars().take(40).collect();
        format!("Transcript({beginning:?}, {} words)", self.words.len())
    }
}

/// What a piece of a recording brought. Made by `TranscriptionSession.step`.
#[pyclass(frozen, module = "rustymoshi")]
pub(crate) struct Heard {
    understood: Understood,
    words: Vec<Py<Word>>,
    heads: (usize, usize),
}

impl Heard {
    /// Of a model with so many extra heads and classes.
    pub(crate) fn new(py: Python<'_>, understood: Understood, heads: (usize, usize)) -> PyResult<Self> {
        let words = Word::all(py, &understood.words)?;
        Ok(Self { understood, words, heads })
    }
}

#[pymethods]
impl Heard {
    /// Text that was written, as it comes, with a space before each word.
    #[getter]
    fn text(&self) -> &str {
        &self.understood.text
    }

    /// Words that are over, each with `.text`, `.start` and `.stop`.
    #[getter]
    fn words(&self, py: Python<'_>) -> Vec<Py<Word>> {
        self.words.iter().map(|word| word.clone_ref(py)).collect()
    }

    /// Whether the speaker finished within the piece, as the model thinks: told once, until the next word.
    #[getter]
    fn pause(&self) -> bool {
        self.understood.pause
    }

    /// The text token of each step, int32: 0 before a new word, 3 for nothing, otherwise a piece of a word.
    #[getter]
    fn tokens<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i32>> {
        self.understood.tokens.clone().into_pyarray(py)
    }

    /// What the model's extra heads say in each step, float32 `[steps, heads, classes]`; class 0 of a head is silence.
    #[getter]
    fn heads<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray3<f32>>> {
        let (heads, classes) = self.heads;
        let steps = self.understood.heads.len() / (heads * classes).max(1);
        let array = Array3::from_shape_vec((steps, heads, classes), self.understood.heads.clone());
        Ok(array.map_err(|e| PyValueError::new_err(e.to_string()))?.into_pyarray(py))
    }

    fn __repr__(&self) -> String {
        format!("Heard({:?}, {} words)", self.understood.text, self.words.len())
    }
}
