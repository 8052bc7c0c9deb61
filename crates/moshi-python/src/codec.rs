//! `rustymoshi.Mimi` and its streams.

use std::sync::{Arc, Mutex};

use moshi_engine::{Codec, CodecStream};
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::args;
use crate::errors::{RustymoshiError, engine};
use crate::source::{self, Wanted};

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
        num_codebooks: usize,
        dtype: Option<&str>,
        threads: Option<usize>,
        revision: Option<&str>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let options = source::options("auto", dtype, None, threads, Some(num_codebooks))?;
        let codec = Wanted::new(path, revision, progress)?.load_codec(py, options)?;
        Ok(Self { codec })
    }

    /// Encode mono float32 samples at 24 kHz to codes `[K, T]`, int32. The last frame is filled with silence.
    fn encode<'py>(&self, py: Python<'py>, pcm: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray2<i32>>> {
        let pcm = args::pcm(pcm)?;
        let codes = py.detach(|| self.codec.encode(&pcm)).map_err(engine)?;
        codes_array(py, self.codec.info().num_codebooks, codes)
    }

    /// Decode codes `[K, T]` to T * 1,920 mono float32 samples at 24 kHz.
    fn decode<'py>(&self, py: Python<'py>, codes: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let (codes, _) = args::codes_2d("codes", self.codec.info().num_codebooks, codes)?;
        let codes = args::unsigned("codes", codes)?;
        let pcm = py.detach(|| self.codec.decode(&codes)).map_err(engine)?;
        Ok(pcm.into_pyarray(py))
    }

    /// A streaming encoder and decoder with memory of its own.
    fn stream(&self, py: Python<'_>) -> PyResult<MimiStream> {
        let stream = py.detach(|| self.codec.stream()).map_err(engine)?;
        Ok(MimiStream { codec: self.codec.clone(), state: Mutex::new(StreamState { stream, partial: Vec::new() }) })
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
    state: Mutex<StreamState>,
}

struct StreamState {
    stream: Box<dyn CodecStream>,
    /// Samples that do not fill a frame yet.
    partial: Vec<f32>,
}

impl MimiStream {
    fn lock(&self) -> PyResult<std::sync::MutexGuard<'_, StreamState>> {
        self.state.try_lock().map_err(|_| {
            RustymoshiError::new_err(
                "this stream is in use by another thread; open one stream per thread with Mimi.stream()",
            )
        })
    }
}

#[pymethods]
impl MimiStream {
    /// Encode any number of mono float32 samples at 24 kHz; returns the codes `[K, n]` of the n frames that became whole.
    fn encode_step<'py>(&self, py: Python<'py>, pcm: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray2<i32>>> {
        let pcm = args::pcm(pcm)?;
        let info = self.codec.info();
        let mut guard = self.lock()?;
        let state = &mut *guard;
        let frames = py.detach(|| encode_frames(state, &pcm, &info)).map_err(engine)?;
        let n = frames.len() / info.num_codebooks.max(1);
        let frames = Array2::from_shape_vec((n, info.num_codebooks), frames);
        let frames = frames.map_err(|e| PyValueError::new_err(e.to_string()))?;
        Ok(frames.mapv(|c| c as i32).reversed_axes().as_standard_layout().into_owned().into_pyarray(py))
    }

    /// Decode codes `[K, n]` to n * 1,920 mono float32 samples at 24 kHz.
    fn decode_step<'py>(&self, py: Python<'py>, codes: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let info = self.codec.info();
        let (codes, steps) = args::codes_2d("codes", info.num_codebooks, codes)?;
        let codes = args::unsigned("codes", codes)?;
        let mut guard = self.lock()?;
        let state = &mut *guard;
        let pcm = py.detach(|| {
            let mut pcm = vec![0.0; steps * info.frame_samples];
            for (t, frame) in pcm.chunks_exact_mut(info.frame_samples).enumerate() {
                let column: Vec<u32> = (0..info.num_codebooks).map(|k| codes[k * steps + t]).collect();
                state.stream.decode_frame(&column, frame)?;
            }
            Ok(pcm)
        });
        Ok(pcm.map_err(engine)?.into_pyarray(py))
    }

    /// Forget everything heard and said.
    fn reset(&self) -> PyResult<()> {
        let mut state = self.lock()?;
        state.partial.clear();
        state.stream.reset().map_err(engine)
    }
}

/// Encodes all frames that are whole with `pcm`; returns `[n, K]`.
fn encode_frames(
    state: &mut StreamState,
    pcm: &[f32],
    info: &moshi_engine::CodecInfo,
) -> Result<Vec<u32>, moshi_engine::EngineError> {
    state.partial.extend_from_slice(pcm);
    let whole = state.partial.len() / info.frame_samples;
    let mut codes = vec![0; whole * info.num_codebooks];
    let frames = state.partial.chunks_exact(info.frame_samples);
    for (frame, codes) in frames.zip(codes.chunks_exact_mut(info.num_codebooks)) {
        state.stream.encode_frame(frame, codes)?;
    }
    state.partial.drain(..whole * info.frame_samples);
    Ok(codes)
}

fn codes_array(py: Python<'_>, k: usize, codes: Vec<u32>) -> PyResult<Bound<'_, PyArray2<i32>>> {
    let steps = codes.len() / k.max(1);
    let codes = codes.into_iter().map(|c| c as i32).collect();
    let array = Array2::from_shape_vec((k, steps), codes).map_err(|e| PyValueError::new_err(e.to_string()))?;
    Ok(array.into_pyarray(py))
}
