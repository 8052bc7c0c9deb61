//! Embedding tables, plain or low-rank.

use super::{Linear, Step};
use crate::backend::Column;
use crate::{At, Backend, Result};

/// A table `[entries, width]`, or `[entries, r]` followed by a projection `[width, r]` (`low_rank`).
pub struct Embedding<B: Backend> {
    table: B::Table,
    low_rank: Option<Linear<B>>,
    entries: usize,
    width: usize,
}

impl<B: Backend> Embedding<B> {
    /// From `weight` `[entries, width]`, or from `weight` `[entries, r]` and `low_rank.weight` `[width, r]` when `rank`
    /// is given.
    ///
    /// # Errors
    /// Those of the source and of the device.
    pub fn load(backend: &B, at: &At<'_>, entries: usize, width: usize, rank: Option<usize>) -> Result<Self> {
        let table = backend.table(&at.matrix("weight", entries, rank.unwrap_or(width))?)?;
        let low_rank = rank.map(|r| Linear::load(backend, &at.at("low_rank"), width, r)).transpose()?;
        Ok(Self { table, low_rank, entries, width })
    }

    /// Number of entries: valid ids are -1 (a zero vector) and `0..entries`.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Width of the output.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes that an id reads: an entry, and the projection behind it.
    pub fn bytes(&self, backend: &B) -> usize {
        let projection = self.low_rank.as_ref().map_or(0, |projection| projection.bytes(backend));
        backend.table_bytes(&self.table) / self.entries.max(1) + projection
    }

    /// Scratch for [`Embedding::add`] over `values` = rows x time steps. A plain table needs none of any length.
    ///
    /// # Errors
    /// When the device fails.
    pub fn scratch(&self, backend: &B, values: usize) -> Result<EmbeddingScratch<B>> {
        let rank = self.low_rank.as_ref().map(Linear::inputs);
        Ok(EmbeddingScratch {
            low: backend.buf(rank.map_or(0, |r| r * values))?,
            full: backend.buf(rank.map_or(0, |_| self.width * values))?,
        })
    }

    /// `y [b, t, width] = table[ids[b, t, column]]`.
    ///
    /// # Errors
    /// When a buffer is too short, or the device fails. An id outside of the table is noted in `status [b]`.
    pub fn set(
        &self,
        step: Step<'_, B>,
        ids: &B::Ids,
        column: Column,
        scratch: &mut EmbeddingScratch<B>,
        y: &mut B::Buf,
        status: &mut B::Ids,
    ) -> Result<()> {
        let Step { backend, rows, t, .. } = step;
        match &self.low_rank {
            None => backend.embed(rows, t, ids, column, &[&self.table], y, status),
            Some(projection) => {
                backend.embed(rows, t, ids, column, &[&self.table], &mut scratch.low, status)?;
                projection.step(step, &scratch.low, y)
            }
        }
    }

    /// As [`Embedding::set`], added to what `y` holds.
    ///
    /// # Errors
    /// As [`Embedding::set`].
    pub fn add(
        &self,
        step: Step<'_, B>,
        ids: &B::Ids,
        column: Column,
        scratch: &mut EmbeddingScratch<B>,
        y: &mut B::Buf,
        status: &mut B::Ids,
    ) -> Result<()> {
        let Step { backend, rows, t, .. } = step;
        match &self.low_rank {
            None => backend.embed_add(rows, t, ids, column, &[&self.table], y, status),
            Some(projection) => {
                backend.embed(rows, t, ids, column, &[&self.table], &mut scratch.low, status)?;
                projection.step(step, &scratch.low, &mut scratch.full)?;
                backend.residual_add(rows, t, self.width, &scratch.full, None, y)
            }
        }
    }
}

/// Room for the low-rank part of an [`Embedding`].
pub struct EmbeddingScratch<B: Backend> {
    low: B::Buf,
    full: B::Buf,
}
