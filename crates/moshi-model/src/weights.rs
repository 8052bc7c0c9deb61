//! Weights on their way from a file to an executor.

use std::cell::Cell;
use std::num::NonZeroUsize;

use moshi_checkpoint::Stop;
use moshi_checkpoint::quantize::Plan;
use moshi_nn::{HostWeight, LowRankPair, Precision, WeightData, WeightSource};

use crate::{Dtype, LoadOptions};

/// The loading was ended by [`LoadOptions::stop`].
#[derive(Debug, thiserror::Error)]
#[error("the loading was stopped")]
struct Stopped;

/// A source that converts matrices on the way and counts the bytes that a step will read.
pub(crate) struct Weights<'a> {
    inner: &'a dyn WeightSource,
    dtype: Option<Dtype>,
    quantize: Option<Plan>,
    precision: Precision,
    threads: NonZeroUsize,
    stop: Stop,
    pub(crate) read: Cell<u64>,
}

impl<'a> Weights<'a> {
    /// Those of a language model.
    pub(crate) fn of_lm(inner: &'a dyn WeightSource, options: &LoadOptions) -> Self {
        let precision = if options.exact { Precision::Exact } else { Precision::Fast };
        let (dtype, quantize) = (options.dtype, options.quantize.map(Plan::from));
        Self { dtype, quantize, ..Self::new(inner, options, precision) }
    }

    /// Those of a codec.
    pub(crate) fn of_codec(inner: &'a dyn WeightSource, options: &LoadOptions) -> Self {
        let exact = options.exact || options.dtype == Some(Dtype::F32);
        Self::new(inner, options, if exact { Precision::Exact } else { Precision::Fixed })
    }

    fn new(inner: &'a dyn WeightSource, options: &LoadOptions, precision: Precision) -> Self {
        let (threads, stop) = (options.threads.unwrap_or(NonZeroUsize::MIN), options.stop.clone());
        Self { inner, dtype: None, quantize: None, precision, threads, stop, read: Cell::new(0) }
    }

    /// Errs when the loading shall end.
    fn go_on(&self) -> moshi_nn::Result<()> {
        if self.stop.is_raised() { Err(moshi_nn::Error::source(Stopped)) } else { Ok(()) }
    }

    /// A matrix as the options want it. What the plan makes integers of is not rounded to the other format first.
    fn converted<'w>(&self, name: &str, weight: HostWeight<'w>) -> moshi_nn::Result<HostWeight<'w>> {
        let plan = self.quantize.filter(|plan| plan.scheme(name, weight.cols()).is_some());
        match (plan, self.dtype) {
            (Some(plan), _) => Ok(plan.apply(name, weight, self.threads)?),
            (None, Some(dtype)) => convert(&weight, dtype),
            (None, None) => Ok(weight),
        }
    }

    /// An embedding table is stored whole, and a step reads a few rows of it.
    fn count(&self, name: &str, bytes: usize) {
        if !name.split('.').any(|part| part.ends_with("emb")) {
            self.read.set(self.read.get() + bytes as u64);
        }
    }
}

impl WeightSource for Weights<'_> {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.inner.shape(name)
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<HostWeight<'_>> {
        self.go_on()?;
        let weight = self.inner.matrix(name, rows, cols)?;
        let weight = self.converted(name, weight)?;
        self.count(name, weight.bytes());
        Ok(weight)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> moshi_nn::Result<Vec<f32>> {
        self.go_on()?;
        let values = self.inner.vector(name, shape)?;
        self.count(name, 4 * values.len());
        Ok(values)
    }

    fn has(&self, name: &str) -> bool {
        self.inner.has(name)
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn low_rank(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<Option<LowRankPair<'_>>> {
        let pair = self.inner.low_rank(name, rows, cols)?;
        self.count(name, pair.as_ref().map_or(0, |pair| pair.down.bytes() + pair.up.bytes()));
        Ok(pair)
    }
}

fn convert(weight: &HostWeight<'_>, dtype: Dtype) -> moshi_nn::Result<HostWeight<'static>> {
    let values = weight.to_f32()?;
    let data = match dtype {
        Dtype::F32 => WeightData::F32(values.into()),
        Dtype::Bf16 => WeightData::Bf16(values.into_iter().map(half::bf16::from_f32).collect::<Vec<_>>().into()),
        Dtype::F16 => WeightData::F16(values.into_iter().map(half::f16::from_f32).collect::<Vec<_>>().into()),
    };
    Ok(HostWeight::new(weight.rows(), weight.cols(), data)?)
}
