//! From a codec's configuration to the shapes of its layers.
//!
//! The configuration itself is read by `moshi-checkpoint`; what is checked here is what layers cannot be built from.

use moshi_checkpoint::config::{Gating, MimiConfig, NormKind, PositionalEmbedding};
use moshi_nn::backend::{AttentionSpec, Rope, RopeLayout};
use moshi_nn::layers::{MlpConfig, MlpKind, NormConfig, TransformerConfig};

use crate::{Error, Result};

/// Bound of every size: keeps products of sizes far from overflow; no real checkpoint comes near it.
const LARGEST: usize = 1 << 20;
/// Bound of a convolution's dilation.
const LARGEST_DILATION: usize = 1 << 10;

/// Checks that the settings fit each other, whoever made the configuration.
pub(crate) fn check(config: &MimiConfig) -> Result<()> {
    check_sizes(config)?;
    let (s, t) = (&config.seanet, &config.transformer);
    let refuse = |key, found: String, expected: String| Err(Error::Config { key, found, expected });
    let deepest = s.n_residual_layers.saturating_sub(1) as u32;
    if s.dilation_base.checked_pow(deepest).is_none_or(|dilation| dilation > LARGEST_DILATION) {
        let expected =
            format!("to the power of {deepest} (seanet.n_residual_layers - 1) must not exceed {LARGEST_DILATION}");
        return refuse("seanet.dilation_base", s.dilation_base.to_string(), expected);
    }
    if s.ratios.len() > 8 || s.ratios.iter().any(|r| *r > 64) || s.n_residual_layers > 8 {
        let found = format!("{:?} with {} residual layers", s.ratios, s.n_residual_layers);
        return refuse("seanet.ratios", found, "at most 8 ratios of at most 64, and 8 residual layers".to_owned());
    }
    if !s.n_filters.is_multiple_of(s.compress) {
        return refuse("seanet.compress", s.compress.to_string(), format!("must divide n_filters = {}", s.n_filters));
    }
    if t.d_model != s.dimension {
        return refuse("transformer.d_model", t.d_model.to_string(), format!("seanet.dimension is {}", s.dimension));
    }
    if !t.d_model.is_multiple_of(t.num_heads) {
        return refuse(
            "transformer.num_heads",
            t.num_heads.to_string(),
            format!("must divide d_model = {}", t.d_model),
        );
    }
    if config.downsample < 2 {
        let found = format!("{} at {} samples a second", config.frame_rate, config.sample_rate);
        let expected = format!("a frame must be twice the {} samples of seanet.ratios or more", s.hop());
        return refuse("frame_rate", found, expected);
    }
    Ok(())
}

fn check_sizes(config: &MimiConfig) -> Result<()> {
    let (s, q, t) = (&config.seanet, &config.quantizer, &config.transformer);
    let sizes = [
        ("sample_rate", config.sample_rate),
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
    match sizes.into_iter().find(|(_, size)| *size == 0 || *size > LARGEST) {
        Some((key, size)) => {
            Err(Error::Config { key, found: size.to_string(), expected: format!("must be 1 to {LARGEST}") })
        }
        None => Ok(()),
    }
}

/// The transformers as a stack of layers.
pub(crate) fn stack(config: &MimiConfig) -> Result<TransformerConfig> {
    let t = &config.transformer;
    Ok(TransformerConfig {
        layers: t.num_layers,
        width: t.d_model,
        attention: AttentionSpec {
            heads: t.num_heads,
            kv_heads: t.num_heads,
            head_dim: t.d_model / t.num_heads,
            context: t.context,
            rope: rope(config)?,
        },
        norm: match t.norm {
            NormKind::Layer => NormConfig::LAYER,
            NormKind::RmsF32 => NormConfig::RMS_F32,
            other => return Err(unknown("transformer.norm", other.name())),
        },
        mlps: vec![mlp(config)?],
        layer_scale: t.layer_scale.is_some(),
        cross: None,
    })
}

fn mlp(config: &MimiConfig) -> Result<MlpConfig> {
    let (width, feedforward) = (config.transformer.d_model, config.transformer.dim_feedforward);
    let (kind, hidden) = match config.transformer.gating {
        Gating::None => (MlpKind::Gelu, feedforward),
        Gating::Silu => (MlpKind::SiluGate, MlpConfig::gated_hidden(width, feedforward)),
        other => return Err(unknown("transformer.gating", other.name())),
    };
    Ok(MlpConfig { width, hidden, kind })
}

fn rope(config: &MimiConfig) -> Result<Option<Rope>> {
    let layout = match config.transformer.positional_embedding {
        PositionalEmbedding::None => return Ok(None),
        PositionalEmbedding::Rope => RopeLayout::Interleaved,
        PositionalEmbedding::RopeConcat => RopeLayout::Halves,
        other => return Err(unknown("transformer.positional_embedding", other.name())),
    };
    Ok(Some(Rope { max_period: config.transformer.max_period as f32, layout }))
}

fn unknown(key: &'static str, found: &str) -> Error {
    Error::Config { key, found: format!("{found:?}"), expected: "the codec does not run it yet".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_layer_can_have_are_named() {
        type Damage = (&'static str, fn(&mut MimiConfig));
        let bad: [Damage; 9] = [
            ("seanet.n_filters", |c| c.seanet.n_filters = 0),
            ("seanet.ratios", |c| c.seanet.ratios.clear()),
            ("seanet.ratios", |c| c.seanet.ratios = vec![8, 0]),
            ("seanet.compress", |c| c.seanet.compress = 3),
            ("seanet.dilation_base", |c| (c.seanet.dilation_base, c.seanet.n_residual_layers) = (8, 8)),
            ("transformer.d_model", |c| c.seanet.dimension = 256),
            ("transformer.num_heads", |c| c.transformer.num_heads = 7),
            ("quantizer.bins", |c| c.quantizer.bins = usize::MAX),
            ("frame_rate", |c| c.downsample = 1),
        ];
        check(&MimiConfig::published()).unwrap();
        for (key, spoil) in bad {
            let mut config = MimiConfig::published();
            spoil(&mut config);
            let message = check(&config).unwrap_err().to_string();
            assert!(message.contains(key), "{key}: {message}");
        }
    }
}
