//! The codec's hyper-parameters, as `mimi_config.json` spells them.

use moshi_nn::backend::{AttentionSpec, Rope, RopeLayout};
use moshi_nn::layers::{self, MlpConfig, MlpKind, NormConfig};
use serde::Deserialize;

use crate::{Error, Result};

/// All hyper-parameters. The default is the published Mimi, whose repositories hold no configuration for it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MimiConfig {
    /// Samples a second.
    pub sample_rate: usize,
    /// Audio channels; 1.
    pub channels: usize,
    /// Frames of codes a second.
    pub frame_rate: f64,
    /// The convolutional encoder and decoder.
    pub seanet: SeanetConfig,
    /// The quantizer.
    pub quantizer: QuantizerConfig,
    /// The transformers of encoder and decoder.
    pub transformer: TransformerConfig,
}

/// Hyper-parameters of SEANet.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // the names are those of the published configuration; `check` says which values are known
pub struct SeanetConfig {
    pub channels: usize,
    pub dimension: usize,
    pub causal: bool,
    pub n_filters: usize,
    pub n_residual_layers: usize,
    pub activation: String,
    pub compress: usize,
    pub dilation_base: usize,
    pub disable_norm_outer_blocks: usize,
    pub kernel_size: usize,
    pub residual_kernel_size: usize,
    pub last_kernel_size: usize,
    pub norm: String,
    pub pad_mode: String,
    pub ratios: Vec<usize>,
    pub true_skip: bool,
}

/// Hyper-parameters of the quantizer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct QuantizerConfig {
    pub dimension: usize,
    pub n_q: usize,
    pub bins: usize,
    pub input_dimension: usize,
    pub output_dimension: usize,
}

/// Hyper-parameters of the transformers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct TransformerConfig {
    pub d_model: usize,
    pub num_heads: usize,
    pub num_layers: usize,
    pub causal: bool,
    pub layer_scale: Option<f64>,
    pub context: usize,
    pub conv_layout: bool,
    pub max_period: f64,
    pub gating: String,
    pub norm: String,
    pub positional_embedding: String,
    pub dim_feedforward: usize,
    pub input_dimension: usize,
    pub output_dimensions: Vec<usize>,
}

impl Default for MimiConfig {
    fn default() -> Self {
        Self {
            sample_rate: 24_000,
            channels: 1,
            frame_rate: 12.5,
            seanet: SeanetConfig::default(),
            quantizer: QuantizerConfig::default(),
            transformer: TransformerConfig::default(),
        }
    }
}

impl Default for SeanetConfig {
    fn default() -> Self {
        Self {
            channels: 1,
            dimension: 512,
            causal: true,
            n_filters: 64,
            n_residual_layers: 1,
            activation: "ELU".to_owned(),
            compress: 2,
            dilation_base: 2,
            disable_norm_outer_blocks: 0,
            kernel_size: 7,
            residual_kernel_size: 3,
            last_kernel_size: 3,
            norm: "none".to_owned(),
            pad_mode: "constant".to_owned(),
            ratios: vec![8, 6, 5, 4],
            true_skip: true,
        }
    }
}

impl Default for QuantizerConfig {
    fn default() -> Self {
        Self { dimension: 256, n_q: 32, bins: 2048, input_dimension: 512, output_dimension: 512 }
    }
}

impl Default for TransformerConfig {
    fn default() -> Self {
        Self {
            d_model: 512,
            num_heads: 8,
            num_layers: 8,
            causal: true,
            layer_scale: Some(0.01),
            context: 250,
            conv_layout: true,
            max_period: 10_000.0,
            gating: "none".to_owned(),
            norm: "layer_norm".to_owned(),
            positional_embedding: "rope".to_owned(),
            dim_feedforward: 2048,
            input_dimension: 512,
            output_dimensions: vec![512],
        }
    }
}

impl MimiConfig {
    /// Reads and checks the text of a `mimi_config.json`.
    ///
    /// # Errors
    /// [`Error::ConfigFile`] for broken JSON and unknown keys, [`Error::Config`] for what [`MimiConfig::check`] refuses.
    pub fn from_json(text: &str) -> Result<Self> {
        let config: Self = serde_json::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    /// Checks that the settings fit each other and are implemented.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first setting that does not.
    pub fn check(&self) -> Result<()> {
        self.check_sizes()?;
        self.check_kinds()?;
        self.check_widths()?;
        let ratio = self.sample_rate as f64 / (self.frame_rate * self.seanet_hop() as f64);
        let stride = ratio.round();
        if !(self.frame_rate > 0.0 && (ratio - stride).abs() < 1e-9 && (2.0..1e6).contains(&stride)) {
            let found = format!("{} at {} samples a second", self.frame_rate, self.sample_rate);
            let hop = self.seanet_hop();
            let expected =
                format!("a frame must be a whole multiple (2 or more) of the {hop} samples of seanet.ratios");
            return Err(Error::Config { key: "frame_rate", found, expected });
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<()> {
        let (s, q, t) = (&self.seanet, &self.quantizer, &self.transformer);
        let sizes = [
            ("sample_rate", self.sample_rate),
            ("seanet.dimension", s.dimension),
            ("seanet.n_filters", s.n_filters),
            ("seanet.compress", s.compress),
            ("seanet.dilation_base", s.dilation_base),
            ("seanet.kernel_size", s.kernel_size),
            ("seanet.residual_kernel_size", s.residual_kernel_size),
            ("seanet.last_kernel_size", s.last_kernel_size),
            ("seanet.ratios (number)", s.ratios.len()),
            ("seanet.ratios (smallest)", s.ratios.iter().copied().min().unwrap_or(0)),
            ("quantizer.dimension", q.dimension),
            ("quantizer.n_q", q.n_q),
            ("quantizer.bins", q.bins),
            ("transformer.d_model", t.d_model),
            ("transformer.num_heads", t.num_heads),
            ("transformer.context", t.context),
            ("transformer.dim_feedforward", t.dim_feedforward),
        ];
        for (key, size) in sizes {
            // The bound keeps products of sizes far from overflow; no real checkpoint comes near it.
            if size == 0 || size > 1 << 20 {
                let expected = format!("must be 1 to {}", 1 << 20);
                return Err(Error::Config { key, found: size.to_string(), expected });
            }
        }
        let deepest = s.n_residual_layers.saturating_sub(1) as u32;
        if s.dilation_base.checked_pow(deepest).is_none_or(|dilation| dilation > 1 << 10) {
            let expected = format!("to the power of {deepest} (seanet.n_residual_layers - 1) must not exceed 1024");
            return Err(Error::Config { key: "seanet.dilation_base", found: s.dilation_base.to_string(), expected });
        }
        if s.ratios.len() > 8 || s.ratios.iter().any(|r| *r > 64) || s.n_residual_layers > 8 {
            let found = format!("{:?} with {} residual layers", s.ratios, s.n_residual_layers);
            let expected = "at most 8 ratios of at most 64, and at most 8 residual layers".to_owned();
            return Err(Error::Config { key: "seanet.ratios", found, expected });
        }
        Ok(())
    }

    fn check_kinds(&self) -> Result<()> {
        let (s, t) = (&self.seanet, &self.transformer);
        require("channels", &self.channels, &1)?;
        require("seanet.channels", &s.channels, &1)?;
        require("seanet.causal", &s.causal, &true)?;
        require("seanet.activation", &s.activation.as_str(), &"ELU")?;
        require("seanet.norm", &s.norm.as_str(), &"none")?;
        require("seanet.pad_mode", &s.pad_mode.as_str(), &"constant")?;
        require("seanet.true_skip", &s.true_skip, &true)?;
        require("transformer.causal", &t.causal, &true)?;
        require("transformer.conv_layout", &t.conv_layout, &true)?;
        NormConfig::from_name(&t.norm)?;
        self.mlp()?;
        self.rope()?;
        Ok(())
    }

    fn check_widths(&self) -> Result<()> {
        let (s, q, t) = (&self.seanet, &self.quantizer, &self.transformer);
        let width = s.dimension;
        require("quantizer.input_dimension", &q.input_dimension, &width)?;
        require("quantizer.output_dimension", &q.output_dimension, &width)?;
        require("transformer.d_model", &t.d_model, &width)?;
        require("transformer.input_dimension", &t.input_dimension, &width)?;
        require("transformer.output_dimensions", &t.output_dimensions, &vec![width])?;
        if !t.d_model.is_multiple_of(t.num_heads) {
            let expected = format!("must divide transformer.d_model = {}", t.d_model);
            return Err(Error::Config { key: "transformer.num_heads", found: t.num_heads.to_string(), expected });
        }
        let narrowest = s.n_filters;
        if !narrowest.is_multiple_of(s.compress) {
            let expected = format!("must divide seanet.n_filters = {narrowest}");
            return Err(Error::Config { key: "seanet.compress", found: s.compress.to_string(), expected });
        }
        Ok(())
    }

    /// Samples per time step of the transformers: the product of SEANet's ratios.
    pub fn seanet_hop(&self) -> usize {
        self.seanet.ratios.iter().product()
    }

    /// Transformer steps per frame: the stride of down- and upsampling.
    pub fn steps_per_frame(&self) -> usize {
        (self.sample_rate as f64 / (self.frame_rate * self.seanet_hop() as f64)).round() as usize
    }

    /// Samples per frame.
    pub fn frame_size(&self) -> usize {
        self.seanet_hop() * self.steps_per_frame()
    }

    /// The transformers as a stack of layers.
    ///
    /// # Errors
    /// [`Error::Config`] for kinds of layers that are not implemented.
    pub(crate) fn stack(&self) -> Result<layers::TransformerConfig> {
        let t = &self.transformer;
        Ok(layers::TransformerConfig {
            layers: t.num_layers,
            width: t.d_model,
            attention: AttentionSpec {
                heads: t.num_heads,
                kv_heads: t.num_heads,
                head_dim: t.d_model / t.num_heads,
                context: t.context,
                rope: self.rope()?,
            },
            norm: NormConfig::from_name(&t.norm)?,
            mlps: vec![self.mlp()?],
            layer_scale: t.layer_scale.is_some(),
        })
    }

    fn mlp(&self) -> Result<MlpConfig> {
        let TransformerConfig { d_model: width, dim_feedforward, gating, .. } = &self.transformer;
        let (kind, hidden) = match gating.as_str() {
            "none" => (MlpKind::Gelu, *dim_feedforward),
            "silu" => (MlpKind::SiluGate, MlpConfig::gated_hidden(*width, *dim_feedforward)),
            _ => {
                let expected = "known are \"none\" and \"silu\"".to_owned();
                return Err(Error::Config { key: "transformer.gating", found: format!("{gating:?}"), expected });
            }
        };
        Ok(MlpConfig { width: *width, hidden, kind })
    }

    fn rope(&self) -> Result<Option<Rope>> {
        let max_period = self.transformer.max_period as f32;
        let layout = match self.transformer.positional_embedding.as_str() {
            "rope" => RopeLayout::Interleaved,
            "rope_concat" => RopeLayout::Halves,
            "none" => return Ok(None),
            other => {
                let expected = "known are \"rope\", \"rope_concat\" and \"none\"".to_owned();
                let key = "transformer.positional_embedding";
                return Err(Error::Config { key, found: format!("{other:?}"), expected });
            }
        };
        if !(max_period.is_finite() && max_period >= 1.0) {
            let expected = "must be at least 1".to_owned();
            return Err(Error::Config { key: "transformer.max_period", found: max_period.to_string(), expected });
        }
        Ok(Some(Rope { max_period, layout }))
    }
}

fn require<T: PartialEq + std::fmt::Debug>(key: &'static str, found: &T, expected: &T) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Config { key, found: format!("{found:?}"), expected: format!("only {expected:?} is supported here") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> String {
        MimiConfig::from_json(json).unwrap_err().to_string()
    }

    #[test]
    fn the_default_is_the_published_codec() {
        let config = MimiConfig::from_json("{}").unwrap();
        assert_eq!((config.frame_size(), config.steps_per_frame(), config.seanet_hop()), (1920, 2, 960));
    }

    #[test]
    fn unknown_keys_are_named() {
        assert!(refused(r#"{"seanet": {"lstm": 2}}"#).contains("lstm"));
        assert!(refused("not json").contains("mimi configuration"));
    }

    #[test]
    fn unsupported_and_contradictory_settings_are_named() {
        for (json, key) in [
            (r#"{"channels": 2}"#, "channels"),
            (r#"{"frame_rate": 0}"#, "frame_rate"),
            (r#"{"frame_rate": 13}"#, "frame_rate"),
            (r#"{"frame_rate": 25}"#, "frame_rate"),
            (r#"{"sample_rate": 16000}"#, "frame_rate"),
            (r#"{"seanet": {"ratios": []}}"#, "seanet.ratios"),
            (r#"{"seanet": {"ratios": [8, 0]}}"#, "seanet.ratios"),
            (r#"{"seanet": {"dilation_base": 1000000, "n_residual_layers": 8}}"#, "seanet.dilation_base"),
            (r#"{"seanet": {"causal": false}}"#, "seanet.causal"),
            (r#"{"seanet": {"norm": "weight_norm"}}"#, "seanet.norm"),
            (r#"{"seanet": {"dimension": 256}}"#, "quantizer.input_dimension"),
            (r#"{"seanet": {"compress": 3}}"#, "seanet.compress"),
            (r#"{"transformer": {"num_heads": 7}}"#, "transformer.num_heads"),
            (r#"{"transformer": {"gating": "gelu"}}"#, "transformer.gating"),
            (r#"{"transformer": {"positional_embedding": "sin"}}"#, "transformer.positional_embedding"),
            (r#"{"transformer": {"norm": "batch"}}"#, "norm"),
            (r#"{"quantizer": {"bins": 0}}"#, "quantizer.bins"),
        ] {
            let message = refused(json);
            assert!(message.contains(key), "{json}: {message}");
        }
    }
}
