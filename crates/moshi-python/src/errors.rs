//! One place where errors of the engine become Python exceptions.

use moshi_engine::EngineError;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::{PyErr, create_exception};

create_exception!(
    rustymoshi,
    RustymoshiError,
    PyRuntimeError,
    "A model, file or device failed; the message says which, what was expected and what to do."
);

/// Values that the caller chose are `ValueError`; everything else is [`RustymoshiError`].
pub(crate) fn engine(error: EngineError) -> PyErr {
    match error {
        EngineError::Parameter { .. } | EngineError::Input(_) => PyValueError::new_err(error.to_string()),
        other => RustymoshiError::new_err(other.to_string()),
    }
}

/// What the caller chose of a file is `ValueError`, as far as it is that; the rest is [`RustymoshiError`].
pub(crate) fn audio(error: moshi_audio::AudioError) -> PyErr {
    match error {
        moshi_audio::AudioError::Ending { .. } => PyValueError::new_err(error.to_string()),
        other => failure(other),
    }
}

/// Any other failure, with its chain of causes in one message.
pub(crate) fn failure(error: impl std::error::Error) -> PyErr {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !message.contains(&cause_text) {
            message = format!("{message}: {cause_text}");
        }
        source = cause.source();
    }
    RustymoshiError::new_err(message)
}
