//! From a configuration to a model that the engine can drive.

use moshi_engine::{EngineError, FrameModel, Loopback, SessionParams};

use crate::config::{ModelSource, ModelSpec};

/// Makes a model's memory for a number of rows over weights that are shared.
pub type MakeModel = dyn FnMut(usize) -> Result<Box<dyn FrameModel>, EngineError> + Send;

/// A loaded model, and what is worth telling about it.
pub struct ModelHost {
    /// Name for people and metadata: a file, a repository, `loopback`.
    pub name: String,
    /// Something a caller must know, such as that the model is untrained.
    pub notice: Option<String>,
    /// What a session gets when its caller chooses nothing.
    pub defaults: SessionParams,
    make: Box<MakeModel>,
}

impl ModelHost {
    /// A host around any way of making a model.
    pub fn new(
        name: impl Into<String>,
        make: impl FnMut(usize) -> Result<Box<dyn FrameModel>, EngineError> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), notice: None, defaults: SessionParams::default(), make: Box::new(make) }
    }

    /// No model at all: every caller hears itself.
    pub fn loopback() -> Self {
        let notice = "no model is loaded: every caller hears itself (loopback)".to_owned();
        Self { notice: Some(notice), ..Self::new("loopback", |rows| Ok(Box::new(Loopback::new(rows)))) }
    }

    /// Loads what the configuration asks for; downloads it first if it is on the hub. Blocks.
    ///
    /// # Errors
    /// Says which file or repository, what was found and what was expected.
    pub fn load(spec: &ModelSpec) -> anyhow::Result<Self> {
        match &spec.source {
            ModelSource::Loopback => Ok(Self::loopback()),
            other => anyhow::bail!("{other:?} cannot be loaded by this build yet; use --model loopback"),
        }
    }

    /// A model with fresh memory for `rows` sessions.
    ///
    /// # Errors
    /// When there is not enough memory, or the device failed.
    pub fn make(&mut self, rows: usize) -> Result<Box<dyn FrameModel>, EngineError> {
        (self.make)(rows)
    }
}
