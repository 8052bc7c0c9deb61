//! Mimi, the streaming neural codec: 24 kHz audio to 12.5 frames of codes a second and back.
//!
//! Encoder: SEANet convolutions, transformer, downsampling, split residual quantizer. The decoder mirrors it. Everything
//! is causal, and everything keeps its memory in [`EncoderState`] and [`DecoderState`], so that offline and streaming
//! use run the same steps and give the same results for any chunking.
//!
//! ```no_run
//! # fn example(weights: &dyn moshi_nn::WeightSource) -> Result<(), Box<dyn std::error::Error>> {
//! use mimi::{Mimi, MimiConfig};
//! use moshi_candle::Candle;
//!
//! let mimi = Mimi::load(Candle::cpu(), weights, &MimiConfig::default(), 8)?;
//! let codes = mimi.encode(&vec![0.0; 24_000])?;
//! let pcm = mimi.decode(&codes)?;
//! # Ok(())
//! # }
//! ```

mod codes;
mod config;
mod decoder;
mod encoder;
mod model;
mod offline;
mod quantizer;
mod seanet;
mod status;

pub use codes::Codes;
pub use decoder::DecoderState;
pub use encoder::EncoderState;
pub use model::Mimi;
pub use moshi_checkpoint::MimiConfig;

/// What can go wrong in the codec.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation or a weight source failed.
    #[error(transparent)]
    Nn(#[from] moshi_nn::Error),
    /// A setting that this codec does not implement, or that contradicts another.
    #[error("mimi configuration: {key} is {found}; {expected}")]
    Config {
        /// Which setting.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would do, as a clause.
        expected: String,
    },
    /// A number of codebooks that the file does not hold.
    #[error("{asked} codebooks were asked for, the codec has 1 to {available}")]
    Codebooks {
        /// The number asked for.
        asked: usize,
        /// The number there is.
        available: usize,
    },
    /// An input of the wrong size.
    #[error("{what}: expected {expected} values, found {found}")]
    Length {
        /// Which input.
        what: &'static str,
        /// Values needed.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A step longer than its state was made for, or of no frame at all.
    #[error("a step of {found} frames: this state takes 1 to {max}")]
    Frames {
        /// Frames of the step.
        found: usize,
        /// Longest step of the state.
        max: usize,
    },
    /// A code outside its codebook.
    #[error("codebook {codebook}, frame {frame}: code {found} is outside 0..{bins}")]
    Code {
        /// Codebook.
        codebook: usize,
        /// Frame of the input.
        frame: usize,
        /// The code.
        found: i32,
        /// Size of a codebook.
        bins: usize,
    },
    /// Audio from which no codes can be found.
    #[error("frame {frame}: {fault}")]
    Fault {
        /// First frame of the step in which it was found.
        frame: usize,
        /// What was found.
        fault: moshi_nn::Fault,
    },
    /// A sample that is infinite or not a number.
    #[error("sample {sample}: {found} is not a finite number")]
    NotFinite {
        /// Sample of the input.
        sample: usize,
        /// The value.
        found: f32,
    },
    /// The caller did not want to go on.
    #[error("stopped by the caller")]
    Stopped,
}

/// Result of a codec operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;
