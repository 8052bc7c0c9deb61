//! How a model is loaded.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use moshi_checkpoint::Stop;
use moshi_checkpoint::quantize::Quantize;
use moshi_engine::EngineError;

use crate::{AdapterPath, Device};

/// The number format of the weights in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// Single precision: exact for every file that is not quantized, and twice the memory of bf16.
    F32,
    /// bfloat16, rounded to nearest from what the file holds.
    Bf16,
    /// IEEE half precision, rounded to nearest from what the file holds.
    F16,
}

impl FromStr for Dtype {
    type Err = EngineError;

    fn from_str(s: &str) -> Result<Self, EngineError> {
        Ok(match s {
            "f32" | "float32" => Self::F32,
            "bf16" | "bfloat16" => Self::Bf16,
            "f16" | "float16" => Self::F16,
            other => {
                return Err(EngineError::Parameter {
                    name: "dtype",
                    found: format!("{other:?}"),
                    expected: "f32, bf16, f16, or none to keep what the file holds".to_owned(),
                });
            }
        })
    }
}

/// How a model is loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The executor.
    pub device: Device,
    /// Format of the language model's weights in memory; `None` keeps what the file holds. With [`Dtype::F32`] the codec
    /// computes in single precision too; otherwise, on the processor, in integers of about 14 bits, twice as fast
    /// (`benches/mimi_precision.py` says how far apart they are).
    pub dtype: Option<Dtype>,
    /// Turns the language model's matrices into integers of so many bits while they are loaded: which of them, and how,
    /// is [`moshi_checkpoint::quantize::Plan`]'s choice. Matrices that the file holds in as few bits stay as they are.
    pub quantize: Option<Quantize>,
    /// Codebooks of a codec that is loaded alone; a model decides for itself.
    pub num_codebooks: Option<usize>,
    /// Round nothing for speed: activations, keys and values in single precision even where weights are quantized, the
    /// codec in single precision too. Slower; for comparisons.
    pub exact: bool,
    /// Threads per step; `None` takes one for each core, or one where steps are too small to share.
    pub threads: Option<NonZeroUsize>,
    /// Adapters that conversations may choose from, each in a folder of its own (or its file of weights): the base stays as
    /// it is, in whatever format, and is there once.
    pub adapters: Vec<AdapterPath>,
    /// The folder of the voices that a model which plays roles calls by name; `None` is `voices` beside the model's files.
    pub voices: Option<PathBuf>,
    /// Ends the loading, which then errs, between two tensors: a large model takes minutes to lay out.
    pub stop: Stop,
}
