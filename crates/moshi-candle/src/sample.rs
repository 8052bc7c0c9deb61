//! Drawing tokens: the shared scalar sampler, one row at a time.

use moshi_tensor::sample::{self, RowSampler, SampleScratch};

use crate::Result;
use crate::memory::{Buf, Rows};
use crate::{Candle, check};
use moshi_nn::backend::{Column, FREE, RowSampling, SilentTokens, Stream};
use moshi_nn::{Fault, FaultKind};

/// Parameters and penalty memory of every row.
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
}

/// What one drawing operation works on.
pub(super) struct Draw<'a> {
    pub(super) v: usize,
    pub(super) stream: Stream,
    pub(super) forced: &'a [i32],
    pub(super) column: Column,
}

impl Candle {
    pub(super) fn draw(
        &self,
        rows: &Rows,
        logits: &Buf,
        draw: Draw<'_>,
        sampler: &mut Sampler,
        (out, status): (&mut [i32], &mut [i32]),
    ) -> Result<()> {
        let Draw { v, stream, forced, column } = draw;
        check("column of tokens", column.index + 1, column.of)?;
        check("tokens", rows.active.len() * column.of, out.len())?;
        check("forced tokens", rows.active.len() * column.of, forced.len())?;
        check("rows of a sampler", rows.active.len(), sampler.rows.len())?;
        check("status", rows.active.len(), status.len())?;
        for row in rows.active() {
            let at = row * column.of + column.index;
            let logits = logits.row("logits", row, 1, v)?.flatten_all()?.to_vec1::<f32>()?;
            let forced = Some(forced[at]).filter(|token| *token != FREE).map(|token| token.max(-1));
            let draw = sample::Draw { position: rows.position[row], stream, forced };
            // The sampler objects to nothing but the logits.
            out[at] = sampler.rows[row].draw(&logits, draw, &mut sampler.scratch).unwrap_or_else(|_| {
                Fault { kind: FaultKind::Logits, column: column.index }.note(&mut status[row]);
                -1
            });
        }
        Ok(())
    }
}
