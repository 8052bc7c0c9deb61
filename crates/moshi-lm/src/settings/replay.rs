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

    /// Adds `input [dim]` to what the temporal transformer reads in a row's next step, beside the row's tokens and what it
    /// was told: a condition that comes while the row speaks, a vector a step.
    ///
    /// # Errors
    /// An input of another width; a row that the state does not have.
    pub fn add_input(&self, state: &mut LmState<B>, row: usize, input: &[f32]) -> Result<()> {
        Ok(state.replayed.add(row, input)?)
    }
}
