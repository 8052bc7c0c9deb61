//! One conversation stepped by its owner: any number of samples in, what is ready out.

use std::sync::Arc;

use crate::{EngineError, FRAME_SAMPLES, SessionParams, SharedRows};

/// A session in a row of [`SharedRows`]; the row is freed when the session is dropped.
pub struct StreamingSession {
    rows: Arc<SharedRows>,
    row: usize,
    params: SessionParams,
    /// Samples that do not fill a frame yet.
    partial: Vec<f32>,
    frame_out: Vec<f32>,
}

impl StreamingSession {
    /// Opens a session in a free row.
    ///
    /// # Errors
    /// [`EngineError::Full`] when there is none, [`EngineError::Parameter`] for a value out of range.
    pub fn open(rows: Arc<SharedRows>, params: &SessionParams) -> Result<Self, EngineError> {
        params.validate()?;
        let row = rows.open(params)?;
        Ok(Self::at(rows, row, *params))
    }

    /// Hears `pcm` (any number of samples, 24 kHz mono), appends what the agent says to `pcm_out` and `text`.
    /// Every whole frame heard gives a whole frame of [`FRAME_SAMPLES`] samples, but for the model's delay at the start.
    ///
    /// # Errors
    /// When a sample is not finite (nothing is taken), or the model fails: the session then says so until it is reset, or
    /// for good if the model panicked.
    pub fn step(&mut self, pcm: &[f32], pcm_out: &mut Vec<f32>, text: &mut String) -> Result<(), EngineError> {
        crate::engine::check_finite(pcm)?;
        self.rows.check(self.row)?;
        let mut rest = pcm;
        while self.partial.len() + rest.len() >= FRAME_SAMPLES {
            let (head, tail) = rest.split_at(FRAME_SAMPLES - self.partial.len());
            self.partial.extend_from_slice(head);
            rest = tail;
            let output = self.rows.step(self.row, &self.partial, &mut self.frame_out);
            self.partial.clear();
            let output = output?;
            text.push_str(&output.text);
            if output.audio {
                pcm_out.extend_from_slice(&self.frame_out);
            }
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    /// Steps one frame of the caller's codes, without the codec: one code per user stream in, the frame that became
    /// complete out (text token, then the agent's codes); `None` while the model's delay fills.
    ///
    /// # Errors
    /// When the codes do not fit the model.
    pub fn step_codes(&mut self, codes: &[i32]) -> Result<Option<Vec<i32>>, EngineError> {
        self.rows.step_codes(self.row, codes)
    }

    /// An independent session in the state of this one, in a free row of `target` (which may be this session's rows).
    ///
    /// # Errors
    /// [`EngineError::Full`] when `target` has no free row.
    pub fn fork_into(&self, target: Arc<SharedRows>) -> Result<Self, EngineError> {
        let row = target.open_copy(&self.rows, self.row)?;
        let mut fork = Self::at(target, row, self.params);
        fork.partial.extend_from_slice(&self.partial);
        Ok(fork)
    }

    /// Starts the conversation anew with the same parameters, whatever was wrong with it.
    ///
    /// # Errors
    /// When the model fails, or panicked before: then another session must be opened.
    pub fn reset(&mut self) -> Result<(), EngineError> {
        self.partial.clear();
        self.rows.reset(self.row, &self.params)
    }

    /// The rows that this session is one of.
    pub fn rows(&self) -> &Arc<SharedRows> {
        &self.rows
    }

    /// The session's sampling parameters.
    pub fn params(&self) -> &SessionParams {
        &self.params
    }

    fn at(rows: Arc<SharedRows>, row: usize, params: SessionParams) -> Self {
        let partial = Vec::with_capacity(FRAME_SAMPLES);
        Self { rows, row, params, partial, frame_out: vec![0.0; FRAME_SAMPLES] }
    }
}

impl Drop for StreamingSession {
    fn drop(&mut self) {
        self.rows.close(self.row);
    }
}
