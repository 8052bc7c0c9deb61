//! What to write: a layout, and a number format that it can hold.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use crate::Result;

/// A layout to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteLayout {
    /// The PyTorch package's names in safetensors.
    PyTorch,
    /// The published Rust server's names in safetensors.
    Candle,
    /// The MLX package's names in safetensors.
    Mlx,
    /// The published Rust server's names in GGUF.
    Gguf,
}

/// Number formats of a whole model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Numbers {
    /// As they are stored; single precision where the layout cannot hold that.
    Keep,
    /// Single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// GGUF: every matrix Q8_0, vectors single precision.
    Q8_0,
    /// GGUF: matrices of the temporal transformer Q4_0, others Q8_0, vectors single precision.
    Q4_0,
    /// PyTorch: linear layers in int8 with a scale for each row.
    Int8Rows,
    /// MLX: every matrix in bytes, groups of 64 (32 where rows are not whole groups of 64).
    MlxQ8,
    /// MLX: every matrix in four bits, groups of 32.
    MlxQ4,
}

const NAMES: [(&str, Numbers); 8] = [
    ("f32", Numbers::F32),
    ("f16", Numbers::F16),
    ("bf16", Numbers::Bf16),
    ("q8_0", Numbers::Q8_0),
    ("q4_0", Numbers::Q4_0),
    ("q8-rows", Numbers::Int8Rows),
    ("mlx-q8", Numbers::MlxQ8),
    ("mlx-q4", Numbers::MlxQ4),
];

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(_, n)| n == self).map_or("as stored", |(name, _)| name))
    }
}

impl FromStr for Numbers {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        let known = NAMES.iter().find(|(name, _)| *name == s).map(|(_, numbers)| *numbers);
        known.ok_or_else(|| format!("{s:?} is none of {}", NAMES.map(|(name, _)| name).join(", ")))
    }
}

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Export {
    /// Names and file format.
    pub layout: WriteLayout,
    /// Number format.
    pub numbers: Numbers,
    /// Whether quantized tensors may be rounded a second time.
    pub requantize: bool,
    /// Threads for the conversion of a tensor.
    pub threads: NonZeroUsize,
}

impl Export {
    /// The name that other programs expect such a model file to have.
    pub fn file_name(&self) -> &'static str {
        match (self.layout, self.numbers) {
            (WriteLayout::Gguf, Numbers::Q8_0) => "model.q8.gguf",
            (WriteLayout::Gguf, Numbers::Q4_0) => "model.q4.gguf",
            (WriteLayout::Gguf, _) => "model.gguf",
            (WriteLayout::Mlx, Numbers::MlxQ8) => "model.q8.safetensors",
            (WriteLayout::Mlx, Numbers::MlxQ4) => "model.q4.safetensors",
            _ => "model.safetensors",
        }
    }

    /// Checks that the layout can hold the number format.
    ///
    /// # Errors
    /// [`crate::Error::Write`].
    pub(super) fn check(&self) -> Result<()> {
        let right = match self.numbers {
            Numbers::Keep | Numbers::F32 | Numbers::F16 | Numbers::Bf16 => true,
            Numbers::Q8_0 | Numbers::Q4_0 => self.layout == WriteLayout::Gguf,
            Numbers::Int8Rows => self.layout == WriteLayout::PyTorch,
            Numbers::MlxQ8 | Numbers::MlxQ4 => self.layout == WriteLayout::Mlx,
        };
        let text = || format!("{} does not exist in the {:?} layout", self.numbers, self.layout);
        if right { Ok(()) } else { Err(crate::save::problem("model", &text())) }
    }
}
