//! Streaming decoder: codes to samples, rows of a batch at a time.

use moshi_nn::backend::{Backend, Plan, Stretch};
use moshi_nn::layers::{Rows, Step, TransformerState, Window};
use moshi_nn::{Fault, stream_state};

use crate::model::{Mimi, check_frames, check_len};
use crate::quantizer::QuantizerScratch;
use crate::seanet::SeanetState;
use crate::status::RowStatus;
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
    status: RowStatus<B>,
    recordings: B::Recordings,
    max_frames: usize,
    codebooks: usize,
}

stream_state!(DecoderState {
    memory: rows, upsample, transformer, seanet;
    scratch: codes, frame, quantizer, latent, pcm, status, recordings, max_frames, codebooks
});

impl<B: Backend> DecoderState<B> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.count()
    }

    /// Longest step, in frames.
    pub fn max_frames(&self) -> usize {
        self.max_frames
    }

    /// Number of codebooks that a step reads.
    pub fn codebooks(&self) -> usize {
        self.codebooks
    }

    /// What the last step found wrong with a row that it ran: a code that its codebook does not have. Its samples mean
    /// nothing then, and its memory is lost: reset it.
    pub fn fault(&self, row: usize) -> Option<Fault> {
        self.status.fault(row)
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
        let backend = &self.backend;
        let stride = self.config().downsample;
        let width = self.config().seanet.dimension;
        let max_steps = max_frames * stride;
        Ok(DecoderState {
            rows: Rows::new(backend, rows, &[self.decoder_transformer.config().attention])?,
            upsample: self.upsample.init_state(backend, rows, max_frames)?,
            transformer: self.decoder_transformer.init_state(backend, rows, max_steps)?,
            seanet: self.decoder.init_state(backend, rows, max_steps)?,
            codes: backend.ids(rows * max_frames * codebooks)?,
            frame: backend.buf(rows * max_frames * width)?,
            quantizer: self.quantizer.scratch(backend, rows * max_frames)?,
            latent: backend.buf(rows * max_steps * width)?,
            pcm: backend.buf(rows * max_frames * self.frame_size())?,
            status: RowStatus::new(backend, rows)?,
            recordings: B::Recordings::default(),
            max_frames,
            codebooks,
        })
    }

    /// Decodes `frames` frames of every active row: `codes [rows, frames, codebooks]` -> `pcm [rows, frames * frame_size]`.
    /// Inactive rows are neither read nor changed, and their samples mean nothing. -1 adds nothing; a row with a code that
    /// its codebook does not have ends with [`DecoderState::fault`], and the others notice nothing.
    ///
    /// # Errors
    /// [`Error::Frames`], [`Error::Length`]: found before any memory changed. [`Error::Nn`] when the device fails.
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
        check_len("active flags", state.rows(), active.len())?;
        let steps = frames * self.config().downsample;
        state.rows.put(&self.backend, active, steps)?;
        state.status.clear(&self.backend)?;
        self.backend.upload_ids(codes, &mut state.codes)?;
        let plan = Plan { stretch: Stretch::Decode, rows: state.rows.running(), t: frames };
        let mut recordings = std::mem::take(&mut state.recordings);
        let ran = self.backend.replay(&mut recordings, plan, &mut || self.decode_on_device(state, frames));
        state.recordings = recordings;
        ran?;
        state.rows.advance(steps);
        state.status.read(&self.backend)?;
        Ok(self.backend.download(&state.pcm, pcm)?)
    }

    /// From codes on the device to samples on the device, without waiting for it.
    fn decode_on_device(&self, state: &mut DecoderState<B>, frames: usize) -> moshi_nn::Result<()> {
        let DecoderState {
            rows,
            upsample,
            transformer,
            seanet,
            codes,
            frame,
            quantizer,
            latent,
            pcm,
            status,
            codebooks,
            ..
        } = state;
        let steps = frames * self.config().downsample;
        let step = Step::new(&self.backend, rows, steps);
        let status = &mut status.device;
        self.quantizer.decode(step.with_t(frames), codes, *codebooks, quantizer, frame, status)?; // [b, frames, width]
        self.upsample.step(step.with_t(frames), frame, upsample, latent)?; // [b, steps, width]
        self.decoder_transformer.step(step, 0, transformer, latent)?;
        self.decoder.step(step, seanet, latent, pcm)?; // [b, frames * frame_size]
        Ok(())
    }
}
