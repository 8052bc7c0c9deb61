//! `moshi-backend make-random`: a checkpoint with random weights, to run, test and measure on.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};
use moshi_checkpoint::random::{write_checkpoint, write_mimi};
use moshi_checkpoint::{MimiConfig, ModelConfig};

/// Write a checkpoint with random weights: it makes noise, in the published format and sizes.
#[derive(Debug, Args)]
pub struct MakeRandomArgs {
    /// Folder to write; it is made if need be.
    folder: PathBuf,
    /// Which sizes: `tiny` is what the built-in model has, `published-mimi` the published codec alone.
    #[arg(long, env = "MOSHI_SHAPE", value_enum, default_value_t = Shape::Tiny)]
    shape: Shape,
    /// Configuration folder (config.json, mimi_config.json) to take the sizes from instead.
    #[arg(long, env = "MOSHI_LIKE", conflicts_with = "shape")]
    like: Option<PathBuf>,
    /// SentencePiece model to put in; by default that of the `--like` folder, or of the built-in model.
    #[arg(long, env = "MOSHI_TOKENIZER")]
    tokenizer: Option<PathBuf>,
    /// The same seed gives the same bytes.
    #[arg(long, env = "MOSHI_SEED", default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// A few megabytes.
    Tiny,
    /// The codec of Moshi 7B alone, 385 MB.
    PublishedMimi,
}

/// Writes the checkpoint.
///
/// # Errors
/// When a configuration cannot be read, or the folder cannot be written.
pub fn run(args: &MakeRandomArgs) -> anyhow::Result<()> {
    if args.like.is_none() && args.shape == Shape::PublishedMimi {
        std::fs::create_dir_all(&args.folder).with_context(|| format!("cannot make {}", args.folder.display()))?;
        return Ok(write_mimi(&args.folder.join("mimi.safetensors"), &MimiConfig::published(), args.seed)?);
    }
    let (config, mimi, tokenizer) = match &args.like {
        Some(folder) => {
            let (config, _) = ModelConfig::read(&folder.join("config.json"))?;
            let mimi = folder.join(config.names.mimi_config.as_deref().unwrap_or("mimi_config.json"));
            let mimi = if mimi.exists() { MimiConfig::read(&mimi)?.0 } else { MimiConfig::published() };
            let name = config.names.tokenizer.clone().unwrap_or_else(|| "tokenizer.model".to_owned());
            (config, mimi, read(&args.tokenizer.clone().unwrap_or_else(|| folder.join(name)))?)
        }
        None => {
            let builtin = moshi_model::builtin_repository()?;
            let tokenizer = match &args.tokenizer {
                Some(path) => read(path)?,
                None => builtin.tokenizer_bytes()?,
            };
            (builtin.config().clone(), builtin.mimi_config()?.clone(), tokenizer)
        }
    };
    Ok(write_checkpoint(&args.folder, &config, &mimi, &tokenizer, args.seed)?)
}

fn read(path: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
