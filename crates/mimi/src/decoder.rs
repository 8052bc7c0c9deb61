//! Streaming decoder: codes to samples, rows of a batch at a time.

use moshi_nn::backend::Backend;
use moshi_nn::layers::{Rows, Step, TransformerState, Window};
use moshi_nn::stream_state;

use crate::model::{Mimi, check_frames, check_len};
use crate::quantizer::QuantizerScratch;
use crate::seanet::SeanetState;
use crate::{Error, Result};

/// Memory of the decoder for a number of rows, and room to compute in.
pub struct DecoderState<B: Backend> {
    rows: Rows<B>,
    upsample: Window<B>,
    transformer: TransformerState<B>,
    seanet: SeanetState<B>,
    codes: B::Ids,
    frame: B::Buf,
    quantizer: QuantizerScratch<B>,
    latent: B::Buf,
    pcm: B::Buf,
    max_frames: usize,
    codebooks: usize,
}

stream_state!(DecoderState {
    memory: rows, upsample, transformer, seanet;
    scratch: codes, frame, quantizer, latent, pcm, max_frames, codebooks
});

impl<B: Backend> DecoderState<B> {
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

    /// Number of codebooks that a step reads.
    pub fn codebooks(&self) -> usize {
        self.codebooks
    }

    /// Codes of the next step on the device, `[rows, frames, codebooks]`.
    pub fn codes_mut(&mut self) -> &mut B::Ids {
        &mut self.codes
    }

    /// Samples of the last step on the device, `[rows, frames * frame_size]`.
    pub fn pcm(&self) -> &B::Buf {
        &self.pcm
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
    /// Memory to decode `rows` streams in steps of at most `max_frames` frames, with all codebooks of this codec.
    ///
    /// # Errors
    /// When the device fails.
    pub fn init_decoder(&self, rows: usize, max_frames: usize) -> Result<DecoderState<B>> {
        self.init_decoder_for(rows, max_frames, self.codebooks())
    }

    /// As [`Mimi::init_decoder`] for codes of the first `codebooks` codebooks only.
    ///
    /// # Errors
    /// [`Error::Codebooks`] when this codec has fewer; [`Error::Nn`] when the device fails.
    pub fn init_decoder_for(&self, rows: usize, max_frames: usize, codebooks: usize) -> Result<DecoderState<B>> {
        if codebooks == 0 || codebooks > self.codebooks() {
            return Err(Error::Codebooks { asked: codebooks, available: self.codebooks() });
        }
        let backend = &self.backend.coarser(); // as its weights
        let stride = self.config().downsample;
        let width = self.config().seanet.dimension;
        let max_steps = max_frames * stride;
        Ok(DecoderState {
            rows: Rows::new(backend, rows)?,
            upsample: self.upsample.init_state(backend, rows, max_frames)?,
            transformer: self.decoder_transformer.init_state(backend, rows, max_steps)?,
            seanet: self.decoder.init_state(backend, rows, max_steps)?,
            codes: backend.ids(rows * max_frames * codebooks)?,
            frame: backend.buf(rows * max_frames * width)?,
            quantizer: self.quantizer.scratch(backend, rows * max_frames)?,
            latent: backend.buf(rows * max_steps * width)?,
            pcm: backend.buf(rows * max_frames * self.frame_size())?,
            max_frames,
            codebooks,
        })
    }

    /// Decodes `frames` frames of every active row: `codes [rows, frames, codebooks]` -> `pcm [rows, frames * frame_size]`.
    /// Inactive rows are neither read nor changed, and their samples mean nothing.
    ///
    /// # Errors
    /// [`Error::Frames`], [`Error::Length`], [`Error::Code`]: found before any memory changed. [`Error::Nn`] when the
    /// device fails.
    pub fn decode_step(
        &self,
        state: &mut DecoderState<B>,
        active: &[bool],
        frames: usize,
        codes: &[i32],
        pcm: &mut [f32],
    ) -> Result<()> {
        check_frames(frames, state.max_frames)?;
        let per_row = frames * state.codebooks;
        check_len("codes of a step", state.rows() * per_row, codes.len())?;
        check_len("pcm of a step", state.rows() * frames * self.frame_size(), pcm.len())?;
        state.set_active(&self.backend, active)?;
        for (row, codes) in codes.chunks_exact(per_row).enumerate().filter(|(row, _)| active[*row]) {
            self.check_codes(row, codes, state.codebooks)?;
        }
        self.backend.upload_ids(codes, &mut state.codes)?;
        self.decode_on_device(state, frames)?;
        Ok(self.backend.download(&state.pcm, pcm)?)
    }

    /// As [`Mimi::decode_step`], from [`DecoderState::codes_mut`] to [`DecoderState::pcm`] for the rows that
    /// [`DecoderState::set_active`] chose. The caller vouches for the codes.
    ///
    /// # Errors
    /// [`Error::Frames`]; [`Error::Nn`] when the device fails.
    pub fn decode_on_device(&self, state: &mut DecoderState<B>, frames: usize) -> Result<()> {
        check_frames(frames, state.max_frames)?;
        let DecoderState {
            rows, upsample, transformer, seanet, codes, frame, quantizer, latent, pcm, codebooks, ..
        } = state;
        let steps = frames * self.config().downsample;
        let step = Step::new(&self.backend, rows, steps);
        self.quantizer.decode(step.with_t(frames), codes, *codebooks, quantizer, frame)?; // [b, frames, width]
        self.upsample.step(step.with_t(frames), frame, upsample, latent)?; // [b, steps, width]
        self.decoder_transformer.step(step, 0, transformer, latent)?;
        self.decoder.step(step, seanet, latent, pcm)?; // [b, frames * frame_size]
        Ok(rows.advance(&self.backend, steps)?)
    }

    /// Checks codes `[frames, codebooks]` of one row.
    fn check_codes(&self, row: usize, codes: &[i32], codebooks: usize) -> Result<()> {
        let bins = self.bins();
        match codes.iter().position(|code| !usize::try_from(*code).is_ok_and(|code| code < bins)) {
            Some(i) => Err(Error::Code { row, codebook: i % codebooks, frame: i / codebooks, found: codes[i], bins }),
            None => Ok(()),
        }
    }
}
