//! What the engine drives: a model that advances many rows by one frame.

use std::any::Any;
use std::sync::Arc;

use crate::{Aside, EngineError, Heard, SessionSpec, Steering};

/// Samples of one frame: 80 ms at 24 kHz.
pub const FRAME_SAMPLES: usize = 1_920;

/// What a row hears in a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FrameInput<'a> {
    /// The caller's frame, [`FRAME_SAMPLES`] samples in [-1, 1].
    Pcm(&'a [f32]),
    /// The caller's codes, without the codec: one for each stream that is heard, -1 for nothing. They fit
    /// [`FrameModel::heard_codes`].
    Codes(&'a [i32]),
    /// The next frame of the prompt that the row was opened with; see [`FrameModel::priming`].
    Prompt,
    /// The caller has ended, and the row goes on by itself. It hears nothing, not even silence, unless its model is made for
    /// more: the words of a recognition come while it hears silence, and a translation is told of the end. Also what a row
    /// hears that reads aloud.
    Nothing,
}

/// One active row of a step.
#[derive(Debug)]
pub struct RowStep<'a> {
    /// Which row.
    pub row: usize,
    /// What it hears.
    pub input: FrameInput<'a>,
    /// What it is given beside that.
    pub aside: &'a Aside,
    /// The agent's frame, [`FRAME_SAMPLES`] samples; written when the step returns [`RowOutput::audio`] true.
    pub pcm_out: &'a mut [f32],
    /// What the step made, written by the model.
    pub output: RowOutput,
}

/// What a row's step made besides audio.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowOutput {
    /// Whether `pcm_out` holds a frame: false for the first `max_delay` steps of a session, for rows that hear codes, and in
    /// every step of a model that only writes.
    pub audio: bool,
    /// Whole UTF-8 text that became printable in this step; empty for silent tokens, and for rows that hear codes.
    pub text: String,
    /// Of a row that hears codes or tells them: the frame that became complete, text token first; empty for none.
    pub codes: Vec<i32>,
    /// What the model recognised, beside the text.
    pub heard: Heard,
    /// The row has said all it had to say. Counts only after its caller has ended.
    pub ended: bool,
    /// Of a row that reads aloud: it took what it was given, and no step before more words come.
    pub waits: bool,
    /// The tokens that its session watches for and that it said in this step.
    pub watched: Vec<i32>,
    /// Why this row failed, if it did, for those who run the model: only this session is concerned. The row is lost until
    /// it is opened again, or another is copied over it.
    pub error: Option<String>,
}

/// The codes that a model hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeardCodes {
    /// Codes a frame.
    pub streams: usize,
    /// The largest code.
    pub last: usize,
}

/// A model with memory for a limited number of rows.
///
/// The same bits come out for a row whatever the other rows do. What a row needs beyond the weights is taken when it is
/// opened and given back when it is closed, so that room for many rows costs little while few are open.
pub trait FrameModel: Send + Any {
    /// Most rows that can be open at once.
    fn rows(&self) -> usize;
    /// Bytes that each open row takes beside the weights; 0 for a model that has no memory to speak of.
    fn bytes_per_session(&self) -> u64 {
        0
    }
    /// The codes that rows can be given in place of samples; `None` for a model without a codec.
    fn heard_codes(&self) -> Option<HeardCodes> {
        None
    }
    /// What rows can be given beside what they hear; `None` for a model that takes nothing else.
    fn steering(&self) -> Option<Arc<dyn Steering>> {
        None
    }
    /// Makes `row` a fresh session, whether it was open or closed.
    ///
    /// # Errors
    /// When the spec does not fit the model, or there is no memory; the row is then closed.
    fn open(&mut self, row: usize, spec: &SessionSpec) -> Result<(), EngineError>;
    /// Forgets a row and gives its memory back; one that is closed stays so.
    fn close(&mut self, row: usize);
    /// How many frames of its prompt `row` has still to run ([`FrameInput::Prompt`]) before its caller is heard.
    fn priming(&self, row: usize) -> usize {
        let _ = row;
        0
    }
    /// Advances the given rows (each at most once, ascending) by one frame; all other rows stay as they are. What is wrong
    /// with one row is told in its [`RowOutput::error`], and no other row's bits change for it.
    ///
    /// # Errors
    /// When the device failed and no row of the step can be trusted any more.
    fn step(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), EngineError>;
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

impl HeardCodes {
    /// Whether a caller's frame of codes fits.
    ///
    /// # Errors
    /// [`EngineError::Input`] says which code does not, or that there are more or fewer than streams.
    pub fn check(&self, codes: &[i32]) -> Result<(), EngineError> {
        let Self { streams, last } = *self;
        if codes.len() != streams {
            return Err(EngineError::Input(format!(
                "{} codes; expected {streams}, one for each stream that is heard",
                codes.len()
            )));
        }
        match codes.iter().position(|&code| !(-1..=last as i64).contains(&i64::from(code))) {
            None => Ok(()),
            Some(stream) => Err(EngineError::Input(format!(
                "heard stream {stream}: {} is not one of its codes, which are 0 to {last} (-1 stands for \"nothing here\")",
                codes[stream]
            ))),
        }
    }
}
