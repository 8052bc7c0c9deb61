//! The built-in model: an ordinary checkpoint folder, `models/default`, that is part of the program.
//!
//! Swap the files of that folder to swap the model; nothing else names it.

use moshi_checkpoint::{EmbeddedRepository, Repository};
use moshi_engine::EngineError;

use crate::load::load_model_with_notice;
use crate::{LoadOptions, Loaded};

macro_rules! folder {
    ($file:literal) => {
        concat!("../../../models/default/", $file)
    };
}

const FILES: EmbeddedRepository = EmbeddedRepository {
    name: "built-in",
    config: include_str!(folder!("config.json")),
    lm: include_bytes!(folder!("model.safetensors")),
    mimi: include_bytes!(folder!("mimi.safetensors")),
    mimi_config: include_str!(folder!("mimi_config.json")),
    tokenizer: include_bytes!(folder!("tokenizer.model")),
};

/// What the model's maker wants its users to know; empty for nothing.
const NOTICE: &str = include_str!(folder!("NOTICE.txt"));

/// Lays out the built-in model.
///
/// # Errors
/// When the device is not there. (That the embedded files are sound is a test of this crate.)
pub fn builtin(options: &LoadOptions) -> Result<Loaded, EngineError> {
    let repository = builtin_repository()?;
    let notice = NOTICE.trim();
    load_model_with_notice(&repository, FILES.name, options, (!notice.is_empty()).then(|| notice.to_owned()))
}

/// The built-in model's files.
///
/// # Errors
/// As [`builtin`].
pub fn builtin_repository() -> Result<Repository, EngineError> {
    Repository::embedded(&FILES).map_err(|e| EngineError::Load(e.to_string()))
}
