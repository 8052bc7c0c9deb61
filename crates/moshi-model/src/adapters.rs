//! Adapters by the folders that they lie in.

use std::path::{Path, PathBuf};

use moshi_engine::{EngineError, ModelInfo};

/// An adapter to load with a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterPath {
    /// What sessions call it.
    pub name: String,
    /// Where it is: see [`AdapterFile::open`].
    pub path: PathBuf,
}

impl AdapterPath {
    /// The adapter in a folder (or its file of weights), called by its whole path: sessions choose it by any spelling of
    /// that, see [`adapter_at`].
    pub fn at(path: &Path) -> Self {
        Self { name: whole(path), path: path.to_owned() }
    }
}

/// The name of the adapter that was loaded from a path with [`AdapterPath::at`].
///
/// # Errors
/// [`EngineError::Parameter`] when the model was loaded without it.
pub fn adapter_at(info: &ModelInfo, path: &Path) -> Result<String, EngineError> {
    let name = whole(path);
    let loaded = || match &info.adapters[..] {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    info.adapters.iter().find(|known| **known == name).cloned().ok_or_else(|| EngineError::Parameter {
        name: "lora",
        found: name.clone(),
        expected: format!(
            "an adapter that was loaded with the model, which are: {}; name it when the model is loaded",
            loaded()
        ),
    })
}

/// The path as the system knows it, where it is there.
fn whole(path: &Path) -> String {
    path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string()
}
