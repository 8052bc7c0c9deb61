//! Where layers get their weights from, without knowing any file format.
//!
//! Names are the canonical ones (those of the newest PyTorch checkpoints, see `moshi-checkpoint`), whatever the file at
//! hand calls its tensors.

use std::any::Any;
use std::sync::Arc;

use moshi_tensor::weight::HostWeight;

use crate::backend::Precision;
use crate::{Backend, Error, LaidOut, LowRankPair, Result};

/// Named tensors, as a checkpoint holds them.
///
/// An implementation wraps its own errors with [`Error::source`]; they should name the tensor and the file, and what
/// was expected and found.
pub trait WeightSource {
    /// The shape of a tensor, or `None` when there is none of that name.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// A weight matrix `[rows, cols]`, possibly in a quantized or half format.
    ///
    /// A tensor of more dimensions is taken as a matrix of its first dimension by all others: a convolution's
    /// `[c_out, c_in, k]` is `rows = c_out`, `cols = c_in * k`.
    ///
    /// # Errors
    /// [`Error::Source`] when there is no such tensor, or it has another shape or an unusable number format.
    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<HostWeight<'_>>;

    /// A tensor of exactly this shape, as single precision, row-major.
    ///
    /// # Errors
    /// As [`WeightSource::matrix`].
    fn vector(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>>;

    /// How much layers that are made of it may round.
    fn precision(&self) -> Precision {
        Precision::Exact
    }

    /// Whether there is a tensor of that name.
    fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// What is to be added to the matrix `name` `[rows, cols]` at run time, where it could not be merged without rounding
    /// the matrix once more: an adapter of a quantized checkpoint.
    ///
    /// # Errors
    /// As [`WeightSource::matrix`].
    fn low_rank(&self, name: &str, rows: usize, cols: usize) -> Result<Option<LowRankPair<'_>>> {
        let _ = (name, rows, cols);
        Ok(None)
    }

    /// What each of several adapters adds to the matrix `name` `[rows, cols]`, by the number that a row of a step has in
    /// [`Step::adapters`](crate::layers::Step::adapters): of a source without any, number 0 is [`WeightSource::low_rank`].
    ///
    /// # Errors
    /// As [`WeightSource::matrix`].
    fn low_ranks(&self, name: &str, rows: usize, cols: usize) -> Result<Vec<Option<LowRankPair<'_>>>> {
        Ok(vec![self.low_rank(name, rows, cols)?])
    }

    /// What each of several adapters puts in the place of the embedding table `name` `[rows, cols]`, by the same numbers;
    /// `None` where the table stays, and for all numbers that are left out.
    ///
    /// # Errors
    /// As [`WeightSource::matrix`].
    fn tables(&self, name: &str, rows: usize, cols: usize) -> Result<Vec<Option<HostWeight<'_>>>> {
        let _ = (name, rows, cols);
        Ok(Vec::new())
    }
}

/// A source whose layers round as they are told.
pub struct Rounded<'a> {
    source: &'a dyn WeightSource,
    precision: Precision,
}

impl<'a> Rounded<'a> {
    /// The tensors of `source`, for layers of this precision.
    pub fn new(source: &'a dyn WeightSource, precision: Precision) -> Self {
        Self { source, precision }
    }
}

impl WeightSource for Rounded<'_> {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.source.shape(name)
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<HostWeight<'_>> {
        self.source.matrix(name, rows, cols)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.source.vector(name, shape)
    }

    fn has(&self, name: &str) -> bool {
        self.source.has(name)
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn low_rank(&self, name: &str, rows: usize, cols: usize) -> Result<Option<LowRankPair<'_>>> {
        self.source.low_rank(name, rows, cols)
    }

    fn low_ranks(&self, name: &str, rows: usize, cols: usize) -> Result<Vec<Option<LowRankPair<'_>>>> {
        self.source.low_ranks(name, rows, cols)
    }

    fn tables(&self, name: &str, rows: usize, cols: usize) -> Result<Vec<Option<HostWeight<'_>>>> {
        self.source.tables(name, rows, cols)
    }
}

impl Error {
    /// Wraps the error of an executor.
    pub fn device(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Device(Box::new(error))
    }

    /// Wraps the error of a [`WeightSource`].
    pub fn source(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Source(Box::new(error))
    }
}

/// A source seen under a common beginning of its names: `At::new(src, "encoder.model.0")`.
#[derive(Clone)]
pub struct At<'a> {
    source: &'a dyn WeightSource,
    prefix: String,
    /// A [`LaidOut`] of the executor that loads.
    laid_out: Option<&'a (dyn Any + Send + Sync)>,
    precision: Precision,
}

impl<'a> At<'a> {
    /// `source` under `prefix`; an empty prefix is the source itself.
    pub fn new(source: &'a dyn WeightSource, prefix: impl Into<String>) -> Self {
        Self { source, prefix: prefix.into(), laid_out: None, precision: source.precision() }
    }

    /// The same, for an executor whose matrices and tables are kept in `laid_out`, and taken from there where they are.
    pub fn keeping<B: Backend>(self, laid_out: &'a LaidOut<B>) -> Self {
        Self { laid_out: Some(laid_out), ..self }
    }

    /// The matrix `name` as the executor holds it, from `lay_out` where it was not kept.
    ///
    /// # Errors
    /// Those of `lay_out`.
    pub fn laid_out_matrix<B: Backend>(
        &self,
        name: &str,
        lay_out: impl FnOnce() -> Result<B::Matrix>,
    ) -> Result<Arc<B::Matrix>> {
        match self.kept::<B>() {
            Some(kept) => kept.matrix(self.name(name), lay_out),
            None => lay_out().map(Arc::new),
        }
    }

    /// The embedding table `name` as the executor holds it, from `lay_out` where it was not kept.
    ///
    /// # Errors
    /// Those of `lay_out`.
    pub fn laid_out_table<B: Backend>(
        &self,
        name: &str,
        lay_out: impl FnOnce() -> Result<B::Table>,
    ) -> Result<Arc<B::Table>> {
        match self.kept::<B>() {
            Some(kept) => kept.table(self.name(name), lay_out),
            None => lay_out().map(Arc::new),
        }
    }

    fn kept<B: Backend>(&self) -> Option<&'a LaidOut<B>> {
        self.laid_out?.downcast_ref()
    }

    /// How much the layers here may round.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The same for layers whose output is only heard, never chosen from.
    #[must_use]
    pub fn of_sound(self) -> Self {
        Self { precision: self.precision.of_sound(), ..self }
    }

    /// One level further down.
    pub fn at(&self, name: impl std::fmt::Display) -> At<'a> {
        At { prefix: self.name(&name.to_string()), ..*self }
    }

    /// The full name of `name` in the source.
    pub fn name(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.source.has(&self.name(name))
    }

    /// [`WeightSource::shape`] below the prefix.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.source.shape(&self.name(name))
    }

    /// [`WeightSource::matrix`] below the prefix.
    ///
    /// # Errors
    /// Those of the source.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<HostWeight<'a>> {
        self.source.matrix(&self.name(name), rows, cols)
    }

    /// [`WeightSource::low_rank`] below the prefix.
    ///
    /// # Errors
    /// Those of the source.
    pub fn low_rank(&self, name: &str, rows: usize, cols: usize) -> Result<Option<LowRankPair<'a>>> {
        self.source.low_rank(&self.name(name), rows, cols)
    }

    /// [`WeightSource::low_ranks`] below the prefix; empty where no adapter adds anything.
    ///
    /// # Errors
    /// Those of the source.
    pub fn low_ranks(&self, name: &str, rows: usize, cols: usize) -> Result<Vec<Option<LowRankPair<'a>>>> {
        let pairs = self.source.low_ranks(&self.name(name), rows, cols)?;
        Ok(if pairs.iter().any(Option::is_some) { pairs } else { Vec::new() })
    }

    /// [`WeightSource::tables`] below the prefix; empty where every adapter leaves the table.
    ///
    /// # Errors
    /// Those of the source.
    pub fn tables(&self, name: &str, rows: usize, cols: usize) -> Result<Vec<Option<HostWeight<'a>>>> {
        let tables = self.source.tables(&self.name(name), rows, cols)?;
        Ok(if tables.iter().any(Option::is_some) { tables } else { Vec::new() })
    }

    /// [`WeightSource::vector`] below the prefix.
    ///
    /// # Errors
    /// Those of the source.
    pub fn vector(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.source.vector(&self.name(name), shape)
    }
}
