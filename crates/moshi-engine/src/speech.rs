//! A loaded model or codec of any executor, behind object-safe traits: what the server and the bindings hold.

use crate::{EngineError, FrameModel, SessionParams};

/// What a loaded model is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelInfo {
    /// Where it came from: a folder, file, repository id, or `built-in`.
    pub source: String,
    /// The executor that runs it: `cpu`, `candle-cpu`, ...
    pub executor: String,
    /// Something its user should know before the first word, if anything (its maker's notice).
    pub notice: Option<String>,
    /// Audio streams that the model reads: the agent's and the user's.
    pub n_q: usize,
    /// Audio streams that the model writes.
    pub dep_q: usize,
    /// Audio streams that the model hears: one code each a frame.
    pub user_streams: usize,
    /// Codes per codebook.
    pub card: usize,
    /// Text tokens.
    pub text_card: usize,
    /// Steps by which each stream is delayed, text first.
    pub delays: Vec<usize>,
    /// Bytes of all weights as the executor holds them.
    pub weight_bytes: u64,
    /// Threads per step.
    pub threads: usize,
    /// Sampling parameters that the checkpoint asks for.
    pub defaults: SessionParams,
}

/// Teacher-forced logits of `steps` frames.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ForwardLogits {
    /// Number of frames T.
    pub steps: usize,
    /// `[T, text_card]`.
    pub text: Vec<f32>,
    /// `[dep_q, T, card]`.
    pub audio: Vec<f32>,
}

/// Asked between the pieces of long work whether to go on; false ends it with [`EngineError::Stopped`].
pub type GoOn<'a> = dyn FnMut() -> bool + 'a;

/// A loaded model: weights shared by any number of sets of rows.
pub trait SpeechModel: Send + Sync {
    /// What the model is.
    fn info(&self) -> &ModelInfo;
    /// Memory for `rows` sessions.
    ///
    /// # Errors
    /// When the executor cannot allocate it.
    fn new_rows(&self, rows: usize) -> Result<Box<dyn FrameModel>, EngineError>;
    /// Teacher-forced logits for `codes [1 + n_q, T]`, undelayed, row-major: text, agent codes, user codes; -1 where
    /// there is nothing.
    ///
    /// # Errors
    /// When the number of codes is not `(1 + n_q) * steps`, or a code is out of range.
    fn forward(&self, codes: &[i32], steps: usize) -> Result<ForwardLogits, EngineError> {
        self.forward_while(codes, steps, &mut || true)
    }
    /// As [`SpeechModel::forward`], as long as `go_on` says so.
    ///
    /// # Errors
    /// As [`SpeechModel::forward`], and [`EngineError::Stopped`].
    fn forward_while(&self, codes: &[i32], steps: usize, go_on: &mut GoOn<'_>) -> Result<ForwardLogits, EngineError>;
}

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
