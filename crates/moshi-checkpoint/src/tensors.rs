//! Named tensors, borrowed from mapped files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use moshi_nn::{LowRankPair, WeightSource};
use moshi_tensor::weight::HostWeight;

use crate::entry::{Entry, Scales};
use crate::error::some_of;
use crate::file::{RawTensor, TensorFile};
use crate::layouts::{Place, Placing};
use crate::names::TensorSpec;
use crate::{Error, Result};

/// A model's tensors under their canonical names, whatever the files call them.
///
/// Cheap to clone; the files stay mapped as long as a clone lives. Besides the canonical names, entries of the files
/// that are no part of the configured model can be had under their own names.
#[derive(Clone)]
pub struct Tensors {
    files: Vec<Arc<TensorFile>>,
    pub(crate) entries: Arc<BTreeMap<String, Entry>>,
}

impl fmt::Debug for Tensors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<_> = self.files.iter().map(|f| f.path()).collect();
        f.debug_struct("Tensors").field("files", &files).field("tensors", &self.entries.len()).finish()
    }
}

impl Tensors {
    /// Every entry of a safetensors file under its own name.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`].
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self::raw(vec![TensorFile::open(path)?]))
    }

    /// These entries of a file alone.
    pub(crate) fn of_file(self, entries: BTreeMap<String, Entry>) -> Self {
        Self { entries: Arc::new(entries), ..self }
    }

    pub(crate) fn raw(files: Vec<TensorFile>) -> Self {
        let mut this = Self { files: Vec::new(), entries: Arc::default() };
        let mut entries = BTreeMap::new();
        for file in files {
            let index = this.add_file(file);
            entries.extend(this.raw_entries(index));
        }
        Self { entries: Arc::new(entries), ..this }
    }

    /// Keeps one more file mapped; returns its index.
    pub(crate) fn add_file(&mut self, file: TensorFile) -> usize {
        self.files.push(Arc::new(file));
        self.files.len() - 1
    }

    /// The entries of a file under their own names.
    pub(crate) fn raw_entries(&self, file: usize) -> BTreeMap<String, Entry> {
        let tensors = self.files.get(file).into_iter().flat_map(|f| f.tensors());
        let entry = |(name, raw): (&String, &RawTensor)| {
            let entry = Entry { file, name: name.clone(), raw: raw.clone(), scales: Scales::None, adapter: None };
            (name.clone(), entry)
        };
        tensors.map(entry).collect()
    }

    /// The tensors `specs` out of `files`, where `place` says they are. Checks that all are there and have the right
    /// shape. Returns warnings about entries that the model does not use, but for those that `copies` names.
    pub(crate) fn resolve(
        files: Vec<TensorFile>,
        specs: &[TensorSpec],
        place: Placing<'_>,
        copies: &dyn Fn(&str) -> bool,
    ) -> Result<(Self, Vec<String>)> {
        let raw = Self::raw(files);
        let has = |name: &str| raw.entries.contains_key(name);
        let (mut entries, mut missing, mut used) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        for spec in specs {
            match place(spec, &has).and_then(|p| raw.entries.get(&p.entry).map(|e| (p, e))) {
                Some((place, entry)) => {
                    let entry = raw.cut(entry, spec, &place)?;
                    used.insert(place.entry);
                    used.extend(entry.scales.entries().map(|e| e.name.clone()));
                    entries.insert(spec.name.clone(), entry);
                }
                None if spec.is_optional() => {}
                None => missing.push(spec.name.clone()),
            }
        }
        if !missing.is_empty() {
            let (count, needed) = (missing.len(), specs.len());
            return Err(Error::MissingTensors { path: raw.first_path(), count, needed, names: some_of(&missing) });
        }
        let unused = raw.entries.iter().filter(|(n, _)| !used.contains(*n));
        let unused: Vec<_> = unused.map(|(n, e)| (n.clone(), e.clone())).collect();
        let names: Vec<_> = unused.iter().map(|(n, _)| n.clone()).filter(|n| !copies(n)).collect();
        let warning =
            format!("{}: {} tensors are not used: {}", raw.first_path().display(), names.len(), some_of(&names));
        entries.extend(unused);
        let warnings = if names.is_empty() { Vec::new() } else { vec![warning] };
        Ok((Self { files: raw.files, entries: Arc::new(entries) }, warnings))
    }

    /// The part of `entry` that `place` names, with its scales, checked against `spec`.
    pub(crate) fn cut(&self, entry: &Entry, spec: &TensorSpec, place: &Place) -> Result<Entry> {
        let mut entry = self.with_scales(entry, spec.shape.iter().skip(1).product())?;
        let Some((rows, total)) = &place.rows else {
            let right = same(&entry.raw.shape, &spec.shape);
            return if right { Ok(entry) } else { Err(self.wrong_shape(&entry, &spec.shape)) };
        };
        let mut stacked = spec.shape.clone();
        if let Some(first) = stacked.first_mut() {
            *first = *total;
        }
        if entry.raw.shape != stacked || rows.end > *total {
            return Err(self.wrong_shape(&entry, &stacked));
        }
        entry.raw = entry.raw.rows(rows.clone());
        entry.scales = entry.scales.map(|e| Entry { raw: e.raw.rows(rows.clone()), ..e.clone() });
        Ok(entry)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether there is a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.find(name).map(|e| e.raw.shape.as_slice())
    }

    /// The number format of a tensor in its file, as safetensors spells it (`BF16`), or GGUF (`Q8_0`).
    pub fn dtype(&self, name: &str) -> Option<String> {
        self.find(name).map(|e| e.raw.number.to_string())
    }

    /// Whether a tensor is stored as integers with scales.
    pub(crate) fn is_quantized(&self, name: &str) -> bool {
        self.find(name).is_some_and(|e| e.raw.number.is_quantized())
    }

    /// The bytes of a tensor as the file holds them (little-endian, row-major).
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.find(name).map(|e| self.bytes_of(e))
    }

    /// The files that the tensors come from.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|f| f.path())
    }

    /// The `__metadata__` of the first file.
    pub fn metadata(&self) -> Option<&BTreeMap<String, String>> {
        self.files.first().map(|f| f.metadata())
    }

    /// A matrix `[rows, cols]` in the file's number format, borrowed where the file's alignment allows; with an adapter
    /// merged into it, single precision. The adapter of a quantized matrix is kept apart: see [`Tensors::low_rank`]. A tensor of more dimensions is taken as its first dimension by all others.
    ///
    /// # Errors
    /// [`Error::NoTensor`], [`Error::Shape`], [`Error::Dtype`].
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<HostWeight<'_>> {
        let entry = self.need(name)?;
        let shape = &entry.raw.shape;
        let rest = shape.iter().skip(1).try_fold(1usize, |a, b| a.checked_mul(*b));
        if shape.first() != Some(&rows) || rest != Some(cols) {
            return Err(self.wrong_shape(entry, &[rows, cols]));
        }
        let weight = HostWeight::new(rows, cols, self.data(entry)?)?;
        match &entry.adapter {
            Some(adapter) if !entry.raw.number.is_quantized() => self.merge(&weight, adapter),
            _ => Ok(weight),
        }
    }

    /// A tensor of exactly this shape as single precision; dimensions of 1 do not count, so that `[1, 1, dim]` serves
    /// as `[dim]`.
    ///
    /// # Errors
    /// As [`Tensors::matrix`].
    pub fn vector(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let entry = self.need(name)?;
        if !same(&entry.raw.shape, shape) {
            return Err(self.wrong_shape(entry, shape));
        }
        let rows = entry.raw.shape.first().copied().unwrap_or(1);
        let cols = entry.raw.shape.iter().skip(1).product();
        Ok(self.merged(entry, rows, cols)?.to_f32()?)
    }

    /// An entry with its adapter, whatever its format.
    pub(crate) fn merged(&self, entry: &Entry, rows: usize, cols: usize) -> Result<HostWeight<'_>> {
        let weight = HostWeight::new(rows, cols, self.data(entry)?)?;
        match &entry.adapter {
            Some(adapter) => self.merge(&weight, adapter),
            None => Ok(weight),
        }
    }

    fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name).or_else(|| self.entries.get(&self.other_spelling(name)?))
    }

    /// The canonical name of an attention projection in its older spelling, where there is one weight set.
    fn other_spelling(&self, name: &str) -> Option<String> {
        let (stem, list) = [("in_proj_weight", "in_projs"), ("out_proj.weight", "out_projs")]
            .into_iter()
            .find_map(|(old, list)| Some((name.strip_suffix(old)?, list)))?;
        let several = self.entries.contains_key(&format!("{stem}{list}.1.weight"));
        (!several).then(|| format!("{stem}{list}.0.weight"))
    }

    pub(crate) fn need(&self, name: &str) -> Result<&Entry> {
        self.find(name).ok_or_else(|| Error::NoTensor { path: self.first_path(), name: name.to_owned() })
    }

    /// An entry under the name that it has in its file, while nothing else is known of it.
    pub(crate) fn raw_entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    pub(crate) fn no_tensor(&self, file: usize, name: &str) -> Error {
        Error::NoTensor { path: self.file_path(file), name: name.to_owned() }
    }

    pub(crate) fn first_path(&self) -> PathBuf {
        self.file_path(0)
    }

    pub(crate) fn path_of(&self, entry: &Entry) -> PathBuf {
        self.file_path(entry.file)
    }

    pub(crate) fn file_path(&self, file: usize) -> PathBuf {
        self.files.get(file).map(|f| f.path().to_path_buf()).unwrap_or_default()
    }

    pub(crate) fn wrong_shape(&self, entry: &Entry, expected: &[usize]) -> Error {
        Error::Shape {
            path: self.path_of(entry),
            name: entry.name.clone(),
            expected: expected.to_vec(),
            found: entry.raw.shape.clone(),
        }
    }

    pub(crate) fn wrong_dtype(&self, entry: &Entry) -> Error {
        Error::Dtype { path: self.path_of(entry), name: entry.name.clone(), found: entry.raw.number.to_string() }
    }

    pub(crate) fn bytes_of(&self, entry: &Entry) -> &[u8] {
        self.files.get(entry.file).map(|f| f.bytes(entry.raw.begin, entry.raw.end)).unwrap_or_default()
    }
}

/// Whether two shapes are equal but for dimensions of 1.
fn same(a: &[usize], b: &[usize]) -> bool {
    a.iter().filter(|n| **n != 1).eq(b.iter().filter(|n| **n != 1))
}

impl WeightSource for Tensors {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Tensors::shape(self, name).map(<[usize]>::to_vec)
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<HostWeight<'_>> {
        Tensors::matrix(self, name, rows, cols).map_err(moshi_nn::Error::source)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> moshi_nn::Result<Vec<f32>> {
        Tensors::vector(self, name, shape).map_err(moshi_nn::Error::source)
    }

    fn low_rank(&self, name: &str, _rows: usize, _cols: usize) -> moshi_nn::Result<Option<LowRankPair<'_>>> {
        Tensors::low_rank(self, name).map_err(moshi_nn::Error::source)
    }
}
