//! `moshi-backend bench`: a whole model on this machine, beside the machine's own memory bandwidth.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use moshi_engine::{FRAME_SAMPLES, FrameModel, RowOutput, RowStep, SessionParams};

use crate::bench::{BandwidthProbe, BenchReport, Percentiles, resident_bytes};
use crate::config::{ModelSource, ModelSpec};
use crate::model;

/// Measure a model: time of a step, real-time factor, memory, and the share of the memory bandwidth that a step reaches.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A folder, file or repository; by default the built-in model.
    #[arg(long, env = "MOSHI_MODEL", default_value = "built-in")]
    model: String,
    /// `auto`, `cpu` or `reference`.
    #[arg(long, env = "MOSHI_DEVICE", default_value = "auto")]
    device: String,
    /// Weights in memory: f32, bf16 or f16; by default as the file holds them.
    #[arg(long, env = "MOSHI_DTYPE")]
    dtype: Option<String>,
    /// Make integers of the weights while loading: q8 or q4.
    #[arg(long, env = "MOSHI_QUANTIZE", value_name = "q8|q4")]
    quantize: Option<moshi_checkpoint::quantize::Quantize>,
    /// Sessions stepped together.
    #[arg(long, env = "MOSHI_ROWS", default_value = "1")]
    rows: NonZeroUsize,
    /// Threads per step; by default one for each core, or one where steps are small.
    #[arg(long, env = "MOSHI_THREADS")]
    threads: Option<NonZeroUsize>,
    /// Frames to measure, after ten that are not.
    #[arg(long, env = "MOSHI_FRAMES", default_value = "200")]
    frames: NonZeroUsize,
    /// Also write the report as JSON.
    #[arg(long, env = "MOSHI_JSON")]
    json: Option<PathBuf>,
}

const WARM_UP: usize = 10;
/// Reads of the machine's memory, spread over the run.
const PROBES: usize = 9;

/// Measures and prints.
///
/// # Errors
/// When the model cannot be loaded or run, or the report cannot be written.
pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let spec = ModelSpec {
        source: ModelSource::parse(&args.model).map_err(anyhow::Error::msg)?,
        device: Some(args.device.clone()),
        dtype: args.dtype.clone(),
        quantize: args.quantize,
        threads: args.threads,
        ..ModelSpec::default()
    };
    let start = Instant::now();
    let loaded = model::load(&spec)?.model;
    let mut rows = loaded.new_rows(args.rows.get())?;
    let load_s = start.elapsed().as_secs_f64();
    let info = loaded.info();
    let threads = NonZeroUsize::new(info.threads).unwrap_or(NonZeroUsize::MIN);
    let (steps, reads) = measure(&mut *rows, args, threads)?;
    let report = BenchReport {
        model: info.source.clone(),
        executor: info.executor.clone(),
        rows: args.rows.get(),
        threads: threads.get(),
        frames: args.frames.get(),
        machine_gbps: Percentiles::of(reads).p50,
        weight_bytes: info.weight_bytes,
        step_ms: Percentiles::of(steps),
        bandwidth_share: 0.0,
        real_time_factor: 0.0,
        load_s,
        rss_bytes: resident_bytes(),
    }
    .derive();
    super::say(&report.to_string())?;
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Times of the steps in milliseconds, and plain reads of memory in GB/s between them.
fn measure(
    model: &mut dyn FrameModel,
    args: &BenchArgs,
    threads: NonZeroUsize,
) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let count = args.rows.get();
    let params = SessionParams::default();
    (0..count).try_for_each(|row| model.open(row, &SessionParams { seed: row as u64, ..params }))?;
    let heard: Vec<f32> = (0..FRAME_SAMPLES).map(|i| 0.1 * (i as f32 * 0.05).sin()).collect();
    let mut said = vec![0.0; count * FRAME_SAMPLES];
    let mut step = || -> anyhow::Result<f64> {
        let mut steps: Vec<RowStep<'_>> = said
            .chunks_exact_mut(FRAME_SAMPLES)
            .enumerate()
            .map(|(row, pcm_out)| RowStep { row, pcm_in: &heard, pcm_out, output: RowOutput::default() })
            .collect();
        let start = Instant::now();
        model.step(&mut steps)?;
        Ok(1e3 * start.elapsed().as_secs_f64())
    };
    let probe = BandwidthProbe::new(threads);
    for _ in 0..WARM_UP {
        step()?;
    }
    let every = args.frames.get().div_ceil(PROBES);
    let (mut times, mut reads) = (Vec::with_capacity(args.frames.get()), Vec::with_capacity(PROBES));
    for frame in 0..args.frames.get() {
        if frame % every == 0 {
            reads.push(probe.measure());
            step()?; // the probe emptied the caches; the step after it is not a step in a conversation
        }
        times.push(step()?);
    }
    Ok((times, reads))
}
