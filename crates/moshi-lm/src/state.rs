//! The memory of a conversation, row by row, and what its last step made.

use std::sync::Arc;

use moshi_nn::backend::{RowSampling, SilentTokens};
use moshi_nn::layers::{Rows, StreamState, TransformerState};
use moshi_nn::{Backend, Error, Fault, stream_state};

use crate::adapters::RowAdapters;
use crate::conditions::Told;
use crate::delay::{Cell, DelayConfig, DelayLine};
use crate::depth::DepthState;
use crate::drawn::Drawn;
use crate::guidance::Pairs;
use crate::replay::Replayed;
use crate::speech::Speeches;
use crate::tokens::Input;

/// Memory of some rows of a [`Lm`](crate::Lm), and the results of its last step.
pub struct LmState<B: Backend> {
    pub(crate) rows: Rows<B>,
    pub(crate) stack: TransformerState<B>,
    pub(crate) sampler: Sampler<B>,
    pub(crate) lines: Lines,
    pub(crate) adapters: RowAdapters<B>,
    pub(crate) replayed: Replayed<B>,
    /// Most steps that a row takes at once.
    pub(crate) chunk: usize,
    pub(crate) told: Told<B>,
    pub(crate) speeches: Speeches,
    /// Which rows are guided by which; rows are reset and copied one by one, so a copy is in no pair.
    pub(crate) pairs: Option<Pairs<B>>,
    pub(crate) work: Work<B>,
    pub(crate) recordings: B::Recordings,
    pub(crate) out: StepOutput,
}

stream_state!(LmState {
    memory: rows, stack, sampler, lines, adapters, replayed, told, speeches;
    scratch: chunk, pairs, work, recordings, out,
});

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
    /// is the word that belongs to these codes. `None` in a row's first `max_delay` steps, when it did not run, and when
    /// it has a [`LmState::fault`].
    pub fn frame(&self, row: usize) -> Option<&[i32]> {
        let emitted = self.out.emitted.get(row).copied().unwrap_or(false);
        if emitted { chunk(&self.out.frames, self.out.written, row) } else { None }
    }

    /// The tokens that the last step sampled (or was forced to take) for a row: text, then `dep_q` codes, which belong
    /// to the frames that their delays say. `None` when the row did not run, or has a [`LmState::fault`].
    pub fn sampled(&self, row: usize) -> Option<&[i32]> {
        if self.ran(row) { chunk(&self.out.sampled, self.out.written, row) } else { None }
    }

    /// The probabilities that extra head `head` gave in the last step. `None` when the row did not run, has a
    /// [`LmState::fault`], or the model has no such head.
    pub fn extra_head(&self, head: usize, row: usize) -> Option<&[f32]> {
        let heads = self.out.extra.get(head).filter(|_| self.ran(row))?;
        chunk(heads, heads.len() / self.rows(), row)
    }

    /// What the last step found wrong with a row that it ran. The row then has no results and its memory is lost: reset
    /// it, or copy another over it. (The column of the fault is a stream: 0 is text.)
    pub fn fault(&self, row: usize) -> Option<Fault> {
        self.out.status.get(row).copied().filter(|_| self.out.valid).and_then(Fault::from_word)
    }

    fn ran(&self, row: usize) -> bool {
        let active = self.work.active.get(row).copied().unwrap_or(false);
        active && self.out.valid && self.fault(row).is_none()
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
    /// What was found wrong with each row, `[rows]`: see [`Fault`].
    pub(crate) status: Vec<i32>,
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
    /// The tokens that every row reads, `[rows, streams]` on the host.
    pub(crate) read: Vec<i32>,
    /// What it reads of each embedding table, `[rows, tables]` on the host.
    pub(crate) placed: Vec<i32>,
    /// `[rows, written]` on the host.
    pub(crate) forced: Vec<i32>,
    /// What one row's written streams must be in the next column, `[written]`.
    pub(crate) cells: Vec<Cell>,
    /// Text tokens as two, `[rows, 2]` on the host; empty in models with one text stream.
    pub(crate) text: Vec<i32>,
    /// Rows of the step whose audio has begun.
    pub(crate) speaking: Vec<bool>,
    /// `[rows, tables]`.
    pub(crate) read_ids: B::Ids,
    /// `[rows, written]`.
    pub(crate) forced_ids: B::Ids,
    pub(crate) drawn: Drawn<B>,
    pub(crate) input: Input<B>,
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

    /// Makes `other` draw as `row` does.
    pub(crate) fn share(&mut self, backend: &B, row: usize, other: usize) -> moshi_nn::Result<()> {
        let params = self.params.get(row).copied().unwrap_or(RowSampling::GREEDY);
        self.set(backend, row, &params)?;
        self.set(backend, other, &params)
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
