//! Operations between numbers and tokens: embeddings, nearest codes, drawing.

use crate::codebook::Codebook;
use crate::cores::Cores;
use crate::embedding::Embedding;
use moshi_tensor::draw::SampleScratch;
use moshi_tensor::sample::{Draw, RowSampler};

use super::{Rows, check, exact};
use moshi_nn::backend::{Column, FREE, RowSampling, SilentTokens, Stream};
use moshi_nn::{Error, Fault, FaultKind, Result};

/// What embeddings are added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Onto {
    Nothing,
    Output,
}

fn check_columns(rows: &[usize], t: usize, column: Column, count: usize, ids: usize) -> Result<()> {
    check("columns of ids", column.index + count, column.of)?;
    check("ids", rows.last().map_or(0, |row| row + 1) * t * column.of, ids)
}

fn check_status(rows: &[usize], status: &[i32]) -> Result<()> {
    check("status", rows.last().map_or(0, |row| row + 1), status.len())
}

/// See [`moshi_nn::Backend::embed`].
pub(super) fn embed(
    cores: &Cores,
    rows: &[usize],
    t: usize,
    (ids, column): (&[i32], Column),
    tables: &[&Embedding],
    (y, onto): (&mut [f32], Onto),
    status: &mut [i32],
) -> Result<()> {
    let Some(d) = tables.first().map(|table| table.d()) else {
        return Err(Error::Shape { what: "tables", expected: 1, found: 0 });
    };
    check_columns(rows, t, column, tables.len(), ids.len())?;
    check("embedding", rows.last().map_or(0, |row| row + 1) * t * d, y.len())?;
    check_status(rows, status)?;
    for (row, index) in rows.iter().flat_map(|&row| (row * t..(row + 1) * t).map(move |index| (row, index))) {
        let y = &mut y[index * d..(index + 1) * d];
        if onto == Onto::Nothing {
            y.fill(0.0);
        }
        for (i, (&id, table)) in ids[index * column.of + column.index..].iter().zip(tables).enumerate() {
            match usize::try_from(id) {
                Ok(entry) if entry < table.v() => table.add(cores, entry, y)?,
                _ if id == -1 => {}
                _ => Fault { kind: FaultKind::Id, column: column.index + i }.note(&mut status[row]),
            }
        }
    }
    Ok(())
}

/// Embedding tables of one shape, of which each row reads its own. `None` stands for the first.
#[derive(Debug)]
pub struct Tables(pub(super) Vec<Option<Embedding>>);

impl Tables {
    /// The table of a row with this number.
    pub(super) fn of(&self, which: i32) -> Result<&Embedding> {
        let own = usize::try_from(which).ok().and_then(|which| self.0.get(which)?.as_ref());
        let first = || self.0.first().and_then(Option::as_ref);
        own.or_else(first).ok_or(Error::Shape { what: "tables", expected: 1, found: 0 })
    }
}

/// See [`moshi_nn::Backend::nearest_code`].
pub(super) fn nearest_code(
    cores: &Cores,
    rows: &[usize],
    t: usize,
    codebook: &Codebook,
    residual: &mut [f32],
    (codes, column): (&mut [i32], Column),
    status: &mut [i32],
) -> Result<()> {
    check_columns(rows, t, column, 1, codes.len())?;
    check_status(rows, status)?;
    let found = |index: usize, code: Option<usize>| {
        if code.is_none() {
            Fault { kind: FaultKind::Vector, column: column.index }.note(&mut status[index / t]);
        }
        codes[index * column.of + column.index] = code.map_or(-1, |code| code as i32);
    };
    Ok(codebook.quantize(cores, rows, t, residual, found)?)
}

/// See [`moshi_nn::Backend::guide`].
pub(super) fn guide(
    active: &[usize],
    v: usize,
    guides: &[i32],
    coefficients: &[f32],
    logits: &mut [f32],
) -> Result<()> {
    let count = active.last().map_or(0, |row| row + 1);
    check("guides of rows", count, guides.len())?;
    check("coefficients", count, coefficients.len())?;
    check("logits", count * v, logits.len())?;
    for &row in active {
        let guide = usize::try_from(guides[row]).ok().filter(|guide| *guide < count && *guide != row);
        let Some(guide) = guide else { continue };
        let (first, second) = logits.split_at_mut(row.max(guide) * v);
        let (lower, upper) = (&mut first[row.min(guide) * v..][..v], &mut second[..v]);
        let (mine, other) = if row < guide { (lower, upper) } else { (upper, lower) };
        for (x, null) in mine.iter_mut().zip(other) {
            *x = *null + coefficients[row] * (*x - *null);
            *null = *x;
        }
    }
    Ok(())
}

/// Sampling parameters and penalty memory of every row.
#[derive(Debug)]
pub struct Sampler {
    rows: Vec<RowSampler>,
    scratch: SampleScratch,
}

impl Sampler {
    pub(super) fn new(count: usize, silent: SilentTokens) -> Self {
        Self { rows: vec![RowSampler::new(silent); count], scratch: SampleScratch::default() }
    }

    pub(super) fn set(&mut self, row: usize, params: &RowSampling) -> Result<()> {
        check("row of a sampler", row + 1, self.rows.len())?;
        Ok(self.rows[row].set(params)?)
    }

    pub(super) fn copy_row(&mut self, row: usize, src: &Self, src_row: usize) -> Result<()> {
        check("row of a sampler", row + 1, self.rows.len())?;
        check("source row of a sampler", src_row + 1, src.rows.len())?;
        self.rows[row] = src.rows[src_row].clone();
        Ok(())
    }

    /// See [`moshi_nn::Backend::sample`].
    pub(super) fn draw(
        &mut self,
        rows: &Rows,
        (logits, v): (&[f32], usize),
        stream: Stream,
        (forced, column): (&[i32], Column),
        (out, status): (&mut [i32], &mut [i32]),
    ) -> Result<()> {
        let active = rows.active();
        exact("rows of a sampler", rows.positions().len(), self.rows.len())?;
        check_columns(active, 1, column, 1, out.len())?;
        check_status(active, status)?;
        check("forced tokens", active.last().map_or(0, |row| row + 1) * column.of, forced.len())?;
        check("logits", active.last().map_or(0, |row| row + 1) * v, logits.len())?;
        for &row in active {
            let at = row * column.of + column.index;
            let forced = (forced[at] != FREE).then_some(forced[at].max(-1));
            let draw = Draw { position: rows.positions()[row], stream, forced };
            let drawn = self.rows[row].draw(&logits[row * v..(row + 1) * v], draw, &mut self.scratch);
            // The sampler objects to nothing but the logits.
            out[at] = drawn.unwrap_or_else(|_| {
                Fault { kind: FaultKind::Logits, column: column.index }.note(&mut status[row]);
                -1
            });
        }
        Ok(())
    }
}
