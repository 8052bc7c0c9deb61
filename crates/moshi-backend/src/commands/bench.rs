//! `moshi-backend bench`: a whole model on this machine, beside the machine's own memory bandwidth and arithmetic.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use moshi_checkpoint::Numbers;
use moshi_cpu::arithmetic::Operands;
use moshi_cpu::cores::Cores;
use moshi_cpu::isa::Isa;
use moshi_engine::{FRAME_SAMPLES, FrameModel, RowOutput, RowStep, SessionParams};
use moshi_model::{Device, Executors, OnExecutors, Wanted, on_device};
use moshi_nn::Backend;

use crate::bench::{
    ArithmeticReport, BenchReport, Machine, MachineProbe, Measured, Percentiles, Plan, Shape, ShapeModel,
    available_bytes, measure, resident_bytes,
};
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
        None => of_model(args)?,
        Some(shape) => of_shape(args, shape)?,
    };
    super::say(&report.to_string())?;
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn of_model(args: &BenchArgs) -> anyhow::Result<BenchReport> {
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
    let mut rows = loaded.new_rows(args.rows.get())?;
    let load_s = start.elapsed().as_secs_f64();
    let info = loaded.info();
    let cores = Cores::new(NonZeroUsize::new(info.threads).unwrap_or(NonZeroUsize::MIN));
    let probe = MachineProbe::new(&cores, Operands::Singles);
    let measured = steps_of_model(&mut *rows, args, &probe)?;
    let state_bytes = rows.state_bytes();
    drop(probe);
    let base = report(args, &cores, measured, load_s);
    Ok(BenchReport {
        model: info.source.clone(),
        executor: info.executor.clone(),
        weight_bytes: info.weight_bytes,
        state_bytes: (state_bytes > 0).then_some(state_bytes),
        ..base
    }
    .derive())
}

fn median(measured: &Measured, of: impl Fn(&Machine) -> f64) -> f64 {
    Percentiles::of(measured.machine.iter().map(of).collect()).p50
}

/// What a report holds whatever was measured.
fn report(args: &BenchArgs, cores: &Cores, measured: Measured, load_s: f64) -> BenchReport {
    BenchReport {
        model: String::new(),
        executor: String::new(),
        isa: cores.isa().name().to_owned(),
        rows: args.rows.get(),
        threads: cores.threads(),
        frames: args.frames.get(),
        machine_gbps: median(&measured, |machine| machine.gbps),
        weight_bytes: 0,
        state_bytes: None,
        step_ms: Percentiles::of(measured.steps),
        bandwidth_share: 0.0,
        arithmetic: None,
        real_time_factor: 0.0,
        load_s,
        rss_bytes: resident_bytes(),
        parts_ms: None,
    }
}

fn steps_of_model(model: &mut dyn FrameModel, args: &BenchArgs, probe: &MachineProbe) -> anyhow::Result<Measured> {
    let count = args.rows.get();
    let params = SessionParams::default();
    (0..count).try_for_each(|row| model.open(row, &SessionParams { seed: row as u64, ..params }))?;
    let heard: Vec<f32> = (0..FRAME_SAMPLES).map(|i| 0.1 * (i as f32 * 0.05).sin()).collect();
    let mut said = vec![0.0; count * FRAME_SAMPLES];
    measure(args.frames.get(), probe, &mut |_| {
        let mut steps: Vec<RowStep<'_>> = said
            .chunks_exact_mut(FRAME_SAMPLES)
            .enumerate()
            .map(|(row, pcm_out)| RowStep { row, pcm_in: &heard, pcm_out, output: RowOutput::default() })
            .collect();
        model.step(&mut steps)?;
        match steps.iter_mut().find_map(|step| step.output.error.take()) {
            Some(why) => anyhow::bail!("the model failed: {why}"),
            None => Ok(()),
        }
    })
}

fn of_shape(args: &BenchArgs, shape: Shape) -> anyhow::Result<BenchReport> {
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let cores = match &args.isa {
        None => Cores::new(threads),
        Some(name) => {
            let names = || Isa::available().map(Isa::name).collect::<Vec<_>>().join(", ");
            let isa = Isa::available().find(|isa| isa.name() == name.as_str());
            Cores::with_isa(isa.with_context(|| format!("--isa {name}: this machine has {}", names()))?, threads)?
        }
    };
    let numbers = parsed(&args.quantize)?.unwrap_or(Numbers::Bf16);
    let plan = Plan { shape, numbers, with_codec: args.with_codec, rows: args.rows.get() };
    let device: Device = args.device.parse()?;
    let wanted = Wanted { device, cores: cores.clone(), exact: args.exact, exact_codec: args.exact };
    on_device(&wanted, OfShape { args, plan: &plan, cores: &cores })?
}

/// A shape to measure.
struct OfShape<'a> {
    args: &'a BenchArgs,
    plan: &'a Plan,
    cores: &'a Cores,
}

impl OnExecutors for OfShape<'_> {
    type Output = anyhow::Result<BenchReport>;

    fn run<B: Backend>(self, executors: Executors<B>) -> Result<Self::Output, moshi_engine::EngineError> {
        Ok(shape_on(executors, self.args, self.plan, self.cores))
    }
}

fn shape_on<B: Backend>(
    executors: Executors<B>,
    args: &BenchArgs,
    plan: &Plan,
    cores: &Cores,
) -> anyhow::Result<BenchReport> {
    let executor = executors.lm.name().to_owned();
    let mut model = ShapeModel::new((executors.lm, executors.codec), plan, |bytes| fits(plan, bytes))?;
    let in_f32 = args.exact || args.device == "reference";
    let operands = if in_f32 { Operands::Singles } else { plan.operands() };
    let probe = MachineProbe::new(cores, operands);
    let measured = measure(args.frames.get(), &probe, &mut |counts| model.step(counts))?;
    drop(probe);
    let machine_gmacs = median(&measured, |machine| machine.gmacs);
    let base = report(args, cores, measured, model.load_s);
    let codec = if plan.with_codec { " with codec" } else { "" };
    Ok(BenchReport {
        model: format!("{} {}{codec}, random weights", plan.shape.name(), plan.numbers.name()),
        executor,
        weight_bytes: model.weight_bytes(),
        state_bytes: Some(model.state_bytes()),
        arithmetic: plan.multiply_adds().map(|multiply_adds| ArithmeticReport {
            multiply_adds,
            machine_gmacs,
            share: 0.0,
        }),
        parts_ms: args.parts.then(|| model.parts()),
        ..base
    }
    .derive())
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(quantize: &Option<String>) -> anyhow::Result<Option<T>> {
    let parse = |name: &String| name.parse().map_err(|e| anyhow::anyhow!("--quantize: {e}"));
    quantize.as_ref().map(parse).transpose()
}

/// Refuses what would drive the machine out of memory.
fn fits(plan: &Plan, weights: u64) -> anyhow::Result<()> {
    let needed = weights + MachineProbe::BYTES as u64;
    match available_bytes() {
        Some(free) if free < needed => anyhow::bail!(
            "{} in {} needs about {:.1} GB of memory, {:.1} GB are free; choose a smaller shape or a narrower format",
            plan.shape.name(),
            plan.numbers.name(),
            needed as f64 / 1e9,
            free as f64 / 1e9
        ),
        _ => Ok(()),
    }
}
