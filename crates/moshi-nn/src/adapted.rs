//! A model's weights with adapters that rows choose from.

use moshi_tensor::weight::HostWeight;

use crate::backend::Precision;
use crate::{LowRankPair, Result, WeightSource};

/// A source of weights and any number of adapters, of which each row of a step has one or none.
///
/// An adapter is a source too: [`WeightSource::low_rank`] gives what it adds to a matrix, and a tensor that it has under
/// the name of an embedding table replaces that table. An adapter that the base has of its own (one that could not be
/// merged) goes on for every row: number 0 is the base as it is, and number i + 1 the i-th adapter on top of it.
pub struct Adapted<'a> {
    base: &'a dyn WeightSource,
    adapters: Vec<&'a dyn WeightSource>,
}

impl<'a> Adapted<'a> {
    /// `base` with `adapters`; without any it is the base.
    pub fn new(base: &'a dyn WeightSource, adapters: Vec<&'a dyn WeightSource>) -> Self {
        Self { base, adapters }
    }
}

impl WeightSource for Adapted<'_> {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.base.shape(name)
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<HostWeight<'_>> {
        self.base.matrix(name, rows, cols)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.base.vector(name, shape)
    }

    fn has(&self, name: &str) -> bool {
        self.base.has(name)
    }

    fn precision(&self) -> Precision {
        self.base.precision()
    }

    fn low_rank(&self, name: &str, rows: usize, cols: usize) -> Result<Option<LowRankPair<'_>>> {
        self.base.low_rank(name, rows, cols)
    }

    fn low_ranks(&self, name: &str, rows: usize, cols: usize) -> Result<Vec<Option<LowRankPair<'_>>>> {
        let own = self.base.low_rank(name, rows, cols)?;
        let mut adapted = Vec::with_capacity(1 + self.adapters.len());
        adapted.push(own.clone());
        for adapter in &self.adapters {
            adapted.push(match (&own, adapter.low_rank(name, rows, cols)?) {
                (Some(own), Some(pair)) => Some(own.joined(&pair)?),
                (own, pair) => pair.or_else(|| own.clone()),
            });
        }
        Ok(adapted)
    }

    fn tables(&self, name: &str, rows: usize, cols: usize) -> Result<Vec<Option<HostWeight<'_>>>> {
        let mut tables = Vec::with_capacity(1 + self.adapters.len());
        tables.push(None);
        for adapter in &self.adapters {
            let here = adapter.has(name);
            tables.push(if here { Some(adapter.matrix(name, rows, cols)?) } else { None });
        }
        Ok(tables)
    }
}

impl LowRankPair<'_> {
    /// One pair that adds what both add: `[up, up'] [down; down']`.
    fn joined(&self, other: &LowRankPair<'_>) -> Result<LowRankPair<'static>> {
        let (rank, other_rank) = (self.down.rows(), other.down.rows());
        let (inputs, outputs) = (self.down.cols(), self.up.rows());
        let mut down = self.down.to_f32()?;
        down.extend(other.down.to_f32()?);
        let (up, other_up) = (self.up.to_f32()?, other.up.to_f32()?);
        let halves = up.chunks_exact(rank.max(1)).zip(other_up.chunks_exact(other_rank.max(1)));
        let up = halves.flat_map(|(a, b)| a.iter().chain(b).copied()).collect();
        Ok(LowRankPair {
            down: HostWeight::from_f32(rank + other_rank, inputs, down)?,
            up: HostWeight::from_f32(outputs, rank + other_rank, up)?,
        })
    }
}
