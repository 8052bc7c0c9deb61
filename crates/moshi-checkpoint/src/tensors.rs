//! Named tensors, borrowed from mapped files.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use moshi_kernels::weight::{HostWeight, WeightData};
use moshi_nn::WeightSource;
use safetensors::Dtype;

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
    files: Arc<[TensorFile]>,
    entries: Arc<BTreeMap<String, Entry>>,
}

/// A whole entry of a file, or some rows of one.
#[derive(Debug, Clone)]
struct Entry {
    file: usize,
    name: String,
    raw: RawTensor,
}

impl fmt::Debug for Tensors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<_> = self.files.iter().map(TensorFile::path).collect();
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

    fn raw(files: Vec<TensorFile>) -> Self {
        let mut entries = BTreeMap::new();
        for (file, f) in files.iter().enumerate() {
            for (name, raw) in f.tensors() {
                entries.insert(name.clone(), Entry { file, name: name.clone(), raw: raw.clone() });
            }
        }
        Self { files: files.into(), entries: Arc::new(entries) }
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

    /// The part of `entry` that `place` names, checked against `spec`.
    fn cut(&self, entry: &Entry, spec: &TensorSpec, place: &Place) -> Result<Entry> {
        let found = &entry.raw.shape;
        let wrong = |expected: Vec<usize>| Error::Shape {
            path: self.path_of(entry),
            name: entry.name.clone(),
            expected,
            found: found.clone(),
        };
        let Some((rows, total)) = &place.rows else {
            return if same(found, &spec.shape) { Ok(entry.clone()) } else { Err(wrong(spec.shape.clone())) };
        };
        let mut stacked = spec.shape.clone();
        if let Some(first) = stacked.first_mut() {
            *first = *total;
        }
        if *found != stacked || rows.end > *total {
            return Err(wrong(stacked));
        }
        // Formats of less than a byte are refused when the values are asked for; their rows need not be whole bytes.
        let row = (entry.raw.end - entry.raw.begin) / (*total).max(1);
        let begin = entry.raw.begin + row * rows.start;
        let raw = RawTensor {
            dtype: entry.raw.dtype,
            shape: spec.shape.clone(),
            begin,
            end: begin + row * (rows.end - rows.start),
        };
        Ok(Entry { file: entry.file, name: entry.name.clone(), raw })
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

    /// The number format of a tensor in its file, as safetensors spells it (`BF16`).
    pub fn dtype(&self, name: &str) -> Option<String> {
        self.find(name).map(|e| format!("{:?}", e.raw.dtype))
    }

    /// The bytes of a tensor as the file holds them (little-endian, row-major).
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.find(name).map(|e| self.bytes_of(e))
    }

    /// The files that the tensors come from.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(TensorFile::path)
    }

    /// The `__metadata__` of the first file.
    pub fn metadata(&self) -> Option<&BTreeMap<String, String>> {
        self.files.first().map(TensorFile::metadata)
    }

    /// A matrix `[rows, cols]` in the file's number format, borrowed where the file's alignment allows. A tensor of
    /// more dimensions is taken as its first dimension by all others.
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
        Ok(HostWeight::new(rows, cols, self.data(entry)?)?)
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
        Ok(match self.data(entry)? {
            WeightData::F32(v) => v.into_owned(),
            WeightData::Bf16(v) => v.iter().map(|x| x.to_f32()).collect(),
            WeightData::F16(v) => v.iter().map(|x| x.to_f32()).collect(),
            _ => return Err(self.wrong_dtype(entry)),
        })
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

    fn need(&self, name: &str) -> Result<&Entry> {
        self.find(name).ok_or_else(|| Error::NoTensor { path: self.first_path(), name: name.to_owned() })
    }

    fn first_path(&self) -> PathBuf {
        self.files.first().map(|f| f.path().to_path_buf()).unwrap_or_default()
    }

    fn path_of(&self, entry: &Entry) -> PathBuf {
        self.files.get(entry.file).map(|f| f.path().to_path_buf()).unwrap_or_default()
    }

    fn wrong_shape(&self, entry: &Entry, expected: &[usize]) -> Error {
        Error::Shape {
            path: self.path_of(entry),
            name: entry.name.clone(),
            expected: expected.to_vec(),
            found: entry.raw.shape.clone(),
        }
    }

    fn wrong_dtype(&self, entry: &Entry) -> Error {
        Error::Dtype { path: self.path_of(entry), name: entry.name.clone(), found: format!("{:?}", entry.raw.dtype) }
    }

    fn bytes_of(&self, entry: &Entry) -> &[u8] {
        self.files.get(entry.file).map(|f| f.bytes(entry.raw.begin, entry.raw.end)).unwrap_or_default()
    }

    fn data(&self, entry: &Entry) -> Result<WeightData<'_>> {
        let bytes = self.bytes_of(entry);
        Ok(match entry.raw.dtype {
            Dtype::F32 => WeightData::F32(numbers(bytes, f32::from_le_bytes)),
            Dtype::BF16 => WeightData::Bf16(numbers(bytes, bf16::from_le_bytes)),
            Dtype::F16 => WeightData::F16(numbers(bytes, f16::from_le_bytes)),
            _ => return Err(self.wrong_dtype(entry)),
        })
    }
}

/// Little-endian bytes as numbers: in place where they are aligned and the machine is little-endian.
fn numbers<const N: usize, T: bytemuck::Pod>(bytes: &[u8], from_le: fn([u8; N]) -> T) -> Cow<'_, [T]> {
    if cfg!(target_endian = "little")
        && let Ok(borrowed) = bytemuck::try_cast_slice(bytes)
    {
        return Cow::Borrowed(borrowed);
    }
    Cow::Owned(bytes.as_chunks::<N>().0.iter().map(|b| from_le(*b)).collect())
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
}
