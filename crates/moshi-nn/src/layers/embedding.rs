//! Embedding tables: plain, low-rank, or for two tokens at once.

use std::sync::Arc;

use super::{Linear, Step};
use crate::backend::Column;
use crate::{At, Backend, Result};

/// A table `[entries, width]`, or `[entries, r]` followed by a projection `[width, r]` (`low_rank`), or by one for each of
/// two tokens (`out1`, `out2`), whose sum it gives. Adapters may put tables of their own in its place.
pub struct Embedding<B: Backend> {
    table: Entries<B>,
    projections: Vec<Linear<B>>,
    entries: usize,
    width: usize,
}

enum Entries<B: Backend> {
    /// For every row.
    One(Arc<B::Table>),
    /// By the adapter of each row.
    Chosen { tables: B::Tables, count: usize },
}

impl<B: Backend> Entries<B> {
    fn load(backend: &B, at: &At<'_>, entries: usize, columns: usize) -> Result<Self> {
        let weight = || at.matrix("weight", entries, columns);
        let mut tables = at.tables("weight", entries, columns)?;
        Ok(match tables.first_mut() {
            None => Self::One(at.laid_out_table::<B>("weight", || backend.table(&weight()?))?),
            Some(first) => {
                first.get_or_insert(weight()?);
                Self::Chosen { tables: backend.tables(&tables)?, count: tables.iter().flatten().count() }
            }
        })
    }

    /// `y` = the entries, each row's from the table of its adapter.
    fn step(
        &self,
        step: Step<'_, B>,
        (ids, column): (&B::Ids, Column),
        y: &mut B::Buf,
        status: &mut B::Ids,
    ) -> Result<()> {
        let Step { backend, rows, t, .. } = step;
        match self {
            Self::One(table) => backend.embed(rows, t, ids, column, &[table], y, status),
            Self::Chosen { tables, .. } => {
                let chosen = (tables, step.need_adapters()?);
                backend.embed_chosen(rows, t, ids, column, chosen, y, status)
            }
        }
    }

    /// Bytes of a table.
    fn bytes(&self, backend: &B) -> usize {
        match self {
            Self::One(table) => backend.table_bytes(table),
            Self::Chosen { tables, count } => backend.tables_bytes(tables) / count,
        }
    }
}

impl<B: Backend> Embedding<B> {
    /// From `weight` `[entries, width]`, or from `weight` `[entries, r]` and `low_rank.weight` `[width, r]` when `rank`
    /// is given.
    ///
    /// # Errors
    /// Those of the source and of the device.
    pub fn load(backend: &B, at: &At<'_>, entries: usize, width: usize, rank: Option<usize>) -> Result<Self> {
        let table = Entries::load(backend, at, entries, rank.unwrap_or(width))?;
        let low_rank = rank.map(|r| Linear::load(backend, &at.at("low_rank"), width, r)).transpose()?;
        Ok(Self { table, projections: low_rank.into_iter().collect(), entries, width })
    }

    /// A table for two tokens: `out1.weight` and `out2.weight` `[width, r]` take the place of `low_rank.weight` (r is the
    /// width where no rank is given). Ids come in two columns, one beside the other.
    ///
    /// # Errors
    /// Those of the source and of the device.
    pub fn load_pair(backend: &B, at: &At<'_>, entries: usize, width: usize, rank: Option<usize>) -> Result<Self> {
        let inner = rank.unwrap_or(width);
        let table = Entries::load(backend, at, entries, inner)?;
        let projection = |name| Linear::load(backend, &at.at(name), width, inner);
        Ok(Self { table, projections: vec![projection("out1")?, projection("out2")?], entries, width })
    }

    /// Number of entries: valid ids are -1 (a zero vector) and `0..entries`.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Columns of ids that it reads: 2 for two tokens at once, else 1.
    pub fn columns(&self) -> usize {
        self.projections.len().max(1)
    }

    /// Width of the output.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes that an id reads: an entry, and the projection behind it.
    pub fn bytes(&self, backend: &B) -> usize {
        let projections: usize = self.projections.iter().map(|projection| projection.bytes(backend)).sum();
        self.table.bytes(backend) / self.entries.max(1) * self.columns() + projections
    }

    /// Scratch for this embedding and others of its width and rank, over `values` = rows x time steps.
    ///
    /// # Errors
    /// When the device fails.
    pub fn scratch(&self, backend: &B, values: usize) -> Result<EmbeddingScratch<B>> {
        let rank = self.projections.first().map(Linear::inputs);
        Ok(EmbeddingScratch {
            low: backend.buf(rank.map_or(0, |r| r * values))?,
            full: backend.buf(self.width * values)?,
        })
    }

    /// `y [b, t, width] = table[ids[b, t, column]]`, projected where a projection follows; the sum over the columns that
    /// it reads, `column` the first.
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
        let Some(first) = self.projections.first() else {
            return self.table.step(step, (ids, column), y, status);
        };
        self.table.step(step, (ids, column), &mut scratch.low, status)?;
        first.step(step, &scratch.low, y)?;
        self.add_from(1, step, ids, column, scratch, y, status)
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
        match &self.table {
            Entries::One(table) if self.projections.is_empty() => {
                backend.embed_add(rows, t, ids, column, &[table], y, status)
            }
            entries if self.projections.is_empty() => {
                entries.step(step, (ids, column), &mut scratch.full, status)?;
                backend.residual_add(rows, t, self.width, &scratch.full, None, y)
            }
            _ => self.add_from(0, step, ids, column, scratch, y, status),
        }
    }

    /// Adds what the projections from `first` on give.
    #[allow(clippy::too_many_arguments)]
    fn add_from(
        &self,
        first: usize,
        step: Step<'_, B>,
        ids: &B::Ids,
        column: Column,
        scratch: &mut EmbeddingScratch<B>,
        y: &mut B::Buf,
        status: &mut B::Ids,
    ) -> Result<()> {
        let Step { backend, rows, t, .. } = step;
        for (i, projection) in self.projections.iter().enumerate().skip(first) {
            let column = Column { index: column.index + i, ..column };
            self.table.step(step, (ids, column), &mut scratch.low, status)?;
            projection.step(step, &scratch.low, &mut scratch.full)?;
            backend.residual_add(rows, t, self.width, &scratch.full, None, y)?;
        }
        Ok(())
    }
}

/// Room for the parts of an [`Embedding`].
pub struct EmbeddingScratch<B: Backend> {
    low: B::Buf,
    full: B::Buf,
}
