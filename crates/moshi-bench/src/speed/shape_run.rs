//! How fast a model of a published size is, with random weights.

use std::num::NonZeroUsize;

use moshi_cpu::arithmetic::Operands;
use moshi_cpu::cores::Cores;
use moshi_cpu::isa::Isa;
use moshi_engine::EngineError;
use moshi_model::{Device, OnExecutor, on_device};
use moshi_nn::Backend;

use super::machine::MachineProbe;
use super::measure::measure;
use super::report::{ArithmeticReport, BenchReport};
use super::shape::Plan;
use super::shape_model::ShapeModel;
use crate::{Error, Result};

/// How a shape is measured.
#[derive(Debug, Clone)]
pub struct ShapeRun {
    /// The model.
    pub plan: Plan,
    /// Where it runs.
    pub device: Device,
    /// Round nothing for speed.
    pub exact: bool,
    /// Instruction set; none is the best of this machine.
    pub isa: Option<String>,
    /// Threads per step; none is one for each core.
    pub threads: Option<NonZeroUsize>,
    /// Frames to measure, after some that are not.
    pub frames: NonZeroUsize,
    /// Also tell where the time goes.
    pub parts: bool,
}

/// Measures a shape.
///
/// # Errors
/// [`Error::Isa`], [`Error::Memory`], and what the executor says, also when there is none for the device.
pub fn of_shape(run: &ShapeRun) -> Result<BenchReport> {
    let threads = run.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let cores = cores(run.isa.as_deref(), threads)?;
    on_device(run.device, cores.clone(), OfShape { run, cores: &cores })?
}

fn cores(isa: Option<&str>, threads: NonZeroUsize) -> Result<Cores> {
    let Some(name) = isa else { return Ok(Cores::new(threads)) };
    let unknown = || {
        let available = Isa::available().map(Isa::name).collect::<Vec<_>>().join(", ");
        Error::Isa { name: name.to_owned(), available }
    };
    let isa = Isa::available().find(|isa| isa.name() == name).ok_or_else(unknown)?;
    Cores::with_isa(isa, threads).map_err(|_| unknown())
}

/// A shape to measure.
struct OfShape<'a> {
    run: &'a ShapeRun,
    cores: &'a Cores,
}

impl OnExecutor for OfShape<'_> {
    type Output = Result<BenchReport>;

    fn run<B: Backend>(self, executor: B) -> Result<Self::Output, EngineError> {
        Ok(self.on(executor))
    }
}

impl OfShape<'_> {
    fn on<B: Backend>(self, executor: B) -> Result<BenchReport> {
        let (run, plan) = (self.run, &self.run.plan);
        let name = executor.name().to_owned();
        let mut model = ShapeModel::new(executor, plan, run.exact)?;
        let in_f32 = run.exact || run.device == Device::Reference;
        let operands = if in_f32 { Operands::Singles } else { plan.operands() };
        let probe = MachineProbe::new(self.cores, operands);
        let measured = measure(run.frames.get(), &probe, &mut |counts| model.step(counts))?;
        drop(probe);
        let machine_gmacs = measured.median(|machine| machine.gmacs);
        let codec = if plan.with_codec { " with codec" } else { "" };
        Ok(BenchReport {
            model: format!("{} {}{codec}, random weights", plan.shape.name(), plan.numbers.name()),
            executor: name,
            weight_bytes: model.weight_bytes(),
            state_bytes: Some(model.state_bytes()),
            arithmetic: plan.multiply_adds().map(|multiply_adds| ArithmeticReport {
                multiply_adds,
                machine_gmacs,
                share: 0.0,
            }),
            parts_ms: run.parts.then(|| model.parts()),
            ..BenchReport::of(&measured, plan.rows, self.cores, model.load_s)
        }
        .derive())
    }
}
