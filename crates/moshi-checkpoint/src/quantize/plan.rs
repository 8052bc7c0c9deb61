//! Which tensors get how many bits.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use moshi_tensor::weight::{HostWeight, Quants, WeightData};

use super::{Scheme, Search, quantize};

/// What a user asks for in two characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantize {
    /// About eight bits a weight.
    Q8,
    /// About four bits a weight.
    Q4,
}

impl FromStr for Quantize {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "q8" => Ok(Self::Q8),
            "q4" => Ok(Self::Q4),
            other => Err(format!("quantize: found {other:?}, expected q8 or q4, or none to keep what the file holds")),
        }
    }
}

impl fmt::Display for Quantize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        })
    }
}

/// The parts of a language model that may be stored differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// Linear layers of the temporal transformer: nine tenths of all weights that a step reads.
    Temporal,
    /// Linear layers of the depth transformer and its inputs.
    Depth,
    /// What makes logits.
    Head,
    /// Tables, of which a step reads a few rows, and their low-rank halves.
    Embedding,
    /// Anything else.
    Other,
}

impl Part {
    /// The part that the matrix of a canonical name belongs to.
    pub fn of(name: &str) -> Self {
        let first = name.split('.').next().unwrap_or(name);
        match first {
            "transformer" => Self::Temporal,
            "depformer" | "depformer_in" => Self::Depth,
            "text_linear" | "linears" | "extra_heads" => Self::Head,
            _ if first.ends_with("emb") => Self::Embedding,
            _ => Self::Other,
        }
    }
}

/// A format for each part of a model; `None` keeps what the file holds. Vectors (norms, biases) are never quantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// [`Part::Temporal`].
    pub temporal: Option<Scheme>,
    /// [`Part::Depth`].
    pub depth: Option<Scheme>,
    /// [`Part::Head`].
    pub heads: Option<Scheme>,
    /// [`Part::Embedding`].
    pub embeddings: Option<Scheme>,
    /// How scales are chosen.
    pub search: Search,
}

impl From<Quantize> for Plan {
    /// Four bits go to the temporal transformer alone: it is what a step waits for, while errors of the depth
    /// transformer and the heads are heard at once and cost little to avoid. Tables are read by the row.
    fn from(quantize: Quantize) -> Self {
        let temporal = match quantize {
            Quantize::Q8 => Scheme::Int8Rows,
            Quantize::Q4 => Scheme::Q4_0,
        };
        let rest = Some(Scheme::Int8Rows);
        Self { temporal: Some(temporal), depth: rest, heads: rest, embeddings: None, search: Search::Error }
    }
}

impl Plan {
    /// The format of the matrix of a canonical name with rows of `cols` weights. Rows that are no whole groups get a scale
    /// each.
    pub fn scheme(&self, name: &str, cols: usize) -> Option<Scheme> {
        let scheme = match Part::of(name) {
            Part::Temporal => self.temporal,
            Part::Depth => self.depth,
            Part::Head => self.heads,
            Part::Embedding => self.embeddings,
            Part::Other => None,
        };
        scheme.map(|scheme| if scheme.fits(cols) { scheme } else { Scheme::Int8Rows })
    }

    /// `weight` as the plan says, or itself where it takes no more bits already.
    ///
    /// # Errors
    /// As [`quantize`].
    pub fn apply<'a>(
        &self,
        name: &str,
        weight: HostWeight<'a>,
        threads: NonZeroUsize,
    ) -> Result<HostWeight<'a>, moshi_tensor::Error> {
        match self.scheme(name, weight.cols()) {
            Some(scheme) if bits(&weight) > scheme.bits() => quantize(&weight, scheme, self.search, threads),
            _ => Ok(weight),
        }
    }
}

/// Bits of a stored weight, scales not counted.
fn bits(weight: &HostWeight<'_>) -> usize {
    match weight.data() {
        WeightData::F32(_) => 32,
        WeightData::Bf16(_) | WeightData::F16(_) => 16,
        WeightData::Grouped(g) if g.quants == Quants::U4 => 4,
        _ => 8,
    }
}
