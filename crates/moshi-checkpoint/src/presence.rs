//! What a model's files hold beside what its configuration says: parts that some configurations leave out, and parts that
//! they speak of although the file was written without them.

use crate::config::{LmConfig, ModelConfig, NormKind};
use crate::file::TensorFile;
use crate::shapes::Shapes;

/// Brings the configuration in line with the files, where one of them decides. Returns remarks, one sentence each.
pub(crate) fn settle(config: &mut ModelConfig, files: &[TensorFile]) -> Vec<String> {
    let shapes = Shapes(files);
    let silent = |keys: &[&str]| keys.iter().all(|key| !config.says(key));
    let second_text =
        silent(&["demux_second_stream", "demux_second_text_stream"]) && shapes.has("text_emb.out1.weight");
    let output_norm = if silent(&["depformer_norm"]) { output_norm(&shapes) } else { None };
    let rank = if silent(&["depformer_low_rank_embeddings"]) { low_rank(&shapes) } else { None };
    let lm = &mut config.lm;
    lm.demux_second_text_stream |= second_text;
    lm.cross_attention |= !lm.fuser.cross.is_empty() && shapes.has("transformer.layers.0.norm_cross.weight");
    if let Some(depth) = &mut lm.depformer {
        depth.output_norm = depth.output_norm.or(output_norm);
        depth.low_rank_embeddings = depth.low_rank_embeddings.or(rank);
    }
    extra_heads(lm, &shapes)
}

/// The file decides about the extra heads. Where it has some of those that the configuration names, they are missing.
fn extra_heads(lm: &mut LmConfig, shapes: &Shapes<'_>) -> Vec<String> {
    let named = lm.extra_heads_num_heads;
    let held = shapes.count(|i| format!("extra_heads.{i}.weight"));
    if held == 0 && named > 0 && !shapes.any("extra_heads.") {
        lm.extra_heads_num_heads = 0;
        return vec![format!(
            "the configuration speaks of {named} extra heads, and the file has none: pauses are not told; take the \
             repository whose file has them (its name ends in \"-candle\") if they are needed"
        )];
    }
    if held > named {
        lm.extra_heads_num_heads = held;
        lm.extra_heads_dim = shapes.rows("extra_heads.0.weight").unwrap_or(lm.extra_heads_dim);
    }
    Vec::new()
}

/// The norm of each depth step's output.
fn output_norm(shapes: &Shapes<'_>) -> Option<NormKind> {
    // Other layouts call both kinds of scale `weight`.
    if shapes.has("depformer_norms.0.bias") {
        Some(NormKind::Layer)
    } else {
        shapes.has("depformer_norms.0.alpha").then_some(NormKind::RmsF32)
    }
}

/// The width of the depth transformer's tables where a projection follows them; a table of integers does not tell it.
fn low_rank(shapes: &Shapes<'_>) -> Option<usize> {
    let projected =
        shapes.has("depformer_text_emb.low_rank.weight") && !shapes.has("depformer_text_emb.low_rank.scales");
    if projected { shapes.columns("depformer_text_emb.low_rank.weight") } else { None }
}
