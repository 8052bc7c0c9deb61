//! From an opened repository to a model or codec, on the executor of choice.

use std::num::NonZeroUsize;
use std::str::FromStr;

use crate::EngineError;

/// Which executor runs the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Device {
    /// The fastest that this machine and build have.
    #[default]
    Auto,
    /// Our own kernels on the processor.
    Cpu,
    /// The reference executor on the processor: slow, and the definition of all others.
    Reference,
    /// An NVIDIA card.
    Cuda,
    /// An Apple card.
    Metal,
}

impl FromStr for Device {
    type Err = EngineError;

    fn from_str(s: &str) -> Result<Self, EngineError> {
        Ok(match s {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "reference" => Self::Reference,
            "cuda" => Self::Cuda,
            "metal" => Self::Metal,
            other => {
                return Err(EngineError::Parameter {
                    name: "device",
                    found: format!("{other:?}"),
                    expected: "auto, cpu, cuda, metal or reference".to_owned(),
                });
            }
        })
    }
}

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
    /// Format of the language model's weights in memory; `None` keeps what the file holds.
    pub dtype: Option<Dtype>,
    /// Codebooks of a codec that is loaded alone; a model decides for itself.
    pub num_codebooks: Option<usize>,
    /// Threads per step; `None` takes one for each core, or one where steps are too small to share.
    pub threads: Option<NonZeroUsize>,
}
