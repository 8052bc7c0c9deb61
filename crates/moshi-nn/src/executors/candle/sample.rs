//! Drawing tokens.

use super::memory::{Buf, Rows};
use super::{Candle, check};
use crate::Result;
use crate::backend::{Column, RowSampling, SamplingParams, SilentTokens, Stream};

/// Parameters of every row.
#[derive(Debug)]
pub struct Sampler {
    #[allow(dead_code)]
    silent: SilentTokens,
    rows: Vec<RowSampling>,
}

const GREEDY: RowSampling = RowSampling {
    seed: 0,
    text: SamplingParams { temperature: 0.0, top_k: 0, top_p: 1.0 },
    audio: SamplingParams { temperature: 0.0, top_k: 0, top_p: 1.0 },
    pad_mult: 0.0,
    repetition_penalty: 1.0,
    repetition_context: 0,
};

impl Sampler {
    pub(super) fn new(count: usize, silent: SilentTokens) -> Self {
        Self { silent, rows: vec![GREEDY; count] }
    }

    pub(super) fn set(&mut self, row: usize, params: &RowSampling) -> Result<()> {
        check("row of a sampler", row + 1, self.rows.len())?;
        self.rows[row] = *params;
        Ok(())
    }

    pub(super) fn copy_row(&mut self, row: usize, src: &Self, src_row: usize) -> Result<()> {
        check("row of a sampler", row + 1, self.rows.len())?;
        check("source row of a sampler", src_row + 1, src.rows.len())?;
        self.rows[row] = src.rows[src_row];
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
        out: &mut [i32],
    ) -> Result<()> {
        let Draw { v, stream: _, forced, column } = draw;
        check("column of tokens", column.index + 1, column.of)?;
        check("tokens", rows.active.len() * column.of, out.len())?;
        check("forced tokens", rows.active.len() * column.of, forced.len())?;
        check("rows of a sampler", rows.active.len(), sampler.rows.len())?;
        for row in rows.active() {
            let at = row * column.of + column.index;
            let logits = logits.row("logits", row, 1, v)?.flatten_all()?.to_vec1::<f32>()?;
            out[at] = if forced[at] != -1 { forced[at] } else { greedy(&logits) };
        }
        Ok(())
    }
}

fn greedy(logits: &[f32]) -> i32 {
    let mut best = 0;
    for (i, value) in logits.iter().enumerate() {
        if *value > logits[best] {
            best = i;
        }
    }
    best as i32
}
