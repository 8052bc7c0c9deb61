//! `rustymoshi.Mimi` and its streams.

use std::sync::{Arc, Mutex};

use moshi_model::{Codec, CodecStream};
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::{RustymoshiError, engine};
use crate::signals::interruptible;
use crate::source::{self, Wanted};
use crate::{args, numbers};

/// Mimi, the streaming neural codec: 24 kHz audio to 12.5 frames of codes a second and back.
///
/// >>> import rustymoshi
/// >>> mimi = rustymoshi.Mimi.load("mimi.safetensors", num_codebooks=8)  # doctest: +SKIP
/// >>> pcm = mimi.decode(mimi.encode(rustymoshi.load_audio("hello.wav")))  # doctest: +SKIP
#[pyclass(frozen, module = "rustymoshi")]
pub(crate) struct Mimi {
    codec: Arc<dyn Codec>,
}

impl Mimi {
    pub(crate) fn new(codec: Arc<dyn Codec>) -> Self {
        Self { codec }
    }
}

#[pymethods]
impl Mimi {
    /// Load a codec from a `.safetensors` file, a folder or a hub repository (`"owner/name@revision"`).
    ///
    /// `num_codebooks` is how many of the file's codebooks are used: more of them, more quality and more bits.
    /// `dtype="f32"` computes in single precision; without it, the processor computes in faster fixed point. `revision` and
    /// `progress` are those of `Model.load`, and so is Ctrl-C.
    #[staticmethod]
    #[pyo3(signature = (path, num_codebooks=8, *, dtype=None, threads=None, revision=None, progress=None))]
    #[allow(clippy::too_many_arguments)]
    fn load(
        py: Python<'_>,
        path: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = numbers::num_codebooks)] num_codebooks: usize,
        dtype: Option<&str>,
        #[pyo3(from_py_with = numbers::threads)] threads: Option<usize>,
        revision: Option<&str>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let options = source::options("auto", dtype, None, threads, Some(num_codebooks))?;
        let codec = Wanted::new(path, revision, progress)?.load_codec(py, options)?;
        Ok(Self { codec })
    }

    /// Encode mono float32 samples at 24 kHz to codes `[K, T]`, int32. The last frame is filled with silence.
    fn encode<'py>(&self, py: Python<'py>, pcm: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray2<i32>>> {
        let pcm = args::heard(pcm)?;
        let codes = interruptible(py, |go_on| self.codec.encode(&pcm, go_on), engine)?;
        codes_array(py, self.codec.info().num_codebooks, codes)
    }

    /// Decode codes `[K, T]` to T * 1,920 mono float32 samples at 24 kHz.
    fn decode<'py>(&self, py: Python<'py>, codes: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let (codes, _) = args::codes_2d("codes", self.codec.info().num_codebooks, codes)?;
        let codes = args::unsigned("codes", codes)?;
        let pcm = interruptible(py, |go_on| self.codec.decode(&codes, go_on), engine)?;
        Ok(pcm.into_pyarray(py))
    }

    /// A streaming encoder and decoder with memory of its own.
    fn stream(&self, py: Python<'_>) -> PyResult<MimiStream> {
        let stream = py.detach(|| self.codec.stream()).map_err(engine)?;
        Ok(MimiStream { codec: self.codec.clone(), stream: Mutex::new(stream) })
    }

    /// Codebooks in use: codes per frame.
    #[getter]
    fn num_codebooks(&self) -> usize {
        self.codec.info().num_codebooks
    }

    /// Codes per codebook.
    #[getter]
    fn bins(&self) -> usize {
        self.codec.info().bins
    }

    /// Samples per second.
    #[getter]
    fn sample_rate(&self) -> usize {
        self.codec.info().sample_rate
    }

    /// Samples per frame.
    #[getter]
    fn frame_samples(&self) -> usize {
        self.codec.info().frame_samples
    }

    fn __repr__(&self) -> String {
        let info = self.codec.info();
        format!("Mimi(num_codebooks={}, bins={}, sample_rate={})", info.num_codebooks, info.bins, info.sample_rate)
    }
}

/// One stream through the codec, both ways. Made by `Mimi.stream`.
#[pyclass(frozen, module = "rustymoshi")]
pub(crate) struct MimiStream {
    codec: Arc<dyn Codec>,
    stream: Mutex<Box<dyn CodecStream>>,
}

impl MimiStream {
    fn lock(&self) -> PyResult<std::sync::MutexGuard<'_, Box<dyn CodecStream>>> {
        self.stream.try_lock().map_err(|_| {
            RustymoshiError::new_err(
                "this stream is in use by another thread; open one stream per thread with Mimi.stream()",
            )
        })
    }
}

#[pymethods]
impl MimiStream {
    /// Encode any number of mono float32 samples at 24 kHz; returns the codes `[K, n]` of the n frames that became whole.
    ///
    /// Samples that fill no frame wait for the next call, and so do those that an interrupt (Ctrl-C) left over.
    fn encode_step<'py>(&self, py: Python<'py>, pcm: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray2<i32>>> {
        let (pcm, mut codes) = (args::heard(pcm)?, Vec::new());
        let stream = &mut *self.lock()?;
        interruptible(py, |go_on| stream.encode(&pcm, &mut codes, go_on), engine)?;
        let k = self.codec.info().num_codebooks;
        let codes: Vec<i32> = codes.into_iter().map(|code| code as i32).collect();
        let frames = Array2::from_shape_vec((codes.len() / k.max(1), k), codes);
        let frames = frames.map_err(|e| PyValueError::new_err(e.to_string()))?;
        Ok(frames.reversed_axes().as_standard_layout().into_owned().into_pyarray(py))
    }

    /// Decode codes `[K, n]` to n * 1,920 mono float32 samples at 24 kHz.
    fn decode_step<'py>(&self, py: Python<'py>, codes: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let codes = args::codes_by_frame("codes", self.codec.info().num_codebooks, codes)?;
        let (codes, mut pcm) = (args::unsigned("codes", codes)?, Vec::new());
        let stream = &mut *self.lock()?;
        interruptible(py, |go_on| stream.decode(&codes, &mut pcm, go_on), engine)?;
        Ok(pcm.into_pyarray(py))
    }

    /// Forget everything heard and said.
    fn reset(&self) -> PyResult<()> {
        self.lock()?.reset().map_err(engine)
    }
}

fn codes_array(py: Python<'_>, k: usize, codes: Vec<u32>) -> PyResult<Bound<'_, PyArray2<i32>>> {
    let steps = codes.len() / k.max(1);
    let codes = codes.into_iter().map(|c| c as i32).collect();
    let array = Array2::from_shape_vec((k, steps), codes).map_err(|e| PyValueError::new_err(e.to_string()))?;
    Ok(array.into_pyarray(py))
}
