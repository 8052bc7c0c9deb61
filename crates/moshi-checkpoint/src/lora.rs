//! Low-rank adapters: W + scaling * (B A), merged when a matrix is asked for, or kept apart from a quantized W.
//!
//! The published fine-tuning code writes `<linear>.lora_A.weight` [r, in] and `<linear>.lora_B.weight` [out, r], and
//! whole tensors for what was trained in full (embeddings). The scaling is not divided by r. The merged matrix is in
//! single precision: rounding it to what the file holds would lose a part of a small adapter. For the same reason a
//! quantized matrix stays as it is, and its adapter is a product of its own in every step.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use moshi_nn::LowRankPair;
use moshi_tensor::weight::HostWeight;

use crate::config::LoraConfig;
use crate::entry::{Adapter, Entry};
use crate::error::some_of;
use crate::file::TensorFile;
use crate::layouts::{self, Place};
use crate::names::TensorSpec;
use crate::quantize::Part;
use crate::tensors::Tensors;
use crate::{Error, Result};

impl Tensors {
    /// Puts the adapter in `file` on the tensors `specs`, each of which `self` has.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::NoTensor`] for halves that do not fit, [`Error::Layout`] for a quantized table,
    /// [`Error::Format`] when a tensor of the adapter belongs to nothing.
    pub(crate) fn adapt(&mut self, file: TensorFile, lora: &LoraConfig, specs: &[TensorSpec]) -> Result<()> {
        let index = self.add_file(file);
        let Given { mut whole, pairs } = self.given(index, lora, specs)?;
        for (name, adapter) in pairs {
            let base = self.base(&name)?.clone();
            whole.push((name, Entry { adapter: Some(Box::new(adapter)), ..base }));
        }
        Arc::make_mut(&mut self.entries).extend(whole);
        Ok(())
    }

    /// What the adapter in file `index` holds for the tensors `specs`.
    ///
    /// # Errors
    /// As [`Tensors::adapt`].
    pub(crate) fn given(&self, index: usize, lora: &LoraConfig, specs: &[TensorSpec]) -> Result<Given> {
        let entries = self.raw_entries(index);
        let has = |name: &str| entries.contains_key(name);
        let mut used = BTreeSet::new();
        let mut given = Given::default();
        for spec in specs {
            if let Some(place) = layouts::place_adapter(spec, &has) {
                let whole = entries.get(&place.entry).ok_or_else(|| self.no_tensor(index, &place.entry))?;
                given.whole.push((spec.name.clone(), self.cut(whole, spec, &place)?));
                used.insert(place.entry);
            }
            let Some(place) = layouts::place_adapter(spec, &|name| halves(name).is_some_and(|(a, _)| has(&a))) else {
                continue;
            };
            let Some((a, b)) = halves(&place.entry) else { continue };
            let half = |name: &str| entries.get(name).ok_or_else(|| self.no_tensor(index, name));
            given.pairs.push((spec.name.clone(), self.adapter(spec, lora, &place, (half(&a)?, half(&b)?))?));
            used.extend([a, b]);
        }
        let unused: Vec<_> = entries.keys().filter(|n| !used.contains(*n)).cloned().collect();
        if used.is_empty() || !unused.is_empty() {
            let path = self.file_path(index);
            let found = format!("{} tensors that belong to none of its layers: {}", unused.len(), some_of(&unused));
            return Err(Error::Format { path, expected: "a LoRA adapter of this model", found });
        }
        Ok(given)
    }

    /// The entry that is adapted, unless it is a quantized table, whose adapter could be neither merged nor multiplied.
    fn base(&self, name: &str) -> Result<&Entry> {
        let base = self.need(name)?;
        if !base.raw.number.is_quantized() || !is_table(name) {
            return Ok(base);
        }
        Err(Error::Layout {
            path: self.path_of(base),
            layout: format!("the quantized table {name:?} ({}) of a LoRA adapter", base.raw.number),
            advice: "name its bf16 file as \"moshi_name\"".to_owned(),
        })
    }

    /// What is to be added to a quantized matrix; `None` where there is no adapter, or [`Tensors::matrix`] has merged it.
    ///
    /// # Errors
    /// [`Error::NoTensor`], [`Error::Dtype`].
    pub fn low_rank(&self, name: &str) -> Result<Option<LowRankPair<'_>>> {
        let entry = self.need(name)?;
        let Some(adapter) = entry.adapter.as_ref().filter(|_| entry.raw.number.is_quantized()) else {
            return Ok(None);
        };
        self.pair(adapter).map(Some)
    }

    /// The two halves, the factor in the second.
    pub(crate) fn pair(&self, adapter: &Adapter) -> Result<LowRankPair<'static>> {
        let (a, b) = (self.floats(&adapter.a)?, self.floats(&adapter.b)?);
        let up: Vec<f32> = b.iter().map(|b| adapter.scaling * b).collect();
        let (rank, down) = (adapter.rank, a.into_owned());
        Ok(LowRankPair {
            down: HostWeight::from_f32(rank, down.len() / rank.max(1), down)?,
            up: HostWeight::from_f32(up.len() / rank.max(1), rank, up)?,
        })
    }

    fn adapter(
        &self,
        spec: &TensorSpec,
        lora: &LoraConfig,
        place: &Place,
        (a, b): (&Entry, &Entry),
    ) -> Result<Adapter> {
        let (rows, cols) = (spec.shape.first().copied().unwrap_or(1), spec.shape.iter().skip(1).product());
        if a.raw.shape != [lora.rank, cols] {
            return Err(self.wrong_shape(a, &[lora.rank, cols]));
        }
        let b_spec = TensorSpec { name: b.name.clone(), shape: vec![rows, lora.rank], sets: spec.sets };
        let b = self.cut(b, &b_spec, &Place { entry: b.name.clone(), rows: place.rows.clone() })?;
        Ok(Adapter { a: a.clone(), b, rank: lora.rank, scaling: lora.scaling })
    }

    /// `weight` with its adapter added.
    pub(crate) fn merge(&self, weight: &HostWeight<'_>, adapter: &Adapter) -> Result<HostWeight<'static>> {
        let (rows, cols, rank) = (weight.rows(), weight.cols(), adapter.rank);
        let (a, b) = (self.floats(&adapter.a)?, self.floats(&adapter.b)?);
        let mut merged = weight.to_f32()?;
        if rank * cols > 0 {
            let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
            let part = rows.div_ceil(workers).max(1);
            std::thread::scope(|scope| {
                for (w, b) in merged.chunks_mut(part * cols).zip(b.chunks(part * rank)) {
                    scope.spawn(|| add_scaled_product(w, b, &a, (rank, cols), adapter.scaling));
                }
            });
        }
        Ok(HostWeight::from_f32(rows, cols, merged)?)
    }
}

/// What an adapter's file holds for a model, by canonical names.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// Tensors that replace those of the model.
    pub(crate) whole: Vec<(String, Entry)>,
    /// What is added to matrices.
    pub(crate) pairs: Vec<(String, Adapter)>,
}

/// Whether this is an embedding table, from which rows are taken and never a product.
pub(crate) fn is_table(name: &str) -> bool {
    Part::of(name) == Part::Embedding && !name.contains("low_rank")
}

/// The adapter of a weight: names of A and B.
fn halves(name: &str) -> Option<(String, String)> {
    let stem = name.strip_suffix(".weight")?;
    Some((format!("{stem}.lora_A.weight"), format!("{stem}.lora_B.weight")))
}

/// `w [rows, cols] += scaling * (b [rows, rank] a [rank, cols])`; a row's bits do not depend on who adds it.
fn add_scaled_product(w: &mut [f32], b: &[f32], a: &[f32], (rank, cols): (usize, usize), scaling: f32) {
    let mut delta = vec![0.0; cols];
    for (w, b) in w.chunks_exact_mut(cols).zip(b.chunks_exact(rank)) {
        delta.fill(0.0);
        for (b, a) in b.iter().zip(a.chunks_exact(cols)) {
            delta.iter_mut().zip(a).for_each(|(delta, a)| *delta += b * a);
        }
        w.iter_mut().zip(&delta).for_each(|(w, delta)| *w += scaling * delta);
    }
}
