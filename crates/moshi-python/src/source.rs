//! Where models come from: paths, repositories, and the environment of the hub.

use std::num::NonZeroUsize;
use std::sync::Arc;

use moshi_checkpoint::quantize::Quantize;
use moshi_checkpoint::{HubOptions, OpenOptions, Parts, Progress, Repository, Source};
use moshi_engine::{Codec, Device, Dtype, LoadOptions, Loaded};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

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

/// Opens a repository and lays out its model.
pub(crate) fn load_model(
    given: &str,
    revision: Option<String>,
    options: &LoadOptions,
    progress: Option<Py<PyAny>>,
) -> PyResult<Loaded> {
    let repository = open(given, revision, Parts::ALL, &mut Listener::new(progress))?;
    moshi_engine::load_model(&repository, given, options).map_err(engine)
}

/// Opens a repository or file and lays out its codec.
pub(crate) fn load_codec(given: &str, options: &LoadOptions) -> PyResult<Arc<dyn Codec>> {
    let repository = open(given, None, Parts::MIMI, &mut ())?;
    moshi_engine::load_codec(&repository, options).map_err(engine)
}

fn open(given: &str, revision: Option<String>, parts: Parts, progress: &mut dyn Progress) -> PyResult<Repository> {
    let mut source = Source::parse(given).map_err(failure)?;
    if let Some(revision) = revision {
        let Source::Hub(hub) = &mut source else {
            return Err(PyValueError::new_err(format!(
                "revision: {given} is not a hub repository, which alone has revisions"
            )));
        };
        hub.revision = Some(revision);
    }
    let options = OpenOptions { parts, hub: HubOptions::from_env(), ..OpenOptions::default() };
    Repository::open(&source, &options, progress).map_err(failure)
}

/// Tells a Python callable `(file, bytes_done, bytes_total)` how a download goes on.
struct Listener {
    callback: Option<Py<PyAny>>,
    file: String,
    size: u64,
}

impl Listener {
    fn new(callback: Option<Py<PyAny>>) -> Self {
        Self { callback, file: String::new(), size: 0 }
    }

    /// An exception in the callback must not end the download: it is shown, and the callback is asked no more.
    fn tell(&mut self, done: u64) {
        let Some(callback) = &self.callback else { return };
        let told = Python::attach(|py| {
            let called = callback.call1(py, (&self.file, done, self.size));
            called.map(|_| ()).map_err(|e| e.write_unraisable(py, None))
        });
        if told.is_err() {
            self.callback = None;
        }
    }
}

impl Progress for Listener {
    fn start(&mut self, file: &str, done: u64, size: u64) {
        (self.file, self.size) = (file.to_owned(), size);
        self.tell(done);
    }

    fn update(&mut self, done: u64) {
        self.tell(done);
    }

    fn finish(&mut self) {
        self.tell(self.size);
    }
}

/// A path or repository id as text.
pub(crate) fn text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let path = value.py().import("os")?.call_method1("fspath", (value,))?;
    path.extract().map_err(|_| RustymoshiError::new_err(format!("{path} is not a path that is text")))
}
