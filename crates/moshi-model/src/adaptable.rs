//! Models that can take further adapters.

use std::sync::Arc;

use moshi_engine::{EngineError, SpeechModel};

use crate::AdapterPath;

/// A model that can be had again with other adapters beside it. Its own weights are there once.
pub trait Adaptable: Send + Sync {
    /// The adapters that it was loaded with.
    fn adapters(&self) -> &[AdapterPath];
    /// The same model with these adapters.
    ///
    /// # Errors
    /// When a file is no adapter of this model; when the executor has no memory for it.
    fn adapted(&self, adapters: &[AdapterPath]) -> Result<Arc<dyn SpeechModel>, EngineError>;
}
