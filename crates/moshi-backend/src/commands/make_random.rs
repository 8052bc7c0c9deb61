//! `moshi-backend make-random`: a checkpoint with random weights, to run, test and measure on.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use moshi_bench::random::{self, Sizes};

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
    let sizes = match (&args.like, args.shape) {
        (Some(folder), _) => Sizes::Like(folder.clone()),
        (None, Shape::Tiny) => Sizes::Tiny,
        (None, Shape::PublishedMimi) => Sizes::PublishedMimi,
    };
    Ok(random::write(&args.folder, &sizes, args.tokenizer.as_deref(), args.seed)?)
}
