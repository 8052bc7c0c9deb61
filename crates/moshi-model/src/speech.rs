//! A codec of any executor behind object-safe traits: what the bindings hold.

use moshi_engine::{EngineError, GoOn};

/// What a loaded codec is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodecInfo {
    /// Samples a second.
    pub sample_rate: usize,
    /// Samples a frame.
    pub frame_samples: usize,
    /// Codebooks in use: codes a frame.
    pub num_codebooks: usize,
    /// Codes per codebook.
    pub bins: usize,
}

/// A loaded codec.
pub trait Codec: Send + Sync {
    /// What the codec is.
    fn info(&self) -> CodecInfo;
    /// Encodes all of `pcm`, as long as `go_on` says so; the last frame is filled with silence. Returns `[K, T]`,
    /// row-major.
    ///
    /// # Errors
    /// When a sample is not finite; [`EngineError::Stopped`].
    fn encode(&self, pcm: &[f32], go_on: &mut GoOn<'_>) -> Result<Vec<u32>, EngineError>;
    /// Decodes `codes [K, T]`, row-major, to T frames of samples, as long as `go_on` says so.
    ///
    /// # Errors
    /// When the number of codes is not a multiple of K, or a code is not below the number of bins;
    /// [`EngineError::Stopped`].
    fn decode(&self, codes: &[u32], go_on: &mut GoOn<'_>) -> Result<Vec<f32>, EngineError>;
    /// A streaming encoder and decoder of one row.
    ///
    /// # Errors
    /// When the executor cannot allocate its memory.
    fn stream(&self) -> Result<Box<dyn CodecStream>, EngineError>;
}

/// One stream through a codec, both ways.
pub trait CodecStream: Send {
    /// Encodes any number of samples and appends the codes `[n, K]` of the n frames that became whole; samples that fill
    /// no frame wait for the next call.
    ///
    /// # Errors
    /// When a sample is not finite: nothing is taken. When the device fails: the frame that failed is left out.
    /// [`EngineError::Stopped`]: what has not been encoded waits for the next call.
    fn encode(&mut self, pcm: &[f32], codes: &mut Vec<u32>, go_on: &mut GoOn<'_>) -> Result<(), EngineError>;
    /// Decodes `codes [n, K]` and appends n frames of samples.
    ///
    /// # Errors
    /// When the number of codes is not a multiple of K, or a code is not below the number of bins: nothing is decoded.
    /// [`EngineError::Stopped`]: the rest is left out.
    fn decode(&mut self, codes: &[u32], pcm: &mut Vec<f32>, go_on: &mut GoOn<'_>) -> Result<(), EngineError>;
    /// Forgets everything heard and said.
    ///
    /// # Errors
    /// When the device failed.
    fn reset(&mut self) -> Result<(), EngineError>;
}
