//! `moshi-backend quality`: what a checkpoint's number format costs.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use moshi_bench::quality::{Comparison, compare};
use moshi_checkpoint::config::FileNames;
use moshi_checkpoint::quantize::Quantize;
use moshi_checkpoint::{HubOptions, OpenOptions};

use crate::cli::values;

/// Compare a checkpoint with its own weights widened to single precision: logits, most likely tokens, and every layer.
///
/// Both hear the same audio and are given the words and codes that the single precision would say.
#[derive(Debug, Args)]
pub struct QualityArgs {
    /// A folder, file or repository (owner/name@revision).
    model: String,
    /// The language model's file, where it is not the one that config.json names.
    #[arg(long, env = "MOSHI_LM_FILE")]
    lm_file: Option<String>,
    /// What the model hears (any audio file); by default something that sounds a little like speech.
    #[arg(long, env = "MOSHI_AUDIO")]
    audio: Option<PathBuf>,
    /// Frames of 80 ms, at most 64.
    #[arg(long, env = "MOSHI_FRAMES", default_value_t = 50, value_parser = clap::value_parser!(u16).range(3..=64))]
    frames: u16,
    /// Make integers of the weights first: q8 or q4.
    #[arg(long, env = "MOSHI_QUANTIZE", value_name = "q8|q4")]
    quantize: Option<Quantize>,
    /// Round nothing but the weights: activations, keys and values in single precision.
    #[arg(long, env = "MOSHI_EXACT")]
    exact: bool,
    /// Threads; by default one for each core.
    #[arg(long, env = "MOSHI_THREADS", value_parser = values::threads)]
    threads: Option<NonZeroUsize>,
    /// Also write the report as JSON.
    #[arg(long, env = "MOSHI_JSON")]
    json: Option<PathBuf>,
}

/// Compares and prints.
///
/// # Errors
/// When the checkpoint or the audio cannot be read or do not fit, or the report cannot be written.
pub fn run(args: &QualityArgs) -> anyhow::Result<()> {
    let files = FileNames { moshi: args.lm_file.clone(), ..FileNames::default() };
    let options = OpenOptions { files, hub: HubOptions::from_env(), ..OpenOptions::default() };
    let repository = super::open(&args.model, &options)?;
    let audio = args.audio.as_ref().map(|path| {
        let recording = moshi_audio::load(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok::<_, anyhow::Error>(recording.pcm)
    });
    let report = compare(
        &repository,
        &Comparison {
            name: args.lm_file.as_ref().map_or_else(|| args.model.clone(), |file| format!("{} {file}", args.model)),
            frames: usize::from(args.frames),
            audio: audio.transpose()?,
            quantize: args.quantize,
            exact: args.exact,
            threads: args.threads,
        },
    )?;
    super::tell(&report, args.json.as_deref())
}
