//! The codec's weights.

use moshi_nn::backend::{Backend, Padding};
use moshi_nn::layers::{ConvConfig, StreamingConv, StreamingUpsample, Transformer};
use moshi_nn::{At, WeightSource};

use crate::quantizer::Quantizer;
use crate::seanet::{SeanetDecoder, SeanetEncoder};
use crate::{Error, Result};
use moshi_checkpoint::MimiConfig;

/// The weights of the codec; share them in an `Arc`. Memory is in [`EncoderState`](crate::EncoderState) and
/// [`DecoderState`](crate::DecoderState).
pub struct Mimi<B: Backend> {
    pub(crate) backend: B,
    pub(crate) encoder: SeanetEncoder<B>,
    pub(crate) encoder_transformer: Transformer<B>,
    pub(crate) downsample: StreamingConv<B>,
    pub(crate) quantizer: Quantizer<B>,
    pub(crate) upsample: StreamingUpsample<B>,
    pub(crate) decoder_transformer: Transformer<B>,
    pub(crate) decoder: SeanetDecoder<B>,
    config: MimiConfig,
}

impl<B: Backend> Mimi<B> {
    /// Loads the codec with its first `codebooks` codebooks (8 for Moshi 7B) from the published tensor names.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that are not implemented, [`Error::Codebooks`] for a number of codebooks that the
    /// configuration does not have, [`Error::Nn`] for missing tensors and wrong shapes.
    pub fn load(backend: B, weights: &dyn WeightSource, config: &MimiConfig, codebooks: usize) -> Result<Self> {
        crate::config::check(config)?;
        if codebooks == 0 || codebooks > config.quantizer.n_q {
            return Err(Error::Codebooks { asked: codebooks, available: config.quantizer.n_q });
        }
        let root = At::new(weights, "");
        let stride = config.downsample;
        let width = config.seanet.dimension;
        let down = ConvConfig::plain(width, width, 2 * stride).stride(stride).padding(Padding::Replicate);
        let sound = root.clone().of_sound(); // the decoder's output is not searched for codes
        let transformer = |root: &At<'_>, name: &str| -> Result<_> {
            Ok(Transformer::load(&backend, &root.at(name).at("transformer"), crate::config::stack(config)?)?)
        };
        Ok(Self {
            encoder: SeanetEncoder::load(&backend, &root.at("encoder"), &config.seanet)?,
            encoder_transformer: transformer(&root, "encoder_transformer")?,
            downsample: StreamingConv::load(&backend, &root.at("downsample.conv.conv.conv"), &down)?,
            quantizer: Quantizer::load(&backend, &root.at("quantizer"), &config.quantizer, width, codebooks)?,
            upsample: StreamingUpsample::load(&backend, &root.at("upsample.convtr.convtr.convtr"), width, stride)?,
            decoder_transformer: transformer(&sound, "decoder_transformer")?,
            decoder: SeanetDecoder::load(&backend, &sound.at("decoder"), &config.seanet)?,
            config: config.clone(),
            backend,
        })
    }

    /// The executor.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The hyper-parameters.
    pub fn config(&self) -> &MimiConfig {
        &self.config
    }

    /// Bytes of weights that encoding and decoding a frame reads.
    pub fn bytes(&self) -> usize {
        let backend = &self.backend;
        let encoder = self.encoder.bytes(backend) + self.encoder_transformer.bytes(backend);
        let decoder = self.decoder.bytes(backend) + self.decoder_transformer.bytes(backend);
        encoder + self.downsample.bytes(backend) + self.quantizer.bytes(backend) + decoder
    }

    /// Number of codebooks in use.
    pub fn codebooks(&self) -> usize {
        self.quantizer.codebooks()
    }

    /// Codes per codebook: valid codes are `0..bins`.
    pub fn bins(&self) -> usize {
        self.config.quantizer.bins
    }

    /// Samples per frame (1,920).
    pub fn frame_size(&self) -> usize {
        self.config.frame_samples()
    }

    /// Samples per second (24,000).
    pub fn sample_rate(&self) -> usize {
        self.config.sample_rate
    }

    /// Frames per second (12.5).
    pub fn frame_rate(&self) -> f64 {
        self.config.frame_rate
    }
}

/// A step's `frames`, checked against the longest that the state was made for.
pub(crate) fn check_frames(found: usize, max: usize) -> Result<()> {
    if found == 0 || found > max { Err(Error::Frames { found, max }) } else { Ok(()) }
}

/// An input or output must hold exactly this many values.
pub(crate) fn check_len(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
}
