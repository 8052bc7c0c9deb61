//! What each layout calls a canonical tensor.

use super::format::WriteLayout;
use crate::config::LmConfig;
use crate::layouts::{candle_place, mlx_rename};
use crate::names::TensorSpec;

/// The entries that a tensor becomes: one, or a copy for each step that shares it. Tensors of one entry are stacked in it
/// in the order of the canonical list.
pub(super) fn entries(layout: WriteLayout, spec: &TensorSpec, config: &LmConfig) -> Vec<String> {
    match layout {
        WriteLayout::PyTorch => vec![pytorch(&spec.name, config)],
        WriteLayout::Candle | WriteLayout::Gguf => candle(&spec.name, config),
        WriteLayout::Mlx => candle(&spec.name, config).iter().map(|name| mlx_rename(name)).collect(),
    }
}

/// The older names, which both older and newer programs read; weight sets that a schedule shares exist only in newer ones.
fn pytorch(name: &str, config: &LmConfig) -> String {
    let depth = config.depformer.as_ref();
    let stacks = depth.is_none_or(|d| d.schedule.iter().enumerate().all(|(k, set)| k == *set));
    let single = depth.is_some_and(|d| d.weight_sets() == 1);
    let name = if single { name.replacen(".gating.0.", ".gating.", 1) } else { name.to_owned() };
    if stacks { stacked(&name) } else { name }
}

/// `in_projs.{j}.weight` as `in_proj_weight`, `out_projs.{j}.weight` as `out_proj.weight`.
fn stacked(name: &str) -> String {
    let cut = |list: &str, older: &str| Some(format!("{}.{older}", name.split_once(list)?.0));
    cut(".in_projs.", "in_proj_weight").or_else(|| cut(".out_projs.", "out_proj.weight")).unwrap_or(name.to_owned())
}

fn candle(name: &str, config: &LmConfig) -> Vec<String> {
    let Some(depth) = &config.depformer else { return vec![stacked(name)] };
    let Some(first) = candle_place(name, config) else { return vec![stacked(name)] };
    let parts: Vec<&str> = first.splitn(3, '.').collect();
    let [start, k, rest] = parts[..] else { return vec![first] };
    let Ok(k) = k.parse::<usize>() else { return vec![first] };
    let shared = name.starts_with("depformer.layers.") && !name.contains("self_attn") && !name.contains(".gating.");
    let own = !shared && !name.starts_with("depformer.layers.") && !name.starts_with("depformer_in.");
    let same = |step: usize| shared || depth.schedule.get(step) == depth.schedule.get(k);
    let steps = (0..config.dep_q).filter(|&step| if own { step == k } else { same(step) });
    steps.map(|step| format!("{start}.{step}.{rest}")).collect()
}
