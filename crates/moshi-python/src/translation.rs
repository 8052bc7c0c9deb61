//! The translation of whole recordings, and `rustymoshi.Translation`.

use moshi_model::WholeTranslation;
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

use crate::audio;
use crate::errors::engine;
use crate::signals::interruptible;

/// What a recording says in another language. Made by `Model.translate`.
#[pyclass(frozen, get_all, module = "rustymoshi")]
pub(crate) struct Translation {
    /// The voice: mono float32 samples at 24 kHz.
    pcm: Py<PyArray1<f32>>,
    /// The text.
    text: String,
}

#[pymethods]
impl Translation {
    fn __repr__(&self) -> String {
        let beginning: String = self.text.chars().take(40).collect();
        format!("Translation({beginning:?})")
    }
}

/// Translates all of a recording; `progress(seconds, total, text)` is told of each piece.
pub(crate) fn translate(
    py: Python<'_>,
    mut whole: WholeTranslation,
    progress: Option<&Py<PyAny>>,
) -> PyResult<Translation> {
    let (mut pcm, mut text, mut told) = (Vec::new(), String::new(), 0);
    let mut more = true;
    while more {
        more = interruptible(py, |go_on| whole.advance(&mut pcm, &mut text, go_on), engine)?;
        py.check_signals()?;
        if let Some(progress) = progress {
            let sound = whole.sound();
            progress.call1(py, (sound.position(), sound.duration(), &text[told..]))?;
            told = text.len();
        }
    }
    audio::warn_of(py, whole.sound())?;
    Ok(Translation { pcm: pcm.into_pyarray(py).unbind(), text: text.trim().to_owned() })
}
