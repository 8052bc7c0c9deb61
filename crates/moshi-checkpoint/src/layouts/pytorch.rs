//! The PyTorch package's layout: canonical names, or stacked attention projections in older files.

use super::place::Place;
use crate::names::TensorSpec;

/// The entry itself, or rows of the stacked one: `in_projs.{j}.weight` of r rows is rows j*r..(j+1)*r of
/// `in_proj_weight`, `out_projs.{j}.weight` likewise of `out_proj.weight`.
pub(super) fn place(tensor: &TensorSpec, has: &dyn Fn(&str) -> bool) -> Option<Place> {
    let name = tensor.name.as_str();
    if has(name) {
        return Some(Place::whole(name));
    }
    stacked(tensor, "in_projs", &["in_proj_weight", "in_proj.weight"], has)
        .or_else(|| stacked(tensor, "out_projs", &["out_proj.weight"], has))
        .or_else(|| single_set(name).filter(|n| has(n)).map(Place::whole))
}

fn stacked(tensor: &TensorSpec, list: &str, entries: &[&str], has: &dyn Fn(&str) -> bool) -> Option<Place> {
    let (before, after) = tensor.name.split_once(&format!(".{list}."))?;
    let set: usize = after.strip_suffix(".weight")?.parse().ok()?;
    let entry = entries.iter().map(|e| format!("{before}.{e}")).find(|e| has(e))?;
    let rows = *tensor.shape.first()?;
    Some(Place { entry, rows: Some((set * rows..(set + 1) * rows, tensor.sets * rows)) })
}

/// A depth transformer with one weight set leaves its number out: `gating.0.linear_in` is `gating.linear_in`.
fn single_set(name: &str) -> Option<String> {
    name.contains(".gating.0.").then(|| name.replacen(".gating.0.", ".gating.", 1))
}
