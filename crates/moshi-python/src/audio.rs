//! Audio files to and from arrays.

use std::path::PathBuf;

use moshi_audio::{WavFormat, write_wav};
use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;

use crate::args;
use crate::errors::{RustymoshiError, failure};

/// Read an audio file of any common format, rate and number of channels as mono float32 samples at 24 kHz.
///
/// A file that is damaged towards its end gives what is readable, and a warning.
#[pyfunction]
pub(crate) fn load_audio(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyArray1<f32>>> {
    let recording = py.detach(|| moshi_audio::load(&path)).map_err(|error| {
        let (file, error) = (path.display().to_string(), failure(error).value(py).to_string());
        RustymoshiError::new_err(if error.contains(&file) { error } else { format!("{file}: {error}") })
    })?;
    if let Some(warning) = &recording.warning {
        let message = std::ffi::CString::new(format!("{}: {warning}", path.display())).unwrap_or_default();
        PyErr::warn(py, &py.get_type::<PyUserWarning>(), &message, 1)?;
    }
    Ok(recording.pcm.into_pyarray(py))
}

/// Write mono float32 samples at 24 kHz as a 16-bit WAV file.
#[pyfunction]
pub(crate) fn save_audio(py: Python<'_>, path: PathBuf, pcm: &Bound<'_, PyAny>) -> PyResult<()> {
    let pcm = args::pcm(pcm)?;
    py.detach(|| write_wav(&path, &pcm, WavFormat::I16)).map_err(failure)
}
