//! What the engine drives: a model that advances many rows by one frame.

use std::any::Any;

use crate::{EngineError, SessionParams};

/// Samples of one frame: 80 ms at 24 kHz.
pub const FRAME_SAMPLES: usize = 1_920;

/// One active row of a step.
#[derive(Debug)]
pub struct RowStep<'a> {
    /// Which row.
    pub row: usize,
    /// The caller's frame, [`FRAME_SAMPLES`] samples in [-1, 1].
    pub pcm_in: &'a [f32],
    /// The agent's frame, [`FRAME_SAMPLES`] samples; written when the step returns [`RowOutput::audio`] true.
    pub pcm_out: &'a mut [f32],
    /// What the step made, written by the model.
    pub output: RowOutput,
}

/// What a row's step made besides audio.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowOutput {
    /// Whether `pcm_out` holds a frame: false for the first `max_delay` steps of a session.
    pub audio: bool,
    /// Whole UTF-8 text that became printable in this step; empty for silent tokens.
    pub text: String,
    /// Why this row failed, if it did, for those who run the model: only this session is closed. The row is lost until it
    /// is opened again, or another is copied over it.
    pub error: Option<String>,
}

/// A model with memory for a fixed number of rows.
///
/// The same bits come out for a row whatever the other rows do.
pub trait FrameModel: Send + Any {
    /// Number of rows there is memory for.
    fn rows(&self) -> usize;
    /// Bytes of all rows' keys and values; 0 for a model that has none.
    fn state_bytes(&self) -> u64 {
        0
    }
    /// Makes `row` a fresh session with these parameters.
    ///
    /// # Errors
    /// When the parameters do not fit the model; the row stays closed.
    fn open(&mut self, row: usize, params: &SessionParams) -> Result<(), EngineError>;
    /// Forgets a row.
    fn close(&mut self, row: usize);
    /// Advances the given rows (each at most once, ascending) by one frame; all other rows stay as they are. What is wrong
    /// with one row is told in its [`RowOutput::error`], and no other row's bits change for it.
    ///
    /// # Errors
    /// When the device failed and no row of the step can be trusted any more.
    fn step(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), EngineError>;

    /// Advances one row by one frame of the caller's codes, without the codec: `codes` holds one code per user stream, -1
    /// for nothing. Returns the frame that became complete: the text token, then the agent's codes.
    ///
    /// # Errors
    /// [`EngineError::Input`] when the number of codes or a code does not fit the model: nothing has changed then.
    /// [`EngineError::Model`] when the row failed, as in [`RowOutput::error`], or the model has no codes (the loopback).
    fn step_codes(&mut self, row: usize, codes: &[i32]) -> Result<Option<Vec<i32>>, EngineError>;
    /// Makes `row` a deep copy of `src_row` of another model of the same kind and weights (or of this one's sibling).
    ///
    /// # Errors
    /// When `src` is another kind of model; `row` is then unchanged.
    fn copy_row_from(&mut self, src: &dyn FrameModel, src_row: usize, row: usize) -> Result<(), EngineError>;
    /// As [`FrameModel::copy_row_from`] between two rows of this model.
    ///
    /// # Errors
    /// When the device failed.
    fn copy_row(&mut self, src_row: usize, row: usize) -> Result<(), EngineError>;
}
