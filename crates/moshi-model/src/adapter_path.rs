//! Where an adapter lies, and what sessions call it.

use std::path::{Path, PathBuf};

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
    /// that, see [`AdaptedSessions`].
    pub fn at(path: &Path) -> Self {
        Self { name: whole(path), path: path.to_owned() }
    }
}

/// The path as the system knows it, where it is there.
fn whole(path: &Path) -> String {
    path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string()
}
