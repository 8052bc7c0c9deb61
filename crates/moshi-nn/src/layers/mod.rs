//! Streaming layers, written once on [`Backend`]: weights in `Foo` (`&self`), memory in `FooState` (`&mut`).
//!
//! A layer runs a [`Step`]: `t` time steps of the active rows. Memory is reset and copied row by row through
//! [`StreamState`], which [`stream_state!`](crate::stream_state) implements so that no field can be forgotten.

mod attention;
mod conv;
mod cross;
mod embedding;
mod linear;
mod mlp;
mod norm;
mod state;
mod transformer;

pub use attention::{Attention, AttentionConfig, AttentionScratch};
pub use conv::{ConvConfig, StreamingConv, StreamingConvTranspose, StreamingUpsample};
pub use cross::{CrossAttention, CrossMemory, LayerMemory};
pub use embedding::{Embedding, EmbeddingScratch};
pub use linear::Linear;
pub use mlp::{Mlp, MlpConfig, MlpKind, MlpScratch};
pub use norm::{Norm, NormConfig};
pub use state::{Ring, Rows, StreamState, Window};
pub use transformer::{
    LayerWeights, Transformer, TransformerConfig, TransformerLayer, TransformerScratch, TransformerState,
};

use crate::{Backend, Error, Result};

/// What a layer needs to run: the executor, the rows, and how many time steps each of them takes.
#[derive(Debug)]
pub struct Step<'a, B: Backend> {
    /// The executor.
    pub backend: &'a B,
    /// Which rows run, and their positions.
    pub rows: &'a B::Rows,
    /// Steps of the stretch that came before this one.
    pub first: usize,
    /// Time steps of this step, the same for every row.
    pub t: usize,
    /// Which adapter each row has, `[b]`: the number of its low-rank pairs and tables, -1 for none; where the model has no
    /// adapters, nothing.
    pub adapters: Option<&'a B::Ids>,
}

impl<B: Backend> Clone for Step<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Step<'_, B> {}

impl<'a, B: Backend> Step<'a, B> {
    /// A step of `t` time steps for the active ones of `rows`, at the beginning of a stretch and without adapters.
    pub fn new(backend: &'a B, rows: &'a Rows<B>, t: usize) -> Self {
        Self { backend, rows: rows.inner(), first: 0, t, adapters: None }
    }

    /// The same, `first` steps into the stretch.
    pub fn from_step(self, first: usize) -> Self {
        Self { first, ..self }
    }

    /// The same, each row with its adapter.
    pub fn with_adapters(self, adapters: &'a B::Ids) -> Self {
        Self { adapters: Some(adapters), ..self }
    }

    /// Which adapter each row has.
    ///
    /// # Errors
    /// [`Error::Config`] where nobody said: a part with adapters needs to know.
    pub fn need_adapters(self) -> Result<&'a B::Ids> {
        self.adapters.ok_or_else(|| Error::Config {
            what: "adapters",
            found: "weights with adapters in a step that names none".to_owned(),
            expected: "a step of such a model says which adapter each row has",
        })
    }

    /// The same rows with another number of time steps (past a resampling layer).
    pub fn with_t(self, t: usize) -> Self {
        Self { t, ..self }
    }
}
