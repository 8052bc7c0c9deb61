//! Which rows run, where each of them is, and the rotations that belong to their positions.

use moshi_nn::backend::{HeadRope, Rope, RopeLayout};
use moshi_nn::{Error, Result};

use super::check::exact;
use crate::rope::{Pairs, Rotations};

/// Active rows and the position of every row.
#[derive(Debug)]
pub struct Rows {
    /// Ascending.
    active: Vec<usize>,
    positions: Vec<u64>,
    /// One for each kind of head that is rotated with these rows, for the positions that were put.
    rotations: Vec<Rotations>,
}

fn pairs(layout: RopeLayout) -> Pairs {
    match layout {
        RopeLayout::Interleaved => Pairs::Interleaved,
        RopeLayout::Halves => Pairs::Halves,
    }
}

impl Rows {
    pub(super) fn new(count: usize, ropes: &[HeadRope]) -> Self {
        let mut rotations: Vec<Rotations> = Vec::new();
        for HeadRope { head_dim, rope } in ropes {
            let pairs = pairs(rope.layout);
            if !rotations.iter().any(|known| known.is(*head_dim, rope.max_period, pairs)) {
                rotations.push(Rotations::new(*head_dim, rope.max_period, pairs));
            }
        }
        Self { active: Vec::with_capacity(count), positions: vec![0; count], rotations }
    }

    /// The active rows, ascending.
    pub(super) fn active(&self) -> &[usize] {
        &self.active
    }

    /// The position of every row, active or not.
    pub(super) fn positions(&self) -> &[u64] {
        &self.positions
    }

    /// See [`moshi_nn::Backend::put_rows`].
    pub(super) fn put(&mut self, active: &[bool], positions: &[u64], t: usize) -> Result<()> {
        exact("active flags", self.positions.len(), active.len())?;
        exact("positions", self.positions.len(), positions.len())?;
        self.active.clear();
        self.active.extend((0..active.len()).filter(|&row| active[row]));
        self.positions.copy_from_slice(positions);
        for rotations in &mut self.rotations {
            rotations.prepare(self.active.iter().map(|&row| positions[row]), t);
        }
        Ok(())
    }

    /// The rotations of heads of `head_dim` channels at the positions that were put.
    pub(super) fn rotations(&self, head_dim: usize, rope: &Rope) -> Result<&Rotations> {
        let pairs = pairs(rope.layout);
        let found = self.rotations.iter().find(|known| known.is(head_dim, rope.max_period, pairs));
        found.ok_or_else(|| Error::Config {
            what: "rotation of heads",
            found: format!("{head_dim} channels, period {}", rope.max_period),
            expected: "rows are made for the rotations of the layers that run them",
        })
    }
}
