//! Sizes and options of the codec (`mimi_config.json`).

use std::path::Path;

use serde_json::Value;

use super::limits::{MAX_LAYERS, MAX_STREAMS, MAX_WIDTH};
use super::lm::check_heads;
use super::{Gating, NormKind, PositionalEmbedding, Reader, as_object, read_json, refuse_foreign};
use crate::Result;

/// The convolutional encoder and decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct SeanetConfig {
    /// Width between the convolutions and the transformers (D, 512).
    pub dimension: usize,
    /// Channels of the outermost convolution (F, 64); doubled at every stage.
    pub n_filters: usize,
    /// Residual blocks of a stage.
    pub n_residual_layers: usize,
    /// Strides of the decoder's stages in order; the encoder has them in reverse.
    pub ratios: Vec<usize>,
    /// Kernel of the outermost convolution next to the waveform (encoder) or the transformer (decoder).
    pub kernel_size: usize,
    /// Kernel of the residual blocks' first convolution.
    pub residual_kernel_size: usize,
    /// Kernel of the last convolution.
    pub last_kernel_size: usize,
    /// Dilation of residual block `j` is this to the power `j`.
    pub dilation_base: usize,
    /// Residual blocks work on this fraction of the channels.
    pub compress: usize,
}

impl SeanetConfig {
    /// Samples for each step of the transformers: the product of the strides.
    pub fn hop(&self) -> usize {
        self.ratios.iter().product()
    }
}

/// The transformers after the encoder and before the decoder, alike in size.
#[derive(Debug, Clone, PartialEq)]
pub struct MimiTransformerConfig {
    /// Width.
    pub d_model: usize,
    /// Heads; divides `d_model`.
    pub num_heads: usize,
    /// Layers.
    pub num_layers: usize,
    /// Hidden width of the feed-forward block (GELU, no gate).
    pub dim_feedforward: usize,
    /// Keys that a query sees, itself included.
    pub context: usize,
    /// Longest wavelength of the rotary embedding.
    pub max_period: f64,
    /// How positions are known.
    pub positional_embedding: PositionalEmbedding,
    /// Which norm.
    pub norm: NormKind,
    /// Which feed-forward block.
    pub gating: Gating,
    /// Initial value of learned channel scales; `None` means there are none.
    pub layer_scale: Option<f64>,
}

/// The split residual quantizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuantizerConfig {
    /// Width of the codebook vectors.
    pub dimension: usize,
    /// Codebooks in the file: one semantic, the rest acoustic.
    pub n_q: usize,
    /// Vectors of a codebook.
    pub bins: usize,
}

/// The codec: 24 kHz mono PCM to 12.5 frames of codes a second and back.
#[derive(Debug, Clone, PartialEq)]
pub struct MimiConfig {
    /// Samples a second.
    pub sample_rate: usize,
    /// Frames a second.
    pub frame_rate: f64,
    /// The convolutions.
    pub seanet: SeanetConfig,
    /// Both transformers.
    pub transformer: MimiTransformerConfig,
    /// The quantizer.
    pub quantizer: QuantizerConfig,
    /// Stride of the convolution between transformer and quantizer: steps of the transformer for each frame.
    pub downsample: usize,
}

/// The published codec.
impl Default for MimiConfig {
    fn default() -> Self {
        Self::published()
    }
}

impl MimiConfig {
    /// The published codec.
    pub fn published() -> Self {
        Self {
            sample_rate: 24_000,
            frame_rate: 12.5,
            seanet: SeanetConfig {
                dimension: 512,
                n_filters: 64,
                n_residual_layers: 1,
                ratios: vec![8, 6, 5, 4],
                kernel_size: 7,
                residual_kernel_size: 3,
                last_kernel_size: 3,
                dilation_base: 2,
                compress: 2,
            },
            transformer: MimiTransformerConfig {
                d_model: 512,
                num_heads: 8,
                num_layers: 8,
                dim_feedforward: 2048,
                context: 250,
                max_period: 10_000.0,
                positional_embedding: PositionalEmbedding::Rope,
                norm: NormKind::Layer,
                gating: Gating::None,
                layer_scale: Some(0.01),
            },
            quantizer: QuantizerConfig { dimension: 256, n_q: 32, bins: 2048 },
            downsample: 2,
        }
    }

    /// Samples of a frame.
    pub fn frame_samples(&self) -> usize {
        self.seanet.hop() * self.downsample
    }

    /// Reads a `mimi_config.json`; what it leaves out is as published. Returns warnings about unknown keys too.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Format`], [`crate::Error::Config`].
    pub fn read(path: &Path) -> Result<(Self, Vec<String>)> {
        Self::from_json(path, &read_json(path)?)
    }

    /// As [`MimiConfig::read`], from JSON at hand; `path` is for messages.
    ///
    /// # Errors
    /// As [`MimiConfig::read`], but for [`crate::Error::Io`].
    pub fn from_json(path: &Path, raw: &Value) -> Result<(Self, Vec<String>)> {
        let map = as_object(path, raw)?;
        refuse_foreign(path, map)?;
        let reader = Reader::new(path, map);
        let mut config = Self::published();
        let mut warnings = Vec::new();
        if let Some(seanet) = reader.object("seanet")? {
            config.seanet = parse_seanet(&seanet, &config.seanet)?;
            warnings.extend(seanet.unknown_keys());
        }
        if let Some(quantizer) = reader.object("quantizer")? {
            config.quantizer = parse_quantizer(&quantizer, &config)?;
            warnings.extend(quantizer.unknown_keys());
        }
        if let Some(transformer) = reader.object("transformer")? {
            config.transformer = parse_transformer(&transformer, &config)?;
            warnings.extend(transformer.unknown_keys());
        } else if config.transformer.d_model != config.seanet.dimension {
            let expected = format!("an object whose d_model is {}, the dimension of seanet", config.seanet.dimension);
            return Err(reader.error("transformer", "missing", expected));
        }
        config.parse_rates(&reader)?;
        warnings.extend(reader.unknown_keys());
        Ok((config, warnings))
    }

    fn parse_rates(&mut self, r: &Reader<'_>) -> Result<()> {
        only(r, "channels", 1)?;
        self.sample_rate = r.count("sample_rate", 1, 1 << 20)?.unwrap_or(self.sample_rate);
        self.frame_rate = r.number("frame_rate", 1e-3, 1e6)?.unwrap_or(self.frame_rate);
        let hop = self.seanet.hop();
        let stride = self.sample_rate as f64 / hop as f64 / self.frame_rate;
        if !(1.0..=64.0).contains(&stride) || (stride - stride.round()).abs() > 1e-6 {
            let expected = format!(
                "a whole fraction of {} Hz, the rate after the strides {:?}",
                self.sample_rate as f64 / hop as f64,
                self.seanet.ratios
            );
            return Err(r.error("frame_rate", self.frame_rate, expected));
        }
        self.downsample = stride.round() as usize;
        Ok(())
    }
}

/// A setting that has one supported value.
fn only(r: &Reader<'_>, key: &str, value: usize) -> Result<()> {
    match r.count(key, 0, MAX_WIDTH)? {
        Some(found) if found != value => Err(r.error(key, found, value)),
        _ => Ok(()),
    }
}

fn only_text(r: &Reader<'_>, key: &str, value: &'static str) -> Result<()> {
    r.choice(key, &[(value, ())]).map(|_| ())
}

fn only_true(r: &Reader<'_>, key: &str) -> Result<()> {
    if r.flag(key, true)? { Ok(()) } else { Err(r.error(key, false, true)) }
}

fn parse_seanet(r: &Reader<'_>, base: &SeanetConfig) -> Result<SeanetConfig> {
    only(r, "channels", 1)?;
    only_true(r, "causal")?;
    only_true(r, "true_skip")?;
    only_text(r, "activation", "ELU")?;
    only_text(r, "norm", "none")?;
    only_text(r, "pad_mode", "constant")?;
    let _ = (r.value("disable_norm_outer_blocks"), r.value("activation_params"), r.value("norm_params"));
    let config = SeanetConfig {
        dimension: r.count("dimension", 1, MAX_WIDTH)?.unwrap_or(base.dimension),
        n_filters: r.count("n_filters", 1, MAX_WIDTH)?.unwrap_or(base.n_filters),
        n_residual_layers: r.count("n_residual_layers", 0, 16)?.unwrap_or(base.n_residual_layers),
        ratios: r.counts("ratios", 1, 64)?.unwrap_or_else(|| base.ratios.clone()),
        kernel_size: r.count("kernel_size", 1, 1024)?.unwrap_or(base.kernel_size),
        residual_kernel_size: r.count("residual_kernel_size", 1, 1024)?.unwrap_or(base.residual_kernel_size),
        last_kernel_size: r.count("last_kernel_size", 1, 1024)?.unwrap_or(base.last_kernel_size),
        dilation_base: r.count("dilation_base", 1, 8)?.unwrap_or(base.dilation_base),
        compress: r.count("compress", 1, MAX_WIDTH)?.unwrap_or(base.compress),
    };
    if config.ratios.is_empty() || config.ratios.len() > 8 {
        return Err(r.error("ratios", format!("a list of {}", config.ratios.len()), "1 to 8 strides"));
    }
    if config.n_filters << config.ratios.len() > MAX_WIDTH {
        return Err(r.error("n_filters", config.n_filters, "a width that stays usable when doubled at every stage"));
    }
    if !config.n_filters.is_multiple_of(config.compress) {
        let expected = format!("a divisor of n_filters, which is {}", config.n_filters);
        return Err(r.error("compress", config.compress, expected));
    }
    Ok(config)
}

fn parse_quantizer(r: &Reader<'_>, base: &MimiConfig) -> Result<QuantizerConfig> {
    only(r, "input_dimension", base.seanet.dimension)?;
    only(r, "output_dimension", base.seanet.dimension)?;
    Ok(QuantizerConfig {
        dimension: r.count("dimension", 1, MAX_WIDTH)?.unwrap_or(base.quantizer.dimension),
        n_q: r.count("n_q", 1, MAX_STREAMS)?.unwrap_or(base.quantizer.n_q),
        bins: r.count("bins", 1, MAX_WIDTH)?.unwrap_or(base.quantizer.bins),
    })
}

fn parse_transformer(r: &Reader<'_>, base: &MimiConfig) -> Result<MimiTransformerConfig> {
    let (dimension, base) = (base.seanet.dimension, &base.transformer);
    only_true(r, "causal")?;
    only_true(r, "conv_layout")?;
    only(r, "input_dimension", dimension)?;
    if let Some(outputs) = r.counts("output_dimensions", 1, MAX_WIDTH)?
        && outputs != [dimension]
    {
        return Err(r.error("output_dimensions", format!("{outputs:?}"), format!("[{dimension}]")));
    }
    let config = MimiTransformerConfig {
        d_model: r.count("d_model", 1, MAX_WIDTH)?.unwrap_or(base.d_model),
        num_heads: r.count("num_heads", 1, MAX_WIDTH)?.unwrap_or(base.num_heads),
        num_layers: r.count("num_layers", 0, MAX_LAYERS)?.unwrap_or(base.num_layers),
        dim_feedforward: r.count("dim_feedforward", 1, MAX_WIDTH)?.unwrap_or(base.dim_feedforward),
        context: r.count("context", 1, 1 << 24)?.unwrap_or(base.context),
        max_period: r.number("max_period", 1.0, 1e12)?.unwrap_or(base.max_period),
        positional_embedding: r
            .choice("positional_embedding", &PositionalEmbedding::NAMES)?
            .unwrap_or(base.positional_embedding),
        norm: r.choice("norm", &NormKind::NAMES)?.unwrap_or(base.norm),
        gating: r.choice("gating", &Gating::NAMES)?.unwrap_or(base.gating),
        layer_scale: match r.has_any(&["layer_scale"]) {
            true => r.number("layer_scale", -1e6, 1e6)?,
            false => base.layer_scale,
        },
    };
    if config.d_model != dimension {
        let expected = format!("{dimension}, the dimension of seanet");
        return Err(r.error("d_model", config.d_model, expected));
    }
    check_heads(r, "", config.d_model, config.num_heads, 1, config.positional_embedding)?;
    Ok(config)
}
