//! The MLX package's layout: slices of the depth transformer, one for each step, and norms of one dimension.

use super::place::Place;
use super::{candle, pytorch};
use crate::config::LmConfig;
use crate::names::TensorSpec;

/// The entry of a tensor.
pub(super) fn place(tensor: &TensorSpec, config: &LmConfig, has: &dyn Fn(&str) -> bool) -> Option<Place> {
    match candle::place(&tensor.name, config) {
        Some(place) => Some(Place::whole(rename(&place.entry))),
        None => pytorch::place(&TensorSpec { name: rename(&tensor.name), ..tensor.clone() }, has),
    }
}

/// What MLX files call an entry of a Rust ("candle") file.
pub(super) fn rename(name: &str) -> String {
    let name = name.replace(".in_proj_weight", ".in_proj.weight");
    let name = name.strip_suffix(".alpha").map_or(name.clone(), |stem| format!("{stem}.weight"));
    if let Some(rest) = name.strip_prefix("depformer.") {
        format!("depformer.slices.{rest}")
    } else if name.starts_with("emb.") {
        format!("audio_{}", name.replacen("emb", "embs", 1))
    } else {
        name
    }
}

/// As [`candle::shared`].
pub(super) fn shared(config: &LmConfig) -> Vec<(String, String)> {
    candle::shared(config).into_iter().map(|(name, copy)| (name, rename(&copy))).collect()
}
