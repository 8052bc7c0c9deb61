//! What a session is told beside its streams: who speaks, how well, in which voice.
//!
//! A model has conditioners (see [`ConditionerConfig`]); a session has values for some of them ([`ConditionValues`]). What
//! they come to is computed once ([`Lm::conditions`]) and given to any number of rows ([`Lm::set_conditions`]): a vector that
//! is added to the temporal input at every step, and a memory that every temporal layer attends to.
//!
//! [`Lm::conditions`]: crate::Lm::conditions
//! [`Lm::set_conditions`]: crate::Lm::set_conditions
//!
//! ```
//! use moshi_lm::{Lm, conditions::ConditionValues};
//! # fn tell(lm: &Lm<moshi_cpu::Cpu>) -> moshi_lm::Result<()> {
//! let mut state = lm.init_state(2)?;
//! let good = lm.conditions(&ConditionValues::new().text("description", "very_good"))?;
//! lm.set_conditions(&mut state, 1, &good)?;
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;

use moshi_checkpoint::config::{ConditionerConfig, ConditionerKind, LmConfig};
use moshi_nn::layers::{CrossMemory, Linear, Rows, Step, StreamState};
use moshi_nn::{At, Backend, Error, HostWeight, Precision};

use crate::{LmError, Result};

/// Places of a row's memory: the published voices, five of ten seconds with 12.5 vectors each.
pub const MEMORY_PLACES: usize = 625;

/// Vectors in time, of which some places may be empty: a voice.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    dim: usize,
    /// `[len, dim]`; an empty place holds zeros.
    values: Vec<f32>,
    /// `[len]`.
    given: Vec<bool>,
}

impl Sequence {
    /// Vectors of width `dim`, one after another: `[len, dim]`.
    ///
    /// # Errors
    /// [`LmError::Condition`] when they are no whole vectors.
    pub fn new(dim: usize, values: Vec<f32>) -> Result<Self> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            let found = format!("{} values for vectors of {dim}", values.len());
            return Err(LmError::Condition {
                name: "a sequence".to_owned(),
                found,
                expected: "whole vectors".to_owned(),
            });
        }
        Ok(Self { dim, given: vec![true; values.len() / dim], values })
    }

    /// Vectors of width `dim`, `values [len, dim]`, of which only those that are `given [len]` are there.
    ///
    /// # Errors
    /// [`LmError::Condition`] when there are not as many vectors as flags.
    pub fn masked(dim: usize, values: Vec<f32>, given: Vec<bool>) -> Result<Self> {
        let all = Self::new(dim, values)?;
        if all.len() == given.len() {
            return Ok(Self { given, ..all });
        }
        let (found, expected) = (format!("{} flags", given.len()), format!("one for each of {} vectors", all.len()));
        Err(LmError::Condition { name: "a sequence".to_owned(), found, expected })
    }

    /// `len` empty places for vectors of width `dim`. The model hears at each that nothing was given.
    pub fn absent(dim: usize, len: usize) -> Self {
        Self { dim, values: vec![0.0; len * dim], given: vec![false; len] }
    }

    /// The voices of a synthesis: each in a place of its own, in order, and as many places as the model knows speakers
    /// (5 in published models). Places without a voice are empty, as long as the others.
    ///
    /// # Errors
    /// [`LmError::Condition`] for more voices than places, none, or voices of different shapes.
    pub fn voices(voices: &[Self], places: usize) -> Result<Self> {
        let fail =
            |found: String, expected: String| Err(LmError::Condition { name: "voices".to_owned(), found, expected });
        let Some(first) = voices.first().filter(|_| voices.len() <= places) else {
            return fail(format!("{} voices", voices.len()), format!("1 to {places}"));
        };
        if let Some(other) = voices.iter().find(|voice| (voice.dim, voice.len()) != (first.dim, first.len())) {
            let shape = |voice: &Self| format!("{} vectors of {}", voice.len(), voice.dim);
            return fail(shape(other), format!("{}, as the first voice has", shape(first)));
        }
        let mut all = Self::absent(first.dim, places * first.len());
        for (place, voice) in voices.iter().enumerate() {
            let start = place * first.len();
            all.values[start * first.dim..(start + first.len()) * first.dim].copy_from_slice(&voice.values);
            all.given[start..start + first.len()].copy_from_slice(&voice.given);
        }
        Ok(all)
    }

    /// Its parts: the width of a vector, the vectors `[len, width]`, and which of them are there.
    pub fn into_parts(self) -> (usize, Vec<f32>, Vec<bool>) {
        (self.dim, self.values, self.given)
    }

    /// Number of vectors, empty places included.
    pub fn len(&self) -> usize {
        self.given.len()
    }

    /// Whether it has no place at all.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }
}

/// A value of a condition.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ConditionValue {
    /// One of the texts that the conditioner knows.
    Text(String),
    /// Vectors in time.
    Sequence(Sequence),
}

/// Values of a session's conditions by name. One that has none is heard as "not given".
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConditionValues(pub(crate) BTreeMap<String, ConditionValue>);

impl ConditionValues {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a text.
    #[must_use]
    pub fn text(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(name.into(), ConditionValue::Text(value.into()));
        self
    }

    /// With a sequence.
    #[must_use]
    pub fn sequence(mut self, name: impl Into<String>, value: Sequence) -> Self {
        self.0.insert(name.into(), ConditionValue::Sequence(value));
        self
    }
}

/// What the values of a session come to, before the layers have seen it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fused {
    /// `[dim]`, or empty where the model adds no condition: added to the temporal input.
    pub sum: Vec<f32>,
    /// `[len, dim]`: what the layers attend to, positions added.
    pub places: Vec<f32>,
}

/// What a session was told, ready for any row: [`Lm::set_conditions`](crate::Lm::set_conditions).
pub struct Conditions<B: Backend> {
    pub(crate) sum: Vec<f32>,
    pub(crate) memory: Option<CrossMemory<B>>,
}

/// The conditioners of a model.
pub(crate) struct Conditioners<B: Backend> {
    all: Vec<Conditioner<B>>,
    /// What is added for a session that was told nothing.
    pub(crate) absent: Vec<f32>,
}

struct Conditioner<B: Backend> {
    config: ConditionerConfig,
    /// `[bins + 1, dim]` of a table.
    table: Vec<f32>,
    projection: Linear<B>,
    /// What stands for a value that is not given, `[model dim]`.
    padding: Vec<f32>,
}

impl<B: Backend> Conditioners<B> {
    /// From `condition_provider.conditioners.{name}`.
    pub(crate) fn load(backend: &B, at: &At<'_>, config: &LmConfig) -> Result<Self> {
        let at = at.at("condition_provider").at("conditioners");
        let one = |c: &ConditionerConfig| Conditioner::load(backend, &at.at(&c.name), c, config.dim);
        let all = config.conditioners.iter().map(one).collect::<Result<_>>()?;
        let mut loaded = Self { all, absent: Vec::new() };
        loaded.absent = loaded.sum(backend, config, &ConditionValues::new())?;
        Ok(loaded)
    }

    /// The vectors `[len, dim]` of one condition.
    pub(crate) fn vectors(&self, backend: &B, name: &str, values: &ConditionValues) -> Result<Vec<f32>> {
        match self.all.iter().find(|one| one.config.name == name) {
            Some(one) => one.vectors(backend, values.0.get(name)),
            None => Ok(Vec::new()), // the configuration was checked
        }
    }

    pub(crate) fn sum(&self, backend: &B, config: &LmConfig, values: &ConditionValues) -> Result<Vec<f32>> {
        let mut sum = vec![0.0; if config.fuser.sum.is_empty() { 0 } else { config.dim }];
        for name in &config.fuser.sum {
            let vectors = self.vectors(backend, name, values)?;
            sum.iter_mut().zip(vectors).for_each(|(sum, x)| *sum += x);
        }
        Ok(sum)
    }
}

impl<B: Backend> Conditioner<B> {
    fn load(backend: &B, at: &At<'_>, config: &ConditionerConfig, dim: usize) -> Result<Self> {
        let table = match config.kind {
            ConditionerKind::Lut { bins, dim, .. } => at.vector("embed.weight", &[bins + 1, dim])?,
            _ => Vec::new(),
        };
        let weight = at.matrix("output_proj.weight", dim, config.dim())?;
        // In single precision whatever the file holds: a voice is projected once.
        let weight = HostWeight::from_f32(dim, config.dim(), weight.to_f32().map_err(Error::from)?);
        let projection = Linear::new(backend, &weight.map_err(Error::from)?, None, Precision::Exact)?;
        let padding = at.vector("learnt_padding", &[1, 1, dim])?;
        Ok(Self { config: config.clone(), table, projection, padding })
    }

    fn refused<T>(&self, found: String, expected: String) -> Result<T> {
        Err(LmError::Condition { name: self.config.name.clone(), found, expected })
    }

    pub(crate) fn vectors(&self, backend: &B, value: Option<&ConditionValue>) -> Result<Vec<f32>> {
        match (&self.config.kind, value) {
            (ConditionerKind::Lut { .. }, None) => Ok(self.padding.clone()),
            (ConditionerKind::Lut { dim, values, .. }, Some(ConditionValue::Text(text))) => {
                let Some(row) = values.iter().position(|known| known == text) else {
                    return self.refused(format!("{text:?}"), format!("one of {values:?}"));
                };
                self.project(backend, &self.table[row * dim..(row + 1) * dim])
            }
            (ConditionerKind::Tensor { .. }, None) => Ok(Vec::new()),
            (ConditionerKind::Tensor { dim }, Some(ConditionValue::Sequence(sequence))) => {
                if sequence.dim != *dim {
                    return self.refused(format!("vectors of {}", sequence.dim), format!("vectors of {dim}"));
                }
                let mut vectors = self.project(backend, &sequence.values)?;
                for (vector, given) in vectors.chunks_exact_mut(self.padding.len()).zip(&sequence.given) {
                    if !given {
                        vector.copy_from_slice(&self.padding);
                    }
                }
                Ok(vectors)
            }
            (ConditionerKind::Tensor { .. }, _) => self.refused("a text".to_owned(), "a sequence".to_owned()),
            (_, _) => self.refused("a sequence".to_owned(), "a text".to_owned()),
        }
    }

    /// `[len, inner]` to `[len, dim]`.
    fn project(&self, backend: &B, x: &[f32]) -> Result<Vec<f32>> {
        let len = x.len() / self.projection.inputs();
        let mut y = vec![0.0; len * self.projection.outputs()];
        if len > 0 {
            let mut rows = Rows::new(backend, 1, &[])?;
            rows.put(backend, &[true], len)?;
            let (mut from, mut to) = (backend.buf(x.len())?, backend.buf(y.len())?);
            backend.upload(x, &mut from)?;
            self.projection.step(Step::new(backend, &rows, len), &from, &mut to)?;
            backend.download(&to, &mut y)?;
        }
        Ok(y)
    }
}

/// Adds scale * [cos, sin] of the positions to `places [len, dim]`: all cosines first, and the exponent reaches 1 at the
/// last of them.
pub(crate) fn add_positions(places: &mut [f32], dim: usize, scale: f64) {
    let half = dim / 2;
    for (position, place) in places.chunks_exact_mut(dim).enumerate() {
        let (cos, sin) = place.split_at_mut(half);
        for (i, (cos, sin)) in cos.iter_mut().zip(sin).enumerate() {
            let angle = position as f64 / 10_000f64.powf(i as f64 / (half.max(2) - 1) as f64);
            *cos += (scale * angle.cos()) as f32;
            *sin += (scale * angle.sin()) as f32;
        }
    }
}

/// What each row adds to its temporal input at every step.
pub(crate) struct Told<B: Backend> {
    /// 0 where the model adds nothing.
    pub(crate) dim: usize,
    /// `[rows, dim]`.
    pub(crate) host: Vec<f32>,
    /// The same on the device.
    pub(crate) sums: Option<B::Buf>,
}

impl<B: Backend> Told<B> {
    /// What is added to a row's inputs; leaves `sum` as it is where that is nothing.
    pub(crate) fn copy_sum(&self, row: usize, sum: &mut [f32]) {
        if let Some(told) = self.host.get(row * self.dim..(row + 1) * self.dim).filter(|told| told.len() == sum.len()) {
            sum.copy_from_slice(told);
        }
    }

    pub(crate) fn set(&mut self, backend: &B, row: usize, sum: &[f32]) -> moshi_nn::Result<()> {
        let Some(sums) = &mut self.sums else { return Ok(()) };
        let found = self.host.len() / self.dim;
        let missing = Error::Shape { what: "row", expected: row + 1, found };
        let to = self.host.get_mut(row * self.dim..(row + 1) * self.dim).ok_or(missing)?;
        to.copy_from_slice(sum);
        backend.upload(&self.host, sums)
    }

    /// The same in every row.
    pub(crate) fn set_all(&mut self, backend: &B, conditions: &Conditions<B>) -> moshi_nn::Result<()> {
        let Some(sums) = &mut self.sums else { return Ok(()) };
        self.host.chunks_exact_mut(self.dim).for_each(|to| to.copy_from_slice(&conditions.sum));
        backend.upload(&self.host, sums)
    }
}

/// A reset leaves what a row was told before its first step.
impl<B: Backend> StreamState<B> for Told<B> {
    fn reset_row(&mut self, _: &B, _: usize) -> moshi_nn::Result<()> {
        Ok(())
    }

    fn copy_row(&mut self, backend: &B, row: usize, src: &Self, src_row: usize) -> moshi_nn::Result<()> {
        let found = src.host.len() / src.dim.max(1);
        match src.host.get(src_row * src.dim..(src_row + 1) * src.dim) {
            Some(sum) if src.dim == self.dim => self.set(backend, row, sum),
            _ => Err(Error::Shape { what: "source row", expected: src_row + 1, found }),
        }
    }
}
