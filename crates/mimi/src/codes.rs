//! Codes of a whole piece of audio.

use crate::{Error, Result};

/// Codes `[codebooks, frames]`, row-major: all frames of the first codebook, then of the second, ...
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes {
    codebooks: usize,
    values: Vec<i32>,
}

impl Codes {
    /// Wraps `values` as `[codebooks, values.len() / codebooks]`.
    ///
    /// # Errors
    /// [`Error::Length`] when the values do not divide into the codebooks.
    pub fn new(codebooks: usize, values: Vec<i32>) -> Result<Self> {
        if codebooks == 0 || !values.len().is_multiple_of(codebooks) {
            let expected = values.len().next_multiple_of(codebooks.max(1)).max(codebooks.max(1));
            return Err(Error::Length { what: "codes, a multiple of the codebooks", expected, found: values.len() });
        }
        Ok(Self { codebooks, values })
    }

    /// Number of codebooks.
    pub fn codebooks(&self) -> usize {
        self.codebooks
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.values.len() / self.codebooks
    }

    /// All codes, codebook by codebook.
    pub fn values(&self) -> &[i32] {
        &self.values
    }

    /// All codes, codebook by codebook.
    pub fn into_values(self) -> Vec<i32> {
        self.values
    }

    /// From steps in frame order `[frames, codebooks]`.
    pub(crate) fn from_frames(codebooks: usize, by_frame: &[i32]) -> Self {
        let values =
            (0..codebooks).flat_map(|q| by_frame.iter().skip(q).step_by(codebooks).copied()).collect::<Vec<_>>();
        Self { codebooks, values }
    }

    /// Frames `first..first + out.len() / codebooks` in frame order.
    pub(crate) fn read_frames(&self, first: usize, out: &mut [i32]) {
        let total = self.frames();
        for (i, frame) in out.chunks_exact_mut(self.codebooks).enumerate() {
            for (q, code) in frame.iter_mut().enumerate() {
                *code = self.values[q * total + first + i];
            }
        }
    }
}
