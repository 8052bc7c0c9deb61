//! What an operation finds wrong with the data of one row.
//!
//! Operations that look at data (embeddings, nearest codes, drawing) return no error for what they find in it: one row's
//! data must not end the others' step, and a device could not tell in time. They write a word for the row into a status
//! buffer instead, go on with something harmless, and whoever asked for the step reads the words together with its
//! results. A row with a fault has lost its memory; what is left of it is good for a reset.

use std::fmt;

/// What is wrong with a row, as its status word says: the first thing that was found.
///
/// ```
/// use moshi_nn::{Fault, FaultKind};
/// let (fault, mut word) = (Fault { kind: FaultKind::Logits, column: 3 }, 0);
/// assert_eq!(Fault::from_word(word), None);
/// fault.note(&mut word);
/// Fault { kind: FaultKind::Id, column: 4 }.note(&mut word);
/// assert_eq!(Fault::from_word(word), Some(fault));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What kind of value is wrong.
    pub kind: FaultKind,
    /// In which column (see [`Column`](crate::backend::Column)): of a language model the stream, of a codec the codebook.
    pub column: usize,
}

/// What kind of value is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// An id that its embedding table does not have. Nothing was added for it.
    Id,
    /// Logits of which one is NaN or plus infinity, or all are minus infinity. -1 was drawn.
    Logits,
    /// A vector whose nearest code was looked for holds NaN or an infinity. Its code is -1.
    Vector,
}

const KINDS: [FaultKind; 3] = [FaultKind::Id, FaultKind::Logits, FaultKind::Vector];
/// Bits of a word that hold the kind, counted from 1; the column lies above them.
const KIND_BITS: u32 = 4;

impl Fault {
    /// The status word, never 0.
    pub fn word(self) -> i32 {
        let column = i32::try_from(self.column).unwrap_or(i32::MAX).min(i32::MAX >> KIND_BITS);
        (column << KIND_BITS) | (self.kind as i32 + 1)
    }

    /// What a status word says; `None` for 0: nothing was found.
    pub fn from_word(word: i32) -> Option<Self> {
        let kind = usize::try_from((word & ((1 << KIND_BITS) - 1)) - 1).ok()?;
        let column = usize::try_from(word >> KIND_BITS).ok()?;
        Some(Self { kind: *KINDS.get(kind)?, column })
    }

    /// Writes this into a row's word, unless something was found before.
    pub fn note(self, word: &mut i32) {
        if *word == 0 {
            *word = self.word();
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = self.column;
        match self.kind {
            FaultKind::Id => write!(f, "an id in column {column} is outside its embedding table"),
            FaultKind::Logits => write!(
                f,
                "the logits of column {column} are not numbers (the weights are damaged, or an input is far out of range)"
            ),
            FaultKind::Vector => write!(
                f,
                "the vector to find code {column} for is not finite (the weights are damaged, or samples are far out of \
                 range)"
            ),
        }
    }
}
