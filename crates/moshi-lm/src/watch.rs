//! Looking into a step: where its time goes, and where two runs of one model part.

use moshi_nn::{Backend, Result};

/// A place in a step that somebody may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The sum of the tokens' embeddings, `[b, t, dim]`.
    Embedded,
    /// The stream behind a layer of the temporal transformer, `[b, t, dim]`.
    Temporal {
        /// Which layer.
        layer: usize,
    },
    /// The text logits, `[b, t, text_card_out]`.
    TextLogits,
    /// A token has been drawn from these logits. (In teacher forcing, only codebooks come by here: the token is given.)
    Drawn {
        /// 0 for text, 1 + k for codebook k.
        stream: usize,
    },
    /// The stream behind a layer of the depth transformer, `[b, depformer_dim]`.
    Depth {
        /// Which codebook's step.
        codebook: usize,
        /// Which layer.
        layer: usize,
    },
    /// The logits of a codebook, `[b, card]`.
    AudioLogits {
        /// Which codebook.
        codebook: usize,
    },
}

/// Somebody who looks at the places of a step, in the order in which the step comes by.
pub trait Watcher<B: Backend> {
    /// The step is at `place`; `values` are what it has there.
    ///
    /// # Errors
    /// Its own, which end the step.
    fn at(&mut self, place: Place, values: &B::Buf) -> Result<()>;
}

/// Nobody.
impl<B: Backend> Watcher<B> for () {
    fn at(&mut self, _: Place, _: &B::Buf) -> Result<()> {
        Ok(())
    }
}
