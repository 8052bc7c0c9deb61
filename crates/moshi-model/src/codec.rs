//! Mimi on any executor behind [`Codec`].

use std::sync::Arc;

use mimi::{Codes, DecoderState, EncoderState, Mimi};
use moshi_engine::{EngineError, GoOn, check_finite};
use moshi_nn::layers::StreamState;
use moshi_nn::{Backend, Fault};

use crate::error::told;
use crate::{Codec, CodecInfo, CodecStream};

/// A codec and, per stream, its memory.
pub(crate) struct MimiCodec<B: Backend>(pub(crate) Arc<Mimi<B>>);

impl<B: Backend> Codec for MimiCodec<B> {
    fn info(&self) -> CodecInfo {
        CodecInfo {
            sample_rate: self.0.sample_rate(),
            frame_samples: self.0.frame_size(),
            num_codebooks: self.0.codebooks(),
            bins: self.0.bins(),
        }
    }

    fn encode(&self, pcm: &[f32], go_on: &mut GoOn<'_>) -> Result<Vec<u32>, EngineError> {
        let codes = self.0.encode_while(pcm, go_on).map_err(told)?.into_values();
        Ok(codes.into_iter().map(|c| c as u32).collect())
    }

    fn decode(&self, codes: &[u32], go_on: &mut GoOn<'_>) -> Result<Vec<f32>, EngineError> {
        let codes = codes.iter().map(|code| id(*code)).collect();
        let codes = Codes::new(self.0.codebooks(), codes).map_err(told)?;
        self.0.decode_while(&codes, go_on).map_err(told)
    }

    fn stream(&self) -> Result<Box<dyn CodecStream>, EngineError> {
        let (encoder, decoder) = (self.0.init_encoder(1, 1).map_err(told)?, self.0.init_decoder(1, 1).map_err(told)?);
        let (codes, partial) = (vec![0; self.0.codebooks()], Vec::with_capacity(self.0.frame_size()));
        Ok(Box::new(MimiStream { mimi: self.0.clone(), encoder, decoder, codes, partial, lost: None }))
    }
}

struct MimiStream<B: Backend> {
    mimi: Arc<Mimi<B>>,
    encoder: EncoderState<B>,
    decoder: DecoderState<B>,
    /// Codes of one frame.
    codes: Vec<i32>,
    /// Samples that have not been encoded yet.
    partial: Vec<f32>,
    /// Why the encoder's memory is lost, until the next reset.
    lost: Option<Fault>,
}

impl<B: Backend> CodecStream for MimiStream<B> {
    fn encode(&mut self, pcm: &[f32], codes: &mut Vec<u32>, go_on: &mut GoOn<'_>) -> Result<(), EngineError> {
        check_finite(pcm)?;
        check_encoder(self.lost)?;
        self.partial.extend_from_slice(pcm);
        let mut taken = 0;
        let result = self.encode_waiting(&mut taken, codes, go_on);
        self.partial.drain(..taken);
        result
    }

    fn decode(&mut self, codes: &[u32], pcm: &mut Vec<f32>, go_on: &mut GoOn<'_>) -> Result<(), EngineError> {
        let (codebooks, bins, size) = (self.mimi.codebooks(), self.mimi.bins(), self.mimi.frame_size());
        if !codes.len().is_multiple_of(codebooks) {
            return Err(EngineError::Input(format!("{} codes; expected {codebooks} a frame", codes.len())));
        }
        if let Some(i) = codes.iter().position(|code| *code as usize >= bins) {
            let (codebook, frame, found) = (i % codebooks, i / codebooks, id(codes[i]));
            return Err(told(mimi::Error::Code { codebook, frame, found, bins }));
        }
        pcm.reserve(codes.len() / codebooks * size);
        for frame in codes.chunks_exact(codebooks) {
            check_going_on(go_on)?;
            self.codes.clear();
            self.codes.extend(frame.iter().map(|code| id(*code)));
            let start = pcm.len();
            pcm.resize(start + size, 0.0);
            self.mimi.decode_step(&mut self.decoder, &[true], 1, &self.codes, &mut pcm[start..]).map_err(told)?;
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        self.partial.clear();
        let backend = self.mimi.backend();
        self.encoder.reset_row(backend, 0).map_err(told)?;
        self.decoder.reset_row(backend, 0).map_err(told)?;
        self.lost = None;
        Ok(())
    }
}

impl<B: Backend> MimiStream<B> {
    /// Encodes the whole frames that wait; `taken` counts their samples, also those of a frame that fails.
    fn encode_waiting(
        &mut self,
        taken: &mut usize,
        codes: &mut Vec<u32>,
        go_on: &mut GoOn<'_>,
    ) -> Result<(), EngineError> {
        self.codes.resize(self.mimi.codebooks(), 0);
        for frame in self.partial.chunks_exact(self.mimi.frame_size()) {
            check_going_on(go_on)?;
            *taken += frame.len();
            self.mimi.encode_step(&mut self.encoder, &[true], 1, frame, &mut self.codes).map_err(told)?;
            self.lost = self.encoder.fault(0);
            check_encoder(self.lost)?;
            codes.extend(self.codes.iter().map(|code| *code as u32));
        }
        Ok(())
    }
}

fn check_encoder(lost: Option<Fault>) -> Result<(), EngineError> {
    match lost {
        None => Ok(()),
        Some(fault) => Err(EngineError::Model(format!("this stream can hear no more until it is reset: {fault}"))),
    }
}

fn check_going_on(go_on: &mut GoOn<'_>) -> Result<(), EngineError> {
    if go_on() { Ok(()) } else { Err(EngineError::Stopped) }
}

/// A code too large for an id is out of range for every model: the check that follows names it.
fn id(code: u32) -> i32 {
    i32::try_from(code).unwrap_or(i32::MAX)
}
