//! Adapters: small changes of the model's weights, of which each row has one or none.

use moshi_nn::layers::StreamState;
use moshi_nn::{Backend, Error, WeightSource};

use crate::guidance::guidance_of;
use crate::state::LmState;
use crate::{Lm, LmError, Result};

/// An adapter that rows of a model may have.
#[derive(Clone, Copy)]
pub struct NamedAdapter<'a> {
    /// What sessions call it.
    pub name: &'a str,
    /// What it adds to matrices ([`WeightSource::low_rank`]), and the embedding tables that it replaces: an opened
    /// `moshi_checkpoint::AdapterFile`.
    pub source: &'a dyn WeightSource,
}

impl<B: Backend> Lm<B> {
    /// The names of the adapters that the model was loaded with.
    pub fn adapters(&self) -> &[String] {
        &self.adapters
    }

    /// Gives a row one of the model's adapters, from its next step on, or takes it away. (Keys and values that it has
    /// written already stay: a conversation that shall have it from the beginning is given it before its first step.)
    ///
    /// # Errors
    /// [`LmError::Adapter`]; a row that the state does not have.
    pub fn set_adapter(&self, state: &mut LmState<B>, row: usize, adapter: Option<usize>) -> Result<()> {
        let number = self.adapter_number(adapter)?;
        state.adapters.set(&self.backend, row, number)?;
        match guidance_of(&state.pairs, row) {
            Some(pair) => Ok(state.adapters.set(&self.backend, pair.null_row, number)?),
            None => Ok(()),
        }
    }

    /// The number by which layers know an adapter.
    pub(crate) fn adapter_number(&self, adapter: Option<usize>) -> Result<i32> {
        let count = self.adapters.len();
        match adapter {
            None => Ok(0),
            Some(index) if index < count => Ok(index as i32 + 1),
            Some(index) => Err(LmError::Adapter { index, count }),
        }
    }
}

/// Which adapter each row has: 0 for the model as it is, i + 1 for its i-th adapter. A reset keeps it.
pub(crate) struct RowAdapters<B: Backend> {
    which: Vec<i32>,
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
