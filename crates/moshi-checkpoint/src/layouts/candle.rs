//! The published Rust server's layout: the depth transformer as one complete model per step.

use super::place::Place;
use crate::config::LmConfig;

/// The entry of a depth tensor; the temporal part is as in PyTorch.
pub(super) fn place(name: &str, config: &LmConfig) -> Option<Place> {
    let depth = config.depformer.as_ref()?;
    // Steps that share a weight set hold copies of it; the first one will do.
    let step_of = |set: usize| depth.schedule.iter().position(|s| *s == set);
    let mut parts = name.split('.');
    let (first, rest) = (parts.next()?, parts.collect::<Vec<_>>());
    let number = |i: usize| rest.get(i).and_then(|s| s.parse::<usize>().ok());
    let entry = match (first, rest.as_slice()) {
        ("depformer", ["layers", l, "self_attn", list, _, "weight"]) => {
            let k = step_of(number(4)?)?;
            let projection = if *list == "in_projs" { "in_proj_weight" } else { "out_proj.weight" };
            format!("depformer.{k}.transformer.layers.{l}.self_attn.{projection}")
        }
        ("depformer", ["layers", l, "gating", _, linear, "weight"]) => {
            let k = step_of(number(3)?)?;
            format!("depformer.{k}.transformer.layers.{l}.gating.{linear}.weight")
        }
        ("depformer", tail @ ["layers", ..]) => format!("depformer.0.transformer.{}", tail.join(".")),
        ("depformer_in", [_, "weight"]) => format!("depformer.{}.linear_in.weight", step_of(number(0)?)?),
        ("depformer_text_emb", tail) => format!("depformer.0.emb.{}", tail.join(".")),
        ("depformer_emb", [_, tail @ ..]) => format!("depformer.{}.emb.{}", number(0)? + 1, tail.join(".")),
        ("linears", [k, tail @ ..]) => format!("depformer.{k}.linear_out.{}", tail.join(".")),
        _ => return None,
    };
    Some(Place::whole(entry))
}

/// Norms are shared between steps in the model, but every step holds a copy: canonical names and the entries that must
/// agree with them.
pub(super) fn shared(config: &LmConfig) -> Vec<(String, String)> {
    let Some(depth) = &config.depformer else { return Vec::new() };
    let norms = (0..depth.num_layers).flat_map(|l| [1, 2].map(|n| format!("layers.{l}.norm{n}.alpha")));
    let copies = |norm: String| {
        (1..config.dep_q).map(move |k| (format!("depformer.{norm}"), format!("depformer.{k}.transformer.{norm}")))
    };
    norms.flat_map(copies).collect()
}
