//! Pairing a row with its null row.

use moshi_nn::Backend;

use crate::guidance::{Guidance, Pairs, guidance_of, is_null};
use crate::{Lm, LmError, LmState, Result};

impl<B: Backend> Lm<B> {
    /// Guides a row by another from its first step on; `None` lets it go. Both rows are at their beginning. Steps name
    /// the guided row alone: the other runs with it, draws as it draws, and is reset with it. A copy of a guided row is
    /// not guided.
    ///
    /// # Errors
    /// A row that the state does not have; [`LmError::Guidance`] for rows that are at other places or in another pair;
    /// failures of the device.
    pub fn set_guidance(&self, state: &mut LmState<B>, row: usize, guidance: Option<Guidance>) -> Result<()> {
        let rows = state.rows();
        if row >= rows {
            return Err(LmError::Row { row, rows });
        }
        if let Some(guidance) = &guidance {
            self.check_guidance(state, row, guidance)?;
        }
        if state.pairs.is_none() {
            // From now on a stretch makes other calls.
            state.recordings = B::Recordings::default();
        }
        let mut pairs = match state.pairs.take() {
            Some(pairs) => pairs,
            None => Pairs::new(&self.backend, rows)?,
        };
        pairs.of[row] = guidance;
        let uploaded = pairs.upload(&self.backend);
        state.pairs = Some(pairs);
        uploaded?;
        match guidance {
            Some(guidance) => Ok(state.sampler.share(&self.backend, row, guidance.null_row)?),
            None => Ok(()),
        }
    }

    fn check_guidance(&self, state: &LmState<B>, row: usize, guidance: &Guidance) -> Result<()> {
        let (rows, null) = (state.rows(), guidance.null_row);
        if null >= rows {
            return Err(LmError::Row { row: null, rows });
        }
        let fail = |found: String| Err(LmError::Guidance { row, null_row: null, found });
        let taken = |row| guidance_of(&state.pairs, row).is_some() || is_null(&state.pairs, row);
        let mine = guidance_of(&state.pairs, row).is_some_and(|pair| pair.null_row == null);
        if row == null || !mine && (taken(row) || taken(null)) {
            return fail("rows that are one, or in a pair already".to_owned());
        }
        if !guidance.coefficient.is_finite() {
            return fail(format!("a coefficient of {}", guidance.coefficient));
        }
        match (state.position(row), state.position(null)) {
            (Some(0), Some(0)) => Ok(()),
            (row, null) => fail(format!("rows after {} and {} steps", row.unwrap_or(0), null.unwrap_or(0))),
        }
    }
}
