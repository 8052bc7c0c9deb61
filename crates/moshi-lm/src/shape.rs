//! From a checkpoint's configuration to the shapes of layers.

use moshi_checkpoint::config::{ConditionerKind, DepformerConfig, Gating, LmConfig, NormKind, PositionalEmbedding};
use moshi_nn::backend::{AttentionSpec, Rope, RopeLayout};
use moshi_nn::layers::{MlpConfig, MlpKind, NormConfig, TransformerConfig};

use crate::conditions::MEMORY_PLACES;
use crate::delay::DelayConfig;
use crate::{LmError, Result};

/// Refuses what a configuration may ask for and this model does not do.
pub(crate) fn check(config: &LmConfig) -> Result<()> {
    let fail = |key, found: String, expected| Err(LmError::Unsupported { key, found, expected });
    let fuser = &config.fuser;
    if !config.cross_attention && !fuser.cross.is_empty() {
        return fail("fuser.cross", format!("{:?}", fuser.cross), "it belongs to models with \"cross_attention\"");
    }
    for (key, names) in [("fuser.prepend", &fuser.prepend), ("fuser.streaming_sum", &fuser.streaming_sum)] {
        if !names.is_empty() {
            return fail(key, format!("{names:?}"), "conditions are added at every step (sum) or attended to (cross)");
        }
    }
    let sequence = |name: &&String| {
        let known = config.conditioners.iter().find(|known| known.name == **name);
        known.is_some_and(|known| !matches!(known.kind, ConditionerKind::Lut { .. }))
    };
    if let Some(name) = fuser.sum.iter().find(sequence) {
        return fail("fuser.sum", format!("{name:?}"), "a sequence is attended to (cross)");
    }
    if config.norm_emb {
        return fail("norm_emb", "true".to_owned(), "no published model normalises its embeddings");
    }
    Ok(())
}

/// The norm of that kind.
pub(crate) fn norm(kind: NormKind) -> Result<NormConfig> {
    match kind {
        NormKind::RmsF32 => Ok(NormConfig::RMS_F32),
        NormKind::Layer => Ok(NormConfig::LAYER),
        other => Err(LmError::Unsupported {
            key: "norm",
            found: other.name().to_owned(),
            expected: "known are \"rms_norm_f32\" and \"layer_norm\"",
        }),
    }
}

fn rope(positions: PositionalEmbedding, max_period: f64) -> Result<Option<Rope>> {
    let layout = match positions {
        PositionalEmbedding::None => return Ok(None),
        PositionalEmbedding::Rope => RopeLayout::Interleaved,
        PositionalEmbedding::RopeConcat => RopeLayout::Halves,
        other => {
            return Err(LmError::Unsupported {
                key: "positional_embedding",
                found: other.name().to_owned(),
                expected: "known are \"rope\", \"rope_concat\" and \"none\"",
            });
        }
    };
    Ok(Some(Rope { max_period: max_period as f32, layout }))
}

fn mlp(gating: Gating, width: usize, hidden: usize) -> Result<MlpConfig> {
    let kind = match gating {
        Gating::Silu => MlpKind::SiluGate,
        Gating::None => MlpKind::Gelu,
        other => {
            return Err(LmError::Unsupported {
                key: "gating",
                found: other.name().to_owned(),
                expected: "known are \"silu\" and \"none\"",
            });
        }
    };
    Ok(MlpConfig { width, hidden, kind })
}

/// The temporal transformer.
pub(crate) fn temporal(c: &LmConfig) -> Result<TransformerConfig> {
    Ok(TransformerConfig {
        layers: c.num_layers,
        width: c.dim,
        attention: AttentionSpec {
            heads: c.num_heads,
            kv_heads: c.kv_heads(),
            head_dim: c.head_dim(),
            context: c.context,
            rope: rope(c.positional_embedding, c.max_period)?,
        },
        norm: norm(c.norm)?,
        mlps: vec![mlp(c.gating, c.dim, c.hidden())?],
        layer_scale: c.layer_scale.is_some(),
        cross: c.cross_attention.then_some(MEMORY_PLACES),
    })
}

/// The depth transformer.
pub(crate) fn depth(c: &DepformerConfig) -> Result<TransformerConfig> {
    Ok(TransformerConfig {
        layers: c.num_layers,
        width: c.dim,
        attention: AttentionSpec {
            heads: c.num_heads,
            kv_heads: c.kv_heads(),
            head_dim: c.head_dim(),
            // A frame is no longer than its steps, so a wider window would only cost memory.
            context: c.context.min(c.schedule.len().max(1)),
            rope: rope(c.pos_emb, c.max_period)?,
        },
        norm: norm(c.norm)?,
        mlps: (0..c.weight_sets()).map(|j| mlp(c.gating, c.dim, c.hidden(j))).collect::<Result<_>>()?,
        layer_scale: c.layer_scale.is_some(),
        cross: None,
    })
}

/// The streams: text, `dep_q` that are written, and the rest that are heard.
pub(crate) fn delays(c: &LmConfig) -> DelayConfig {
    let initial = (0..=c.n_q).map(|i| if i == 0 { c.text_card as i32 } else { c.card as i32 }).collect();
    DelayConfig { delays: c.delays.clone(), initial, written: 1 + c.dep_q }
}
