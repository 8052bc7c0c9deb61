//! Encoding and decoding whole pieces of audio: the streaming steps, in longer chunks.

use moshi_nn::backend::Backend;

use crate::encoder::check_finite;
use crate::model::Mimi;
use crate::{Codes, Error, Result};

/// Frames per step: long enough that weights are read seldom, short enough that activations stay in the cache.
const CHUNK: usize = 4;

impl<B: Backend> Mimi<B> {
    /// Encodes mono samples at [`Mimi::sample_rate`]. A last piece shorter than a frame is filled up with zeros.
    ///
    /// # Errors
    /// [`Error::NotFinite`]; [`Error::Nn`] when the device fails.
    pub fn encode(&self, pcm: &[f32]) -> Result<Codes> {
        check_finite(0, pcm)?;
        let size = self.frame_size();
        let total = pcm.len().div_ceil(size);
        let mut state = self.init_encoder(1, CHUNK.min(total.max(1)))?;
        let mut by_frame = vec![0; total * self.codebooks()];
        let chunks = by_frame.chunks_mut(CHUNK * self.codebooks());
        for (codes, samples) in chunks.zip(pcm.chunks(CHUNK * size)) {
            let frames = codes.len() / self.codebooks();
            if samples.len() == frames * size {
                self.encode_step(&mut state, &[true], frames, samples, codes)?;
            } else {
                let mut padded = samples.to_vec();
                padded.resize(frames * size, 0.0);
                self.encode_step(&mut state, &[true], frames, &padded, codes)?;
            }
        }
        Ok(Codes::from_frames(self.codebooks(), &by_frame))
    }

    /// Decodes codes of any number of codebooks up to [`Mimi::codebooks`] to mono samples.
    ///
    /// # Errors
    /// [`Error::Codebooks`], [`Error::Code`]; [`Error::Nn`] when the device fails.
    pub fn decode(&self, codes: &Codes) -> Result<Vec<f32>> {
        let (codebooks, total, size) = (codes.codebooks(), codes.frames(), self.frame_size());
        let bins = self.bins();
        if let Some(i) = codes.values().iter().position(|c| !usize::try_from(*c).is_ok_and(|c| c < bins)) {
            let (codebook, frame, found) = (i / total, i % total, codes.values()[i]);
            return Err(Error::Code { row: 0, codebook, frame, found, bins });
        }
        let mut state = self.init_decoder_for(1, CHUNK.min(total.max(1)), codebooks)?;
        let mut pcm = vec![0f32; total * size];
        let mut by_frame = vec![0; CHUNK * codebooks];
        for (i, samples) in pcm.chunks_mut(CHUNK * size).enumerate() {
            let frames = samples.len() / size;
            let step = &mut by_frame[..frames * codebooks];
            codes.read_frames(i * CHUNK, step);
            self.decode_step(&mut state, &[true], frames, step, samples)?;
        }
        Ok(pcm)
    }
}
