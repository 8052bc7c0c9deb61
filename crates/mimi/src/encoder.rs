//! Streaming encoder: samples to codes, rows of a batch at a time.

use moshi_nn::backend::Backend;
use moshi_nn::layers::{Rows, Step, TransformerState, Window};
use moshi_nn::stream_state;

use crate::model::{Mimi, check_frames, check_len};
use crate::quantizer::QuantizerScratch;
use crate::seanet::SeanetState;
use crate::{Error, Result};

/// Memory of the encoder for a number of rows, and room to compute in.
pub struct EncoderState<B: Backend> {
    rows: Rows<B>,
    seanet: SeanetState<B>,
    transformer: TransformerState<B>,
    downsample: Window<B>,
    pcm: B::Buf,
    latent: B::Buf,
    frame: B::Buf,
    quantizer: QuantizerScratch<B>,
    codes: B::Ids,
    max_frames: usize,
}

stream_state!(EncoderState {
    memory: rows, seanet, transformer, downsample;
    scratch: pcm, latent, frame, quantizer, codes, max_frames
});

impl<B: Backend> EncoderState<B> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.count()
    }

    /// Bytes of keys and values, all rows.
    pub fn bytes(&self, backend: &B) -> usize {
        self.transformer.bytes(backend)
    }

    /// Longest step, in frames.
    pub fn max_frames(&self) -> usize {
        self.max_frames
    }

    /// Samples of the next step on the device, `[rows, frames * frame_size]`.
    pub fn pcm_mut(&mut self) -> &mut B::Buf {
        &mut self.pcm
    }

    /// Codes of the last step on the device, `[rows, frames, codebooks]`.
    pub fn codes(&self) -> &B::Ids {
        &self.codes
    }

    /// Which rows the next step runs; one flag a row.
    ///
    /// # Errors
    /// When the number of flags is not the number of rows.
    pub fn set_active(&mut self, backend: &B, active: &[bool]) -> Result<()> {
        check_len("active flags", self.rows.count(), active.len())?;
        Ok(self.rows.set_active(backend, active)?)
    }
}

impl<B: Backend> Mimi<B> {
    /// Memory to encode `rows` streams in steps of at most `max_frames` frames.
    ///
    /// # Errors
    /// When the device fails.
    pub fn init_encoder(&self, rows: usize, max_frames: usize) -> Result<EncoderState<B>> {
        let backend = &self.backend;
        let stride = self.config().downsample;
        let width = self.config().seanet.dimension;
        let max_steps = max_frames * stride;
        Ok(EncoderState {
            rows: Rows::new(backend, rows)?,
            seanet: self.encoder.init_state(backend, rows, max_steps)?,
            transformer: self.encoder_transformer.init_state(backend, rows, max_steps)?,
            downsample: self.downsample.init_state(backend, rows, max_steps)?,
            pcm: backend.buf(rows * max_frames * self.frame_size())?,
            latent: backend.buf(rows * max_steps * width)?,
            frame: backend.buf(rows * max_frames * width)?,
            quantizer: self.quantizer.scratch(backend, rows * max_frames)?,
            codes: backend.ids(rows * max_frames * self.codebooks())?,
            max_frames,
        })
    }

    /// Encodes `frames` frames of every active row: `pcm [rows, frames * frame_size]` -> `codes [rows, frames, codebooks]`.
    /// Inactive rows are neither read nor changed, and their codes mean nothing.
    ///
    /// # Errors
    /// [`Error::Frames`], [`Error::Length`], [`Error::NotFinite`]: found before any memory changed. [`Error::Nn`] when the
    /// device fails.
    pub fn encode_step(
        &self,
        state: &mut EncoderState<B>,
        active: &[bool],
        frames: usize,
        pcm: &[f32],
        codes: &mut [i32],
    ) -> Result<()> {
        check_frames(frames, state.max_frames)?;
        let per_row = frames * self.frame_size();
        check_len("pcm of a step", state.rows() * per_row, pcm.len())?;
        check_len("codes of a step", state.rows() * frames * self.codebooks(), codes.len())?;
        state.set_active(&self.backend, active)?;
        for (row, samples) in pcm.chunks_exact(per_row).enumerate().filter(|(row, _)| active[*row]) {
            check_finite(row, samples)?;
        }
        self.backend.upload(pcm, &mut state.pcm)?;
        self.encode_on_device(state, frames)?;
        Ok(self.backend.download_ids(&state.codes, codes)?)
    }

    /// As [`Mimi::encode_step`], from [`EncoderState::pcm_mut`] to [`EncoderState::codes`] for the rows that
    /// [`EncoderState::set_active`] chose.
    ///
    /// # Errors
    /// [`Error::Frames`]; [`Error::Nn`] when the device fails.
    pub fn encode_on_device(&self, state: &mut EncoderState<B>, frames: usize) -> Result<()> {
        check_frames(frames, state.max_frames)?;
        let EncoderState { rows, seanet, transformer, downsample, pcm, latent, frame, quantizer, codes, .. } = state;
        let steps = frames * self.config().downsample;
        let step = Step::new(&self.backend, rows, steps);
        self.encoder.step(step, seanet, pcm, latent)?; // [b, steps, width]
        self.encoder_transformer.step(step, 0, transformer, latent)?;
        self.downsample.step(step, latent, downsample, frame)?; // [b, frames, width]
        self.quantizer.encode(step.with_t(frames), frame, quantizer, codes)?;
        Ok(rows.advance(&self.backend, steps)?)
    }
}

/// A sample that is not a number would spoil a row's memory for good.
pub(crate) fn check_finite(row: usize, samples: &[f32]) -> Result<()> {
    match samples.iter().position(|x| !x.is_finite()) {
        Some(sample) => Err(Error::NotFinite { row, sample, found: samples[sample] }),
        None => Ok(()),
    }
}
