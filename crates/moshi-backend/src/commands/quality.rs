//! `moshi-backend quality`: what a checkpoint's number format costs.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use mimi::Mimi;
use moshi_checkpoint::config::FileNames;
use moshi_checkpoint::quantize::{Plan, Quantize};
use moshi_checkpoint::{HubOptions, OpenOptions};
use moshi_cpu::{Arithmetic, Cpu};
use moshi_lm::Lm;
use moshi_nn::{HostWeight, LowRankPair, WeightSource};

use crate::cli::values;
use crate::quality::{QualityReport, codes_of_audio, conversation, trace};

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
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let (tensors, config) = (repository.lm()?, &repository.config().lm);
    let cpu = Cpu::new(threads);
    let heard_streams = config.n_q - config.dep_q;
    let heard = {
        let codebooks = heard_streams.max(1);
        let mimi = Mimi::load(cpu.clone(), &repository.mimi()?, repository.mimi_config()?, codebooks)?;
        let frames = usize::from(args.frames);
        let pcm = match &args.audio {
            Some(path) => read_audio(path)?,
            None => speech_like(frames * mimi.frame_size()),
        };
        codes_of_audio(&mimi, &pcm, frames, heard_streams)?
    };
    // One after the other: both at once would take the memory of both.
    let (reference, codes, steps) = {
        let lm = Lm::load(cpu.clone(), &Widened(&tensors), config)?;
        let (codes, steps) = conversation(&lm, &heard)?;
        (trace(&lm, &codes, steps)?, codes, steps)
    };
    let cpu = if args.exact { cpu } else { cpu.with_arithmetic(Arithmetic::Fast) };
    let lm = match args.quantize {
        None => Lm::load(cpu, &tensors, config)?,
        Some(quantize) => Lm::load(cpu, &Quantizing { inner: &tensors, plan: Plan::from(quantize), threads }, config)?,
    };
    let name = args.lm_file.as_ref().map_or_else(|| args.model.clone(), |file| format!("{} {file}", args.model));
    let report = QualityReport::new(name, config, &trace(&lm, &codes, steps)?, &reference);
    super::say(&report.to_string())?;
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The same weights, rounded to integers.
struct Quantizing<'a> {
    inner: &'a dyn WeightSource,
    plan: Plan,
    threads: NonZeroUsize,
}

impl WeightSource for Quantizing<'_> {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.inner.shape(name)
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<HostWeight<'_>> {
        Ok(self.plan.apply(name, self.inner.matrix(name, rows, cols)?, self.threads)?)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> moshi_nn::Result<Vec<f32>> {
        self.inner.vector(name, shape)
    }

    fn low_rank(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<Option<LowRankPair<'_>>> {
        self.inner.low_rank(name, rows, cols)
    }
}

fn read_audio(path: &std::path::Path) -> anyhow::Result<Vec<f32>> {
    let recording = moshi_audio::load(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(recording.pcm)
}

/// A voice-like tone: harmonics of a pitch that wanders, in syllables.
fn speech_like(samples: usize) -> Vec<f32> {
    let mut phase = 0.0f32;
    let sample = |i: usize| {
        let t = i as f32 / 24_000.0;
        phase += std::f32::consts::TAU * (140.0 + 40.0 * (2.1 * t).sin()) / 24_000.0;
        let syllable = (12.0 * t).sin().max(0.0);
        let harmonics: f32 = (1..=12u8).map(|h| (phase * f32::from(h)).sin() / f32::from(h)).sum();
        0.15 * syllable * harmonics
    };
    (0..samples).map(sample).collect()
}

/// The same weights in single precision.
struct Widened<'a, S>(&'a S);

impl<S: WeightSource> WeightSource for Widened<'_, S> {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.shape(name)
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<HostWeight<'_>> {
        let values = self.0.matrix(name, rows, cols)?.to_f32()?;
        Ok(HostWeight::from_f32(rows, cols, values)?)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> moshi_nn::Result<Vec<f32>> {
        self.0.vector(name, shape)
    }

    fn low_rank(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<Option<LowRankPair<'_>>> {
        self.0.low_rank(name, rows, cols)
    }

    fn has(&self, name: &str) -> bool {
        self.0.has(name)
    }
}
