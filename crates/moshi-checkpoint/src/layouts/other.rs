//! Layouts that are recognised so that a message can name them.

use safetensors::Dtype;

use crate::config::LmConfig;
use crate::file::TensorFile;

/// What the files are and what to use instead, when they are in a known layout that cannot be read yet.
pub(super) fn recognise(files: &[TensorFile], config: &LmConfig) -> Option<(String, String)> {
    let any = |test: &dyn Fn(&str) -> bool| files.iter().any(|f| f.tensors().keys().any(|n| test(n)));
    let bf16 = |name: &str| format!("use the bf16 files instead (for Moshi, kyutai/{name})");
    if any(&|n| n.ends_with(".lora_A.weight")) {
        return Some((
            "a LoRA adapter".to_owned(),
            "merge it into its model first, or load the model itself".to_owned(),
        ));
    }
    if any(&|n| n.starts_with("depformer.slices.") || n.starts_with("audio_embs.")) {
        let layout = match quantized(files, config) {
            Some((bits, group)) => format!("MLX q{bits} (group {group})"),
            None => "MLX bf16".to_owned(),
        };
        return Some((layout, bf16("moshiko-pytorch-bf16")));
    }
    if any(&|n| n.ends_with("_scb")) {
        return Some(("PyTorch int8 (q8)".to_owned(), bf16("moshiko-pytorch-bf16")));
    }
    None
}

/// Bits and group size of MLX quantization, from the text head `[text_card_out, dim]`.
fn quantized(files: &[TensorFile], config: &LmConfig) -> Option<(usize, usize)> {
    let find = |name: &str| files.iter().find_map(|f| f.tensors().get(name));
    let weight = find("text_linear.weight").filter(|t| t.dtype == Dtype::U32)?;
    let scales = find("text_linear.scales")?;
    let (words, groups) = (*weight.shape.get(1)?, *scales.shape.get(1)?);
    Some((words.checked_mul(32)? / config.dim, config.dim.checked_div(groups)?))
}

/// What else the files may be.
pub(super) fn describe(files: &[TensorFile]) -> String {
    let has = |name: &str| files.iter().any(|f| f.tensors().contains_key(name));
    let names: Vec<_> = files.iter().flat_map(|f| f.tensors().keys().cloned()).collect();
    if has("encoder.model.0.conv.conv.weight") {
        "the Mimi codec".to_owned()
    } else if names.is_empty() {
        "a file without tensors".to_owned()
    } else {
        format!("{} tensors of another model: {}", names.len(), crate::error::some_of(&names))
    }
}
