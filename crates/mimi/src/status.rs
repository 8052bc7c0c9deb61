//! What a step found wrong with each row's data, on the device and, after the step, here.

use moshi_nn::{Backend, Fault, Result};

/// A status word for each row (see [`Fault`]); holds nothing between steps but the results of the last.
pub(crate) struct RowStatus<B: Backend> {
    /// `[rows]`.
    pub(crate) device: B::Ids,
    words: Vec<i32>,
}

impl<B: Backend> RowStatus<B> {
    pub(crate) fn new(backend: &B, rows: usize) -> Result<Self> {
        Ok(Self { device: backend.ids(rows)?, words: vec![0; rows] })
    }

    /// Before a step: nothing is wrong with any row.
    pub(crate) fn clear(&mut self, backend: &B) -> Result<()> {
        self.words.fill(0);
        backend.upload_ids(&self.words, &mut self.device)
    }

    /// After a step: brings the words here.
    pub(crate) fn read(&mut self, backend: &B) -> Result<()> {
        backend.download_ids(&self.device, &mut self.words)
    }

    /// What the last step found wrong with a row.
    pub(crate) fn fault(&self, row: usize) -> Option<Fault> {
        self.words.get(row).copied().and_then(Fault::from_word)
    }
}
