//! Mimi on any executor behind [`Codec`].

use std::sync::Arc;

use mimi::{Codes, DecoderState, EncoderState, Mimi};
use moshi_nn::layers::StreamState;
use moshi_nn::{Backend, Fault};

use crate::engine::check_finite;
use crate::{Codec, CodecInfo, CodecStream, EngineError};

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

    fn encode(&self, pcm: &[f32]) -> Result<Vec<u32>, EngineError> {
        let codes = self.0.encode(pcm)?.into_values();
        Ok(codes.into_iter().map(|c| c as u32).collect())
    }

    fn decode(&self, codes: &[u32]) -> Result<Vec<f32>, EngineError> {
        Ok(self.0.decode(&Codes::new(self.0.codebooks(), to_ids(codes))?)?)
    }

    fn stream(&self) -> Result<Box<dyn CodecStream>, EngineError> {
        let (encoder, decoder) = (self.0.init_encoder(1, 1)?, self.0.init_decoder(1, 1)?);
        let codes = vec![0; self.0.codebooks()];
        Ok(Box::new(MimiStream { mimi: self.0.clone(), encoder, decoder, codes, lost: None }))
    }
}

struct MimiStream<B: Backend> {
    mimi: Arc<Mimi<B>>,
    encoder: EncoderState<B>,
    decoder: DecoderState<B>,
    codes: Vec<i32>,
    /// Why the encoder's memory is lost, until the next reset.
    lost: Option<Fault>,
}

impl<B: Backend> MimiStream<B> {
    fn check_encoder(&self) -> Result<(), EngineError> {
        match self.lost {
            None => Ok(()),
            Some(fault) => Err(EngineError::Model(format!("this stream can hear no more until it is reset: {fault}"))),
        }
    }
}

impl<B: Backend> CodecStream for MimiStream<B> {
    fn encode_frame(&mut self, pcm: &[f32], codes: &mut [u32]) -> Result<(), EngineError> {
        check_finite(pcm)?;
        self.check_encoder()?;
        self.mimi.encode_step(&mut self.encoder, &[true], 1, pcm, &mut self.codes)?;
        self.lost = self.encoder.fault(0);
        self.check_encoder()?;
        for (to, from) in codes.iter_mut().zip(&self.codes) {
            *to = *from as u32;
        }
        Ok(())
    }

    fn decode_frame(&mut self, codes: &[u32], pcm: &mut [f32]) -> Result<(), EngineError> {
        self.codes.clear();
        self.codes.extend(codes.iter().map(|&c| id(c)));
        self.mimi.check_frame(&self.codes)?;
        self.mimi.decode_step(&mut self.decoder, &[true], 1, &self.codes, pcm)?;
        Ok(())
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        let backend = self.mimi.backend();
        self.encoder.reset_row(backend, 0).map_err(mimi::Error::from)?;
        self.decoder.reset_row(backend, 0).map_err(mimi::Error::from)?;
        self.lost = None;
        Ok(())
    }
}

/// A code too large for an id is out of range for every model: the check that follows names it.
fn id(code: u32) -> i32 {
    i32::try_from(code).unwrap_or(i32::MAX)
}

fn to_ids(codes: &[u32]) -> Vec<i32> {
    codes.iter().map(|&c| id(c)).collect()
}
