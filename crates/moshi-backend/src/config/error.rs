//! What can be wrong with a configuration, told so that it can be put right.

use std::path::{Path, PathBuf};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file}: cannot read it: {source}", file = file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not JSON.
    #[error("{file}: not JSON: {source}", file = file.display())]
    Json {
        /// Which file.
        file: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The file holds JSON, but not an object.
    #[error("{file}: found {found}, expected an object with keys such as \"port\"", file = file.display())]
    NotAnObject {
        /// Which file.
        file: PathBuf,
        /// What kind of value it holds.
        found: &'static str,
    },
    /// A key that no version of the server knows.
    #[error("{file}: unknown key \"{key}\"{hint}", file = file.display())]
    UnknownKey {
        /// Which file.
        file: PathBuf,
        /// The key.
        key: String,
        /// What may have been meant, or where the keys are listed.
        hint: String,
    },
    /// A key that stands there twice.
    #[error("{file}: \"{key}\" is there twice; keep one", file = file.display())]
    Twice {
        /// Which file.
        file: PathBuf,
        /// The key.
        key: String,
    },
    /// A key whose value has the wrong type or range.
    #[error("{file}: \"{key}\" is {found}; expected {expected}", file = file.display())]
    Value {
        /// Which file, or `command line`.
        file: PathBuf,
        /// The key.
        key: String,
        /// The value found.
        found: String,
        /// The values allowed.
        expected: String,
    },
    /// Two keys that cannot both hold.
    #[error("{file}: \"{first}\" and \"{second}\" contradict each other: {why}", file = file.display())]
    Contradiction {
        /// Which file, or `command line`.
        file: PathBuf,
        /// One key.
        first: String,
        /// The other key.
        second: String,
        /// Why, and what to do.
        why: String,
    },
}

impl ConfigError {
    /// About two keys (or flags) that cannot both hold.
    pub(super) fn contradiction(file: &Path, first: &str, second: &str, why: String) -> Self {
        Self::Contradiction { file: file.to_owned(), first: first.to_owned(), second: second.to_owned(), why }
    }
}
