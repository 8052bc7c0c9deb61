//! The comparison: both hear the same audio, and are given the words and codes that the single precision would say.

use std::num::NonZeroUsize;

use mimi::Mimi;
use moshi_checkpoint::Repository;
use moshi_checkpoint::quantize::{Plan, Quantize};
use moshi_cpu::cores::Cores;
use moshi_engine::EngineError;
use moshi_lm::Lm;
use moshi_model::{Device, OnExecutor, on_device};
use moshi_nn::{Backend, Precision, Rounded};

use super::report::QualityReport;
use super::trace::{Trace, codes_of_audio, conversation, trace};
use super::weights::{Quantizing, Widened};
use crate::Result;

/// What is compared.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What the report calls the checkpoint.
    pub name: String,
    /// Frames of 80 ms, at most [`moshi_lm::FORWARD_CHUNK`].
    pub frames: usize,
    /// What the model hears, at 24 kHz; none is something that sounds a little like speech.
    pub audio: Option<Vec<f32>>,
    /// Makes integers of the weights first.
    pub quantize: Option<Quantize>,
    /// Round nothing but the weights.
    pub exact: bool,
    /// Threads; none is one for each core.
    pub threads: Option<NonZeroUsize>,
}

/// Compares a checkpoint with its own weights in single precision.
///
/// # Errors
/// When parts of the checkpoint are missing or do not fit, or there are too many frames.
pub fn compare(repository: &Repository, comparison: &Comparison) -> Result<QualityReport> {
    let threads = comparison.threads.or_else(|| std::thread::available_parallelism().ok());
    let cores = Cores::new(threads.unwrap_or(NonZeroUsize::MIN));
    // One after the other: both at once would take the memory of both.
    let talk = on_device(Device::Cpu, cores.clone(), Reference { repository, comparison })??;
    let found = Found { repository, comparison, talk: &talk, cores: &cores };
    let found = on_device(Device::Cpu, cores.clone(), found)??;
    let config = &repository.config().lm;
    Ok(QualityReport::new(comparison.name.clone(), config, &found, &talk.trace))
}

/// A conversation and what single precision computes in it.
struct Talk {
    trace: Trace,
    /// `[1 + n_q, steps]`
    codes: Vec<i32>,
    steps: usize,
}

/// Has the conversation, in single precision.
struct Reference<'a> {
    repository: &'a Repository,
    comparison: &'a Comparison,
}

impl OnExecutor for Reference<'_> {
    type Output = Result<Talk>;

    fn run<B: Backend>(self, executor: B) -> Result<Self::Output, EngineError> {
        Ok(self.on(executor))
    }
}

impl Reference<'_> {
    fn on<B: Backend>(self, executor: B) -> Result<Talk> {
        let (tensors, config) = (self.repository.lm()?, &self.repository.config().lm);
        let heard_streams = config.n_q - config.dep_q;
        let heard = {
            let (weights, codec) = (self.repository.mimi()?, self.repository.mimi_config()?);
            let mimi = Mimi::load(executor.clone(), &weights, codec, heard_streams.max(1))?;
            let frames = self.comparison.frames;
            let pcm = self.comparison.audio.clone().unwrap_or_else(|| speech_like(frames * mimi.frame_size()));
            codes_of_audio(&mimi, &pcm, frames, heard_streams)?
        };
        let lm = Lm::load(executor, &Widened(&tensors), config)?;
        let (codes, steps) = conversation(&lm, &heard)?;
        Ok(Talk { trace: trace(&lm, &codes, steps)?, codes, steps })
    }
}

/// Follows the conversation, as the checkpoint is stored or quantized.
struct Found<'a> {
    repository: &'a Repository,
    comparison: &'a Comparison,
    talk: &'a Talk,
    cores: &'a Cores,
}

impl OnExecutor for Found<'_> {
    type Output = Result<Trace>;

    fn run<B: Backend>(self, executor: B) -> Result<Self::Output, EngineError> {
        Ok(self.on(executor))
    }
}

impl Found<'_> {
    fn on<B: Backend>(self, executor: B) -> Result<Trace> {
        let (tensors, config) = (self.repository.lm()?, &self.repository.config().lm);
        let threads = NonZeroUsize::new(self.cores.threads()).unwrap_or(NonZeroUsize::MIN);
        let precision = if self.comparison.exact { Precision::Exact } else { Precision::Fast };
        let lm = match self.comparison.quantize {
            None => Lm::load(executor, &Rounded::new(&tensors, precision), config)?,
            Some(quantize) => {
                let weights = Quantizing { inner: &tensors, plan: Plan::from(quantize), threads };
                Lm::load(executor, &Rounded::new(&weights, precision), config)?
            }
        };
        trace(&lm, &self.talk.codes, self.talk.steps)
    }
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
