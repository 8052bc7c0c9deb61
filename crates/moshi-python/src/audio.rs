//! Audio files to and from arrays.

use std::path::PathBuf;

use moshi_audio::{AudioError, AudioFile, Recording};
use moshi_engine::GoOn;
use moshi_model::Sound;
use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors::{self, RustymoshiError, failure};
use crate::{args, signals};

/// Read an audio file of any common format, rate and number of channels as mono float32 samples at 24 kHz.
///
/// A file that is damaged towards its end gives what is readable, and a warning.
#[pyfunction]
pub(crate) fn load_audio(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyArray1<f32>>> {
    let recording = signals::interruptible(
        py,
        |go_on| load(&path, go_on),
        |error| {
            let (file, error) = (path.display().to_string(), failure(error).value(py).to_string());
            RustymoshiError::new_err(if error.contains(&file) { error } else { format!("{file}: {error}") })
        },
    )?;
    if let Some(warning) = &recording.warning {
        let named = warning.starts_with(&path.display().to_string());
        warn(py, &if named { warning.clone() } else { format!("{}: {warning}", path.display()) })?;
    }
    Ok(recording.pcm.into_pyarray(py))
}

/// Write mono float32 samples at 24 kHz as a 16-bit WAV file, whose name ends in `.wav` or has no ending.
///
/// Samples beyond [-1, 1] are clipped.
#[pyfunction]
pub(crate) fn save_audio(py: Python<'_>, path: PathBuf, pcm: &Bound<'_, PyAny>) -> PyResult<()> {
    let pcm = args::pcm(pcm)?;
    if let Some(message) = args::too_loud(&pcm) {
        warn(py, &format!("{}: {message}", path.display()))?;
    }
    py.detach(|| moshi_audio::save(&path, &pcm)).map_err(errors::audio)
}

fn load(path: &std::path::Path, go_on: &mut GoOn<'_>) -> Result<Recording, AudioError> {
    let mut file = AudioFile::open(path)?;
    let mut pcm = Vec::new();
    while go_on() && file.read_block(&mut pcm)? {}
    Ok(Recording { pcm, warning: file.warning().map(str::to_owned) })
}

/// Warns of what was wrong with a recording that was heard to its end.
pub(crate) fn warn_of(py: Python<'_>, sound: &Sound) -> PyResult<()> {
    sound.warning().map_or(Ok(()), |warning| warn(py, warning))
}

/// A recording to hear: a file of any common format by its path, or mono float32 samples at 24 kHz.
pub(crate) fn sound(value: &Bound<'_, PyAny>) -> PyResult<Sound> {
    let is_path = value.is_instance_of::<PyString>() || value.hasattr("__fspath__")?;
    if !is_path {
        return Ok(Sound::samples(args::heard(value)?));
    }
    let path: PathBuf = value.extract()?;
    value.py().detach(|| Sound::file(&path)).map_err(errors::engine)
}

fn warn(py: Python<'_>, message: &str) -> PyResult<()> {
    let message = std::ffi::CString::new(message).unwrap_or_default();
    PyErr::warn(py, &py.get_type::<PyUserWarning>(), &message, 1)
}
