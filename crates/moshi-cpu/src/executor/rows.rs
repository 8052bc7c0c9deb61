//! Which rows run, where each of them is, and the rotations that belong to their positions.

use std::sync::{Mutex, PoisonError};

use crate::rope::{Pairs, Rotations};

use super::{check, exact};
use moshi_nn::Result;
use moshi_nn::backend::{Rope, RopeLayout};

/// Active rows and the position of every row.
#[derive(Debug)]
pub struct Rows {
    /// Ascending.
    active: Vec<usize>,
    positions: Vec<u64>,
    /// One for each kind of head that was rotated with these rows; all layers of a step share them.
    rotations: Mutex<Vec<Rotations>>,
}

impl Rows {
    pub(super) fn new(count: usize) -> Self {
        Self { active: (0..count).collect(), positions: vec![0; count], rotations: Mutex::new(Vec::new()) }
    }

    /// The active rows, ascending.
    pub(super) fn active(&self) -> &[usize] {
        &self.active
    }

    /// The position of every row, active or not.
    pub(super) fn positions(&self) -> &[u64] {
        &self.positions
    }

    pub(super) fn set_active(&mut self, active: &[bool]) -> Result<()> {
        exact("active flags", self.positions.len(), active.len())?;
        self.active.clear();
        self.active.extend((0..active.len()).filter(|&row| active[row]));
        Ok(())
    }

    /// Changes the position of every active row.
    pub(super) fn update(&mut self, next: impl Fn(u64) -> u64) {
        for &row in &self.active {
            self.positions[row] = next(self.positions[row]);
        }
    }

    pub(super) fn set_position(&mut self, row: usize, position: u64) -> Result<()> {
        check("row", row + 1, self.positions.len())?;
        self.positions[row] = position;
        Ok(())
    }

    /// Calls `f` with the rotations of heads of `head_dim` channels at `t` positions of each active row.
    pub(super) fn with_rotations<R>(
        &self,
        head_dim: usize,
        rope: &Rope,
        t: usize,
        f: impl FnOnce(&Rotations) -> R,
    ) -> R {
        let pairs = match rope.layout {
            RopeLayout::Interleaved => Pairs::Interleaved,
            RopeLayout::Halves => Pairs::Halves,
        };
        let mut all = self.rotations.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = all.iter().position(|r| r.is(head_dim, rope.max_period, pairs)).unwrap_or(all.len());
        if kind == all.len() {
            all.push(Rotations::new(head_dim, rope.max_period, pairs));
        }
        let rotations = &mut all[kind];
        rotations.prepare(self.active.iter().map(|&row| self.positions[row]), t);
        f(rotations)
    }
}
