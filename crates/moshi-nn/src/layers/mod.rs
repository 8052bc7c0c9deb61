//! Streaming layers, written once on [`Backend`]: weights in `Foo` (`&self`), memory in `FooState` (`&mut`).
//!
//! A layer runs a [`Step`]: `t` time steps of the active rows. Memory is reset and copied row by row through
//! [`StreamState`], which [`stream_state!`](crate::stream_state) implements so that no field can be forgotten.

mod attention;
mod conv;
mod embedding;
mod linear;
mod mlp;
mod norm;
mod state;
mod transformer;

pub use attention::{Attention, AttentionConfig, AttentionScratch};
pub use conv::{ConvConfig, StreamingConv, StreamingConvTranspose, StreamingUpsample};
pub use embedding::{Embedding, EmbeddingScratch};
pub use linear::Linear;
pub use mlp::{Mlp, MlpConfig, MlpKind, MlpScratch};
pub use norm::{Norm, NormConfig};
pub use state::{Ring, Rows, StreamState, Window};
pub use transformer::{
    LayerWeights, Transformer, TransformerConfig, TransformerLayer, TransformerScratch, TransformerState,
};

use crate::Backend;

/// What a layer needs to run: the executor, the rows, and how many time steps each of them takes.
#[derive(Debug)]
pub struct Step<'a, B: Backend> {
    /// The executor.
    pub backend: &'a B,
    /// Which rows run, and their positions.
    pub rows: &'a B::Rows,
    /// Time steps of this step, the same for every row.
    pub t: usize,
}

impl<B: Backend> Clone for Step<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Step<'_, B> {}

impl<'a, B: Backend> Step<'a, B> {
    /// A step of `t` time steps for the active ones of `rows`.
    pub fn new(backend: &'a B, rows: &'a Rows<B>, t: usize) -> Self {
        Self { backend, rows: rows.inner(), t }
    }

    /// The same rows with another number of time steps (past a resampling layer).
    pub fn with_t(self, t: usize) -> Self {
        Self { t, ..self }
    }
}
