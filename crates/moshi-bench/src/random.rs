//! Checkpoints with random weights: they make noise, in the published format and sizes.

use std::path::{Path, PathBuf};

use moshi_checkpoint::random::{write_checkpoint, write_mimi};
use moshi_checkpoint::{MimiConfig, ModelConfig};

use crate::{Error, Result};

/// Whose sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sizes {
    /// Those of the built-in model: a few megabytes.
    Tiny,
    /// The codec of Moshi 7B alone, 385 MB.
    PublishedMimi,
    /// Those of a folder's configuration (config.json, mimi_config.json).
    Like(PathBuf),
}

/// Writes a checkpoint into `folder`, which is made if need be; the same seed gives the same bytes. `tokenizer` is a
/// SentencePiece model to put in, by default that of the folder that gives the sizes, or of the built-in model.
///
/// # Errors
/// When a configuration cannot be read, or the folder cannot be written.
pub fn write(folder: &Path, sizes: &Sizes, tokenizer: Option<&Path>, seed: u64) -> Result<()> {
    let (config, mimi, words) = match sizes {
        Sizes::PublishedMimi => {
            let made = std::fs::create_dir_all(folder);
            made.map_err(|source| Error::Io { path: folder.to_owned(), doing: "make", source })?;
            return Ok(write_mimi(&folder.join("mimi.safetensors"), &MimiConfig::published(), seed)?);
        }
        Sizes::Like(model) => like(model, tokenizer)?,
        Sizes::Tiny => {
            let builtin = moshi_model::builtin_repository()?;
            let words = tokenizer.map_or_else(|| Ok(builtin.tokenizer_bytes()?), read)?;
            (builtin.config().clone(), builtin.mimi_config()?.clone(), words)
        }
    };
    Ok(write_checkpoint(folder, &config, &mimi, &words, seed)?)
}

fn like(model: &Path, tokenizer: Option<&Path>) -> Result<(ModelConfig, MimiConfig, Vec<u8>)> {
    let (config, _) = ModelConfig::read(&model.join("config.json"))?;
    let mimi = model.join(config.names.mimi_config.as_deref().unwrap_or("mimi_config.json"));
    let mimi = if mimi.exists() { MimiConfig::read(&mimi)?.0 } else { MimiConfig::published() };
    let own = model.join(config.names.tokenizer.as_deref().unwrap_or("tokenizer.model"));
    let words = read(tokenizer.unwrap_or(&own))?;
    Ok((config, mimi, words))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), doing: "read", source })
}
