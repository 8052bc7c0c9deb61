//! Encoding and decoding whole pieces of audio: the streaming steps, in longer chunks.

use moshi_nn::backend::Backend;

use crate::model::Mimi;
use crate::{Codes, Error, Result};

/// Frames per step: long enough that weights are read seldom, short enough that activations stay in the cache.
const CHUNK: usize = 4;

impl<B: Backend> Mimi<B> {
    /// Encodes mono samples at [`Mimi::sample_rate`]. A last piece shorter than a frame is filled up with zeros.
    ///
    /// # Errors
    /// [`Error::NotFinite`]; [`Error::Fault`] for finite samples so far out of range that sums overflow; [`Error::Nn`]
    /// when the device fails.
    pub fn encode(&self, pcm: &[f32]) -> Result<Codes> {
        self.encode_while(pcm, &mut || true)
    }

    /// As [`Mimi::encode`], as long as `go_on` says so: it is asked before every few frames.
    ///
    /// # Errors
    /// As [`Mimi::encode`], and [`Error::Stopped`] when it was not to go on.
    pub fn encode_while(&self, pcm: &[f32], go_on: &mut dyn FnMut() -> bool) -> Result<Codes> {
        if let Some(sample) = pcm.iter().position(|x| !x.is_finite()) {
            return Err(Error::NotFinite { sample, found: pcm[sample] });
        }
        let size = self.frame_size();
        let total = pcm.len().div_ceil(size);
        let mut state = self.init_encoder(1, CHUNK.min(total.max(1)))?;
        let mut by_frame = vec![0; total * self.codebooks()];
        let chunks = by_frame.chunks_mut(CHUNK * self.codebooks());
        for (i, (codes, samples)) in chunks.zip(pcm.chunks(CHUNK * size)).enumerate() {
            check_going_on(go_on)?;
            let frames = codes.len() / self.codebooks();
            if samples.len() == frames * size {
                self.encode_step(&mut state, &[true], frames, samples, codes)?;
            } else {
                let mut padded = samples.to_vec();
                padded.resize(frames * size, 0.0);
                self.encode_step(&mut state, &[true], frames, &padded, codes)?;
            }
            if let Some(fault) = state.fault(0) {
                return Err(Error::Fault { frame: i * CHUNK, fault });
            }
        }
        Ok(Codes::from_frames(self.codebooks(), &by_frame))
    }

    /// Decodes codes of any number of codebooks up to [`Mimi::codebooks`] to mono samples.
    ///
    /// # Errors
    /// [`Error::Codebooks`], [`Error::Code`]; [`Error::Nn`] when the device fails.
    pub fn decode(&self, codes: &Codes) -> Result<Vec<f32>> {
        self.decode_while(codes, &mut || true)
    }

    /// As [`Mimi::decode`], as long as `go_on` says so: it is asked before every few frames.
    ///
    /// # Errors
    /// As [`Mimi::decode`], and [`Error::Stopped`] when it was not to go on.
    pub fn decode_while(&self, codes: &Codes, go_on: &mut dyn FnMut() -> bool) -> Result<Vec<f32>> {
        let (codebooks, total, size) = (codes.codebooks(), codes.frames(), self.frame_size());
        if let Some(i) = self.wrong_code(codes.values()) {
            let (codebook, frame, found) = (i / total, i % total, codes.values()[i]);
            return Err(Error::Code { codebook, frame, found, bins: self.bins() });
        }
        let mut state = self.init_decoder_for(1, CHUNK.min(total.max(1)), codebooks)?;
        let mut pcm = vec![0f32; total * size];
        let mut by_frame = vec![0; CHUNK * codebooks];
        for (i, samples) in pcm.chunks_mut(CHUNK * size).enumerate() {
            check_going_on(go_on)?;
            let frames = samples.len() / size;
            let step = &mut by_frame[..frames * codebooks];
            codes.read_frames(i * CHUNK, step);
            self.decode_step(&mut state, &[true], frames, step, samples)?;
        }
        Ok(pcm)
    }

    /// Checks the codes `[codebooks]` of one frame before they are decoded.
    ///
    /// # Errors
    /// [`Error::Code`].
    pub fn check_frame(&self, codes: &[i32]) -> Result<()> {
        match self.wrong_code(codes) {
            Some(codebook) => Err(Error::Code { codebook, frame: 0, found: codes[codebook], bins: self.bins() }),
            None => Ok(()),
        }
    }

    /// Where the first code is that no codebook has.
    fn wrong_code(&self, codes: &[i32]) -> Option<usize> {
        let bins = self.bins();
        codes.iter().position(|code| !usize::try_from(*code).is_ok_and(|code| code < bins))
    }
}

fn check_going_on(go_on: &mut dyn FnMut() -> bool) -> Result<()> {
    if go_on() { Ok(()) } else { Err(Error::Stopped) }
}
