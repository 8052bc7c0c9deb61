//! Adapters: small changes of the model's weights, of which each row has one or none.

use moshi_nn::layers::StreamState;
use moshi_nn::{Backend, Error, WeightSource};

/// An adapter that rows of a model may have.
#[derive(Clone, Copy)]
pub struct NamedAdapter<'a> {
    /// What sessions call it.
    pub name: &'a str,
    /// What it adds to matrices ([`WeightSource::low_rank`]), and the embedding tables that it replaces: an opened
    /// `moshi_checkpoint::AdapterFile`.
    pub source: &'a dyn WeightSource,
}

/// Which adapter each row has: 0 for the model as it is, i + 1 for its i-th adapter. A reset keeps it.
pub(crate) struct RowAdapters<B: Backend> {
    pub(crate) which: Vec<i32>,
    /// The same on the device.
    pub(crate) ids: B::Ids,
}

impl<B: Backend> RowAdapters<B> {
    pub(crate) fn new(backend: &B, rows: usize) -> moshi_nn::Result<Self> {
        Ok(Self { which: vec![0; rows], ids: backend.ids(rows)? })
    }

    /// The number of a row's adapter.
    pub(crate) fn of(&self, row: usize) -> i32 {
        self.which.get(row).copied().unwrap_or(0)
    }

    pub(crate) fn set(&mut self, backend: &B, row: usize, which: i32) -> moshi_nn::Result<()> {
        let found = self.which.len();
        *self.which.get_mut(row).ok_or(Error::Shape { what: "row", expected: row + 1, found })? = which;
        backend.upload_ids(&self.which, &mut self.ids)
    }
}

impl<B: Backend> StreamState<B> for RowAdapters<B> {
    fn reset_row(&mut self, _: &B, _: usize) -> moshi_nn::Result<()> {
        Ok(())
    }

    fn copy_row(&mut self, backend: &B, row: usize, src: &Self, src_row: usize) -> moshi_nn::Result<()> {
        if self.of(row) == src.of(src_row) { Ok(()) } else { self.set(backend, row, src.of(src_row)) }
    }
}
