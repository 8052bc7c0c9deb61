//! Where models come from: paths, repositories, and the environment of the hub.

use std::ffi::CString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use moshi_checkpoint::quantize::Quantize;
use moshi_checkpoint::{HubOptions, OpenOptions, Parts, Repository, Source};
use moshi_engine::EngineError;
use moshi_model::{AdapterPath, Codec, Device, Dtype, LoadOptions, Loaded};
use pyo3::exceptions::{PyException, PyTypeError, PyUserWarning, PyValueError};
use pyo3::prelude::*;

use crate::background::{Report, in_background};
use crate::errors::{RustymoshiError, engine, failure};

/// Reads the options of a `load` call.
pub(crate) fn options(
    device: &str,
    dtype: Option<&str>,
    quantize: Option<&str>,
    threads: Option<usize>,
    num_codebooks: Option<usize>,
) -> PyResult<LoadOptions> {
    let threads = match threads {
        None => None,
        Some(n) => Some(NonZeroUsize::new(n).ok_or_else(|| PyValueError::new_err("threads is 0; expected 1 or more"))?),
    };
    let device: Device = device.parse().map_err(engine)?;
    let dtype: Option<Dtype> = dtype.map(str::parse).transpose().map_err(engine)?;
    let quantize: Option<Quantize> = quantize.map(str::parse).transpose().map_err(PyValueError::new_err::<String>)?;
    Ok(LoadOptions { device, dtype, quantize, num_codebooks, threads, ..LoadOptions::default() })
}

/// The adapters of a `load` call: one folder, or several.
pub(crate) fn adapters(value: &Bound<'_, PyAny>) -> PyResult<Vec<AdapterPath>> {
    if let Ok(path) = value.extract::<PathBuf>() {
        return Ok(vec![AdapterPath::at(&path)]);
    }
    let paths: Vec<PathBuf> = value.extract().map_err(|_| {
        let kind = value.get_type().name().map_or_else(|_| "an object".to_owned(), |kind| kind.to_string());
        PyTypeError::new_err(format!("lora: expected a folder or a list of folders, found {kind}"))
    })?;
    Ok(paths.iter().map(|path| AdapterPath::at(path)).collect())
}

/// What a `load` call names, and who is told how its download goes on.
pub(crate) struct Wanted {
    source: Source,
    given: String,
    progress: Option<Py<PyAny>>,
}

impl Wanted {
    /// Reads the path or repository of a `load` call, with its revision.
    ///
    /// # Errors
    /// `ValueError` for a revision of something that has none, or that cannot be one.
    pub(crate) fn new(
        path_or_repo: &Bound<'_, PyAny>,
        revision: Option<&str>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let given = text(path_or_repo)?;
        let source = match (Source::parse(&given).map_err(failure)?, revision) {
            (source, None) => source,
            (Source::Hub(hub), Some(revision)) if hub.revision.as_deref().is_none_or(|own| own == revision) => {
                let wrong = |problem| PyValueError::new_err(format!("revision={revision:?}: {problem}"));
                Source::Hub(hub.at_revision(revision).map_err(wrong)?)
            }
            (Source::Hub(_), Some(revision)) => {
                return Err(PyValueError::new_err(format!(
                    "revision={revision:?}: {given} names another revision already; keep one"
                )));
            }
            _ => {
                return Err(PyValueError::new_err(format!(
                    "revision: {given} is not a hub repository, which alone has revisions"
                )));
            }
        };
        Ok(Self { source, given, progress })
    }

    /// Opens the repository and lays out its model.
    pub(crate) fn load_model(self, py: Python<'_>, options: LoadOptions) -> PyResult<Loaded> {
        let given = self.given.clone();
        self.load(py, Parts::ALL, options, move |repository, options| {
            moshi_model::load_model(repository, &given, options)
        })
    }

    /// Opens the repository or file and lays out its codec.
    pub(crate) fn load_codec(self, py: Python<'_>, options: LoadOptions) -> PyResult<Arc<dyn Codec>> {
        self.load(py, Parts::MIMI, options, moshi_model::load_codec)
    }

    fn load<T: Send + 'static>(
        self,
        py: Python<'_>,
        parts: Parts,
        options: LoadOptions,
        lay_out: impl FnOnce(&Repository, &LoadOptions) -> Result<T, EngineError> + Send + 'static,
    ) -> PyResult<T> {
        let (source, mut listener) = (self.source, Listener { callback: self.progress });
        let loaded = in_background(py, &mut |report| listener.tell(py, &report), move |mut worker| {
            let open = OpenOptions { parts, hub: HubOptions::from_env(), ..OpenOptions::default() };
            let repository = Repository::open(&source, &open, &mut worker)?;
            let laid_out = lay_out(&repository, &LoadOptions { stop: worker.stop.clone(), ..options });
            Ok::<_, moshi_checkpoint::Error>((laid_out, repository.warnings().to_vec()))
        })?;
        let (laid_out, warnings) = loaded.map_err(failure)?;
        for warning in warnings {
            let warning = CString::new(warning).unwrap_or_default();
            PyErr::warn(py, &py.get_type::<PyUserWarning>(), &warning, 1)?;
        }
        laid_out.map_err(engine)
    }
}

/// Tells a Python callable `(file, bytes_done, bytes_total)` how a download goes on.
struct Listener {
    callback: Option<Py<PyAny>>,
}

impl Listener {
    /// An exception in the callback must not end the download: it is shown, and the callback is asked no more. What a
    /// signal raises is no exception of the callback, and ends it.
    fn tell(&mut self, py: Python<'_>, report: &Report) -> PyResult<()> {
        let Some(callback) = &self.callback else { return Ok(()) };
        match callback.call1(py, (&report.file, report.done, report.size)) {
            Ok(_) => Ok(()),
            Err(error) if error.is_instance_of::<PyException>(py) => {
                error.write_unraisable(py, None);
                self.callback = None;
                Ok(())
            }
            Err(interrupt) => Err(interrupt),
        }
    }
}

/// A path or repository id as text.
pub(crate) fn text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let path = value.py().import("os")?.call_method1("fspath", (value,))?;
    path.extract().map_err(|_| RustymoshiError::new_err(format!("{path} is not a path that is text")))
}
