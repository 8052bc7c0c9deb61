//! How what fails in codec, language model and layers is told by the engine.

use moshi_engine::EngineError;

/// An error of the engine's, made from those of the parts below.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct ModelError(EngineError);

/// The error of a part as the engine tells it.
pub(crate) fn told(error: impl Into<ModelError>) -> EngineError {
    error.into().0
}

impl From<ModelError> for EngineError {
    fn from(error: ModelError) -> Self {
        error.0
    }
}

impl From<EngineError> for ModelError {
    fn from(error: EngineError) -> Self {
        Self(error)
    }
}

impl From<mimi::Error> for ModelError {
    fn from(error: mimi::Error) -> Self {
        Self(match error {
            mimi::Error::Nn(e) => EngineError::Model(e.to_string()),
            mimi::Error::Stopped => EngineError::Stopped,
            other => EngineError::Input(other.to_string()),
        })
    }
}

impl From<moshi_lm::LmError> for ModelError {
    fn from(error: moshi_lm::LmError) -> Self {
        Self(match error {
            moshi_lm::LmError::Nn(_) | moshi_lm::LmError::Unsupported { .. } => EngineError::Model(error.to_string()),
            other => EngineError::Input(other.to_string()),
        })
    }
}

impl From<moshi_nn::Error> for ModelError {
    fn from(error: moshi_nn::Error) -> Self {
        Self(EngineError::Model(error.to_string()))
    }
}
