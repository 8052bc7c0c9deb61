//! Streaming encoder: samples to codes, rows of a batch at a time.

use moshi_nn::backend::{Backend, Plan, Stretch};
use moshi_nn::layers::{Rows, Step, TransformerState, Window};
use moshi_nn::{Fault, stream_state};

use crate::Result;
use crate::model::{Mimi, check_frames, check_len};
use crate::quantizer::QuantizerScratch;
use crate::seanet::SeanetState;
use crate::status::RowStatus;

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
    status: RowStatus<B>,
    recordings: B::Recordings,
    max_frames: usize,
}

stream_state!(EncoderState {
    memory: rows, seanet, transformer, downsample;
    scratch: pcm, latent, frame, quantizer, codes, status, recordings, max_frames
});

impl<B: Backend> EncoderState<B> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.count()
    }

    /// Longest step, in frames.
    pub fn max_frames(&self) -> usize {
        self.max_frames
    }

    /// What the last step found wrong with a row that it ran: from its samples, or from what became of them, no codes
    /// can be found. Its codes mean nothing then, and its memory is lost: reset it.
    pub fn fault(&self, row: usize) -> Option<Fault> {
        self.status.fault(row)
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
            rows: Rows::new(backend, rows, &[self.encoder_transformer.config().attention])?,
            seanet: self.encoder.init_state(backend, rows, max_steps)?,
            transformer: self.encoder_transformer.init_state(backend, rows, max_steps)?,
            downsample: self.downsample.init_state(backend, rows, max_steps)?,
            pcm: backend.buf(rows * max_frames * self.frame_size())?,
            latent: backend.buf(rows * max_steps * width)?,
            frame: backend.buf(rows * max_frames * width)?,
            quantizer: self.quantizer.scratch(backend, rows * max_frames)?,
            codes: backend.ids(rows * max_frames * self.codebooks())?,
            status: RowStatus::new(backend, rows)?,
            recordings: B::Recordings::default(),
            max_frames,
        })
    }

    /// Encodes `frames` frames of every active row: `pcm [rows, frames * frame_size]` -> `codes [rows, frames, codebooks]`.
    /// Inactive rows are neither read nor changed, and their codes mean nothing. Samples are not looked at: a row that
    /// holds one that is no number ends with [`EncoderState::fault`], or later, and the others notice nothing.
    ///
    /// # Errors
    /// [`Error::Frames`], [`Error::Length`]: found before any memory changed. [`Error::Nn`] when the device fails.
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
        check_len("active flags", state.rows(), active.len())?;
        let steps = frames * self.config().downsample;
        state.rows.put(&self.backend, active, steps)?;
        state.status.clear(&self.backend)?;
        self.backend.upload(pcm, &mut state.pcm)?;
        let plan = Plan { stretch: Stretch::Encode, rows: state.rows.running(), t: frames };
        let mut recordings = std::mem::take(&mut state.recordings);
        let ran = self.backend.replay(&mut recordings, plan, &mut || self.encode_on_device(state, frames));
        state.recordings = recordings;
        ran?;
        state.rows.advance(steps);
        state.status.read(&self.backend)?;
        Ok(self.backend.download_ids(&state.codes, codes)?)
    }

    /// From samples on the device to codes on the device, without waiting for it.
    fn encode_on_device(&self, state: &mut EncoderState<B>, frames: usize) -> moshi_nn::Result<()> {
        let EncoderState {
            rows, seanet, transformer, downsample, pcm, latent, frame, quantizer, codes, status, ..
        } = state;
        let steps = frames * self.config().downsample;
        let step = Step::new(&self.backend, rows, steps);
        self.encoder.step(step, seanet, pcm, latent)?; // [b, steps, width]
        self.encoder_transformer.step(step, 0, transformer, latent)?;
        self.downsample.step(step, latent, downsample, frame)?; // [b, frames, width]
        self.quantizer.encode(step.with_t(frames), frame, quantizer, codes, &mut status.device)?;
        Ok(())
    }
}
