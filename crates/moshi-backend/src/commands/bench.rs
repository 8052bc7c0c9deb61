//! `moshi-backend bench`: a whole model on this machine, beside the machine's own memory bandwidth and arithmetic.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use moshi_bench::speed::{BenchReport, Plan, Shape, ShapeRun, of_model, of_shape};
use moshi_checkpoint::Numbers;

use crate::cli::values;
use crate::config::{DEVICES, DTYPES, ModelSource, ModelSpec};
use crate::model;

/// Measure a model: time of a step, real-time factor, memory, and the share of the memory bandwidth that a step reaches.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A folder, file or repository (owner/name@revision); by default the built-in model.
    #[arg(short, long, env = "MOSHI_MODEL", default_value = "built-in")]
    model: String,
    /// Instead of a model, random weights of published sizes, made on the fly.
    #[arg(long, env = "MOSHI_SHAPE", value_enum)]
    shape: Option<Shape>,
    /// Make integers of a model's weights while loading: q8 or q4. For a shape the format of its random weights: f32,
    /// bf16 (the default), q8 (int8 rows), q8_0, q4 (groups of 32), mlx-q8 or mlx-q4.
    #[arg(long, env = "MOSHI_QUANTIZE")]
    quantize: Option<String>,
    /// Round nothing for speed: activations, keys and values in single precision.
    #[arg(long, env = "MOSHI_EXACT")]
    exact: bool,
    /// Let the language model of a shape hear and speak through the codec.
    #[arg(long, env = "MOSHI_WITH_CODEC", requires = "shape")]
    with_codec: bool,
    /// Also tell where the time of a shape's step goes.
    #[arg(long, env = "MOSHI_PARTS", requires = "shape")]
    parts: bool,
    /// Instruction set for a shape, such as avx2; by default the best of this machine.
    #[arg(long, env = "MOSHI_ISA", requires = "shape")]
    isa: Option<String>,
    /// Where it runs; shapes on auto, cpu or reference.
    #[arg(long, env = "MOSHI_DEVICE", default_value = "auto", value_parser = DEVICES)]
    device: String,
    /// Weights in memory; by default as the file holds them.
    #[arg(long, env = "MOSHI_DTYPE", conflicts_with = "shape", value_parser = DTYPES)]
    dtype: Option<String>,
    /// Sessions stepped together.
    #[arg(long, env = "MOSHI_ROWS", default_value = "1", value_parser = values::rows)]
    rows: NonZeroUsize,
    /// Threads per step; by default one for each core, or one where steps are small.
    #[arg(long, env = "MOSHI_THREADS", value_parser = values::threads)]
    threads: Option<NonZeroUsize>,
    /// Frames to measure, after some that are not.
    #[arg(long, env = "MOSHI_FRAMES", default_value = "100", value_parser = values::frames)]
    frames: NonZeroUsize,
    /// Also write the report as JSON.
    #[arg(long, env = "MOSHI_JSON")]
    json: Option<PathBuf>,
}

/// Measures and prints.
///
/// # Errors
/// When the model cannot be loaded or run, or the report cannot be written.
pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let report = match args.shape {
        None => model(args)?,
        Some(shape) => shaped(args, shape)?,
    };
    super::tell(&report, args.json.as_deref())
}

fn model(args: &BenchArgs) -> anyhow::Result<BenchReport> {
    let spec = ModelSpec {
        source: ModelSource::parse(&args.model).map_err(anyhow::Error::msg)?,
        device: Some(args.device.clone()),
        dtype: args.dtype.clone(),
        quantize: parsed(&args.quantize)?,
        exact: args.exact,
        threads: args.threads,
        ..ModelSpec::default()
    };
    let start = Instant::now();
    let loaded = model::load(&spec)?.model;
    Ok(of_model(&*loaded, start, args.rows, args.frames)?)
}

fn shaped(args: &BenchArgs, shape: Shape) -> anyhow::Result<BenchReport> {
    let numbers = parsed(&args.quantize)?.unwrap_or(Numbers::Bf16);
    Ok(of_shape(&ShapeRun {
        plan: Plan { shape, numbers, with_codec: args.with_codec, rows: args.rows.get() },
        device: args.device.parse()?,
        exact: args.exact,
        isa: args.isa.clone(),
        threads: args.threads,
        frames: args.frames,
        parts: args.parts,
    })?)
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(quantize: &Option<String>) -> anyhow::Result<Option<T>> {
    let parse = |name: &String| name.parse().map_err(|e| anyhow::anyhow!("--quantize: {e}"));
    quantize.as_ref().map(parse).transpose()
}
