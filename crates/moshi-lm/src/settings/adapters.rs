//! Choosing the adapter of a row.

use moshi_nn::Backend;

use crate::guidance::guidance_of;
use crate::{Lm, LmError, LmState, Result};

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
