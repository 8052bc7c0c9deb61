//! Files that are no language model, recognised so that a message can name them.

use crate::file::TensorFile;

/// Whether the files hold an adapter and not a model.
pub(super) fn is_adapter(files: &[TensorFile]) -> bool {
    files.iter().any(|f| f.tensors().keys().any(|n| n.ends_with(".lora_A.weight")))
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
