//! The memory of a conversation, row by row, and what its last step made.

use std::sync::Arc;

use moshi_nn::backend::{RowSampling, SilentTokens};
use moshi_nn::layers::{Rows, StreamState, TransformerState};
use moshi_nn::{Backend, Error, stream_state};

use crate::delay::{DelayConfig, DelayLine};
use crate::depth::DepthState;

/// Memory of some rows of a [`Lm`](crate::Lm), and the results of its last step.
pub struct LmState<B: Backend> {
    pub(crate) rows: Rows<B>,
    pub(crate) stack: TransformerState<B>,
    pub(crate) sampler: Sampler<B>,
    pub(crate) lines: Lines,
    pub(crate) work: Work<B>,
    pub(crate) out: StepOutput,
}

stream_state!(LmState { memory: rows, stack, sampler, lines; scratch: work, out });

impl<B: Backend> LmState<B> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.count()
    }

    /// Steps that a row has taken since its reset; `None` when there is no such row.
    pub fn position(&self, row: usize) -> Option<u64> {
        self.rows.positions().get(row).copied()
    }

    /// The frame that the last step completed for a row: text token, then `dep_q` codes; -1 for nothing. The text token
    /// is the word that belongs to these codes. `None` in a row's first `max_delay` steps, and when it did not run.
    pub fn frame(&self, row: usize) -> Option<&[i32]> {
        let emitted = self.out.emitted.get(row).copied().unwrap_or(false);
        if emitted { chunk(&self.out.frames, self.out.written, row) } else { None }
    }

    /// The tokens that the last step sampled (or was forced to take) for a row: text, then `dep_q` codes, which belong
    /// to the frames that their delays say. `None` when the row did not run.
    pub fn sampled(&self, row: usize) -> Option<&[i32]> {
        let ran = self.work.active.get(row).copied().unwrap_or(false) && self.out.valid;
        if ran { chunk(&self.out.sampled, self.out.written, row) } else { None }
    }

    /// The probabilities that extra head `head` gave in the last step. `None` when the row did not run, or the model
    /// has no such head.
    pub fn extra_head(&self, head: usize, row: usize) -> Option<&[f32]> {
        let ran = self.work.active.get(row).copied().unwrap_or(false) && self.out.valid;
        let heads = self.out.extra.get(head).filter(|_| ran)?;
        chunk(heads, heads.len() / self.rows(), row)
    }
}

fn chunk<T>(values: &[T], of: usize, row: usize) -> Option<&[T]> {
    values.get(row * of..(row + 1) * of)
}

/// Results of a step on the host.
pub(crate) struct StepOutput {
    /// Whether the last step ended without an error.
    pub(crate) valid: bool,
    /// Streams that are written.
    pub(crate) written: usize,
    /// `[rows, written]`.
    pub(crate) sampled: Vec<i32>,
    /// `[rows, written]`.
    pub(crate) frames: Vec<i32>,
    /// Rows whose frame is whole.
    pub(crate) emitted: Vec<bool>,
    /// `[heads][rows, head]`.
    pub(crate) extra: Vec<Vec<f32>>,
}

/// Buffers of a step; hold nothing between steps.
pub(crate) struct Work<B: Backend> {
    /// Rows of the step.
    pub(crate) active: Vec<bool>,
    /// `[rows, streams]` on the host.
    pub(crate) read: Vec<i32>,
    /// `[rows, written]` on the host.
    pub(crate) forced: Vec<i32>,
    /// `[rows, streams]`.
    pub(crate) read_ids: B::Ids,
    /// `[rows, written]`.
    pub(crate) forced_ids: B::Ids,
    /// `[rows, written]`.
    pub(crate) tokens: B::Ids,
    pub(crate) x: B::Buf,
    pub(crate) z: B::Buf,
    pub(crate) text_logits: B::Buf,
    /// `[heads][rows, head]`.
    pub(crate) extra: Vec<B::Buf>,
    pub(crate) depth: Option<DepthState<B>>,
}

/// One delay line per row.
pub(crate) struct Lines(pub(crate) Vec<DelayLine>);

impl Lines {
    pub(crate) fn new(config: &Arc<DelayConfig>, rows: usize) -> Self {
        Self((0..rows).map(|_| DelayLine::new(Arc::clone(config))).collect())
    }
}

impl<B: Backend> StreamState<B> for Lines {
    fn reset_row(&mut self, _: &B, row: usize) -> moshi_nn::Result<()> {
        let found = self.0.len();
        let line = self.0.get_mut(row).ok_or(Error::Shape { what: "row", expected: row + 1, found })?;
        line.reset();
        Ok(())
    }

    fn copy_row(&mut self, _: &B, row: usize, src: &Self, src_row: usize) -> moshi_nn::Result<()> {
        let missing = |row, found| Error::Shape { what: "row", expected: row + 1, found };
        let found = self.0.len();
        let src = src.0.get(src_row).ok_or(missing(src_row, src.0.len()))?;
        let line = self.0.get_mut(row).ok_or(missing(row, found))?;
        line.copy_from(src).map_err(Error::source)
    }
}

/// How every row draws its tokens.
pub(crate) struct Sampler<B: Backend> {
    pub(crate) inner: B::Sampler,
    /// What a reset goes back to.
    params: Vec<RowSampling>,
}

impl<B: Backend> Sampler<B> {
    pub(crate) fn new(backend: &B, rows: usize, silent: SilentTokens) -> moshi_nn::Result<Self> {
        Ok(Self { inner: backend.sampler(rows, silent)?, params: vec![RowSampling::GREEDY; rows] })
    }

    pub(crate) fn set(&mut self, backend: &B, row: usize, params: &RowSampling) -> moshi_nn::Result<()> {
        params.check()?;
        let found = self.params.len();
        let slot = self.params.get_mut(row).ok_or(Error::Shape { what: "row", expected: row + 1, found })?;
        backend.set_sampling(&mut self.inner, row, params)?;
        *slot = *params;
        Ok(())
    }
}

/// A reset keeps the parameters and forgets what was said.
impl<B: Backend> StreamState<B> for Sampler<B> {
    fn reset_row(&mut self, backend: &B, row: usize) -> moshi_nn::Result<()> {
        let params = self.params.get(row).copied().unwrap_or(RowSampling::GREEDY);
        self.set(backend, row, &params)
    }

    fn copy_row(&mut self, backend: &B, row: usize, src: &Self, src_row: usize) -> moshi_nn::Result<()> {
        backend.copy_sampler(&src.inner, src_row, &mut self.inner, row)?;
        if let (Some(to), Some(from)) = (self.params.get_mut(row), src.params.get(src_row)) {
            *to = *from;
        }
        Ok(())
    }
}
