//! Inputs of the temporal transformer that are given as they are: in place of the tokens of a row's step, or beside them.

use moshi_nn::layers::StreamState;
use moshi_nn::{Backend, Error};

/// What a row's next step is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Nothing,
    /// Something to add to its tokens' embeddings.
    Addition,
    /// All of its input.
    Whole,
}

/// The inputs that the next steps of rows are given. A row that is given none adds zeros to the sum of its embeddings; one
/// that is reads no token, so that what is added is all there is. The calls of a step are the same either way.
pub(crate) struct Replayed<B: Backend> {
    dim: usize,
    given: Vec<Given>,
    /// `[rows, dim]`; zeros where nothing is given.
    host: Vec<f32>,
    /// The same on the device, `[rows, steps, dim]`.
    pub(crate) inputs: B::Buf,
    /// Whether the device lacks a change.
    stale: bool,
}

impl<B: Backend> Replayed<B> {
    pub(crate) fn new(backend: &B, (rows, steps): (usize, usize), dim: usize) -> moshi_nn::Result<Self> {
        let inputs = backend.buf(rows * steps * dim)?;
        Ok(Self { dim, given: vec![Given::Nothing; rows], host: vec![0.0; rows * dim], inputs, stale: false })
    }

    /// Whether the row's next step is given its input.
    pub(crate) fn is_given(&self, row: usize) -> bool {
        self.given.get(row) == Some(&Given::Whole)
    }

    /// Gives the row's next step this input.
    pub(crate) fn give(&mut self, row: usize, input: &[f32]) -> moshi_nn::Result<()> {
        self.put(row, input, Given::Whole)
    }

    /// Adds this to what the row's next step reads.
    pub(crate) fn add(&mut self, row: usize, input: &[f32]) -> moshi_nn::Result<()> {
        self.put(row, input, Given::Addition)
    }

    fn put(&mut self, row: usize, input: &[f32], given: Given) -> moshi_nn::Result<()> {
        if input.len() != self.dim {
            return Err(Error::Shape { what: "input of a step", expected: self.dim, found: input.len() });
        }
        let found = self.given.len();
        let slot = self.given.get_mut(row).ok_or(Error::Shape { what: "row", expected: row + 1, found })?;
        let host = &mut self.host[row * self.dim..(row + 1) * self.dim];
        if given == Given::Whole {
            host.copy_from_slice(input);
            *slot = Given::Whole;
        } else {
            host.iter_mut().zip(input).for_each(|(sum, x)| *sum += x);
            *slot = if *slot == Given::Whole { Given::Whole } else { Given::Addition };
        }
        self.stale = true;
        Ok(())
    }

    /// Before a step.
    pub(crate) fn upload(&mut self, backend: &B) -> moshi_nn::Result<()> {
        if std::mem::take(&mut self.stale) { backend.upload(&self.host, &mut self.inputs) } else { Ok(()) }
    }

    /// After a step of these rows: what was given has been read.
    pub(crate) fn read(&mut self, active: &[bool]) {
        for row in (0..self.given.len()).filter(|&row| active.get(row) == Some(&true)) {
            self.forget(row);
        }
    }

    /// The buffer was written by somebody else, who leaves it to this.
    pub(crate) fn borrowed(&mut self) -> &mut B::Buf {
        self.stale = true;
        &mut self.inputs
    }

    fn forget(&mut self, row: usize) {
        if std::mem::replace(&mut self.given[row], Given::Nothing) != Given::Nothing {
            self.host[row * self.dim..(row + 1) * self.dim].fill(0.0);
            self.stale = true;
        }
    }
}

impl<B: Backend> StreamState<B> for Replayed<B> {
    fn reset_row(&mut self, _: &B, row: usize) -> moshi_nn::Result<()> {
        if row < self.given.len() {
            self.forget(row);
        }
        Ok(())
    }

    fn copy_row(&mut self, backend: &B, row: usize, src: &Self, src_row: usize) -> moshi_nn::Result<()> {
        self.reset_row(backend, row)?;
        match src.given.get(src_row) {
            None | Some(Given::Nothing) => Ok(()),
            Some(given) => self.put(row, &src.host[src_row * src.dim..(src_row + 1) * src.dim], *given),
        }
    }
}
