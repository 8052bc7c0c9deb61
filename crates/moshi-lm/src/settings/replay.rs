//! Giving a row's next step an input of its own.

use moshi_nn::Backend;

use crate::{Lm, LmState, Result};

impl<B: Backend> Lm<B> {
    /// Gives a row the input of its next step: `input [dim]` is what the temporal transformer reads in place of the sum of
    /// its tokens' embeddings. The streams go on as they would. (A published voice of a role-play is such inputs.)
    ///
    /// # Errors
    /// An input of another width; a row that the state does not have.
    pub fn replay_input(&self, state: &mut LmState<B>, row: usize, input: &[f32]) -> Result<()> {
        Ok(state.replayed.give(row, input)?)
    }
}
