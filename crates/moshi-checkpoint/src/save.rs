//! Writing safetensors files, one tensor in memory at a time.
//!
//! A file appears under its name only when it is complete: it is written beside it and renamed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use moshi_tensor::weight::WeightData;
use serde_json::{Map, Value, json};

use crate::{Error, Result};

/// Number formats that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Format {
    /// Single precision.
    F32,
    /// Words of packed integers.
    U32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// Signed bytes.
    I8,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::U32 => "U32",
            Self::I8 => "I8",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::I8 => 1,
        }
    }

    /// The format of `data`, unless it is one that safetensors has no name for.
    pub(crate) fn of(data: &WeightData<'_>) -> Option<Self> {
        match data {
            WeightData::F32(_) => Some(Self::F32),
            WeightData::F16(_) => Some(Self::F16),
            WeightData::Bf16(_) => Some(Self::Bf16),
            _ => None,
        }
    }
}

/// A tensor to be written.
#[derive(Debug, Clone)]
pub struct NamedTensor<'a> {
    /// Its name in the file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub data: WeightData<'a>,
}

/// What a file will hold under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The tensor's name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its number format.
    pub format: Format,
}

/// Writes a whole file from tensors at hand, with `metadata` in its header.
///
/// # Errors
/// [`Error::Io`]; [`Error::Write`] for a name given twice, values that do not fill the shape, or a format without a name.
pub fn write_safetensors(path: &Path, tensors: &[NamedTensor<'_>], metadata: &BTreeMap<String, String>) -> Result<()> {
    let outline = |t: &NamedTensor<'_>| {
        let format =
            Format::of(&t.data).ok_or_else(|| problem(&t.name, "its number format has no name in safetensors"))?;
        Ok(Outline { name: t.name.clone(), shape: t.shape.clone(), format })
    };
    let outlines = tensors.iter().map(outline).collect::<Result<Vec<_>>>()?;
    let by_name: BTreeMap<&str, &NamedTensor<'_>> = tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    let mut writer = TensorWriter::create(path, outlines, metadata)?;
    while let Some(next) = writer.next() {
        let tensor = by_name.get(next.name.as_str()).ok_or_else(|| problem(&next.name, "it is not there"))?;
        writer.write(&tensor.data)?;
    }
    writer.finish()
}

/// Writes a file tensor by tensor, in the order that [`TensorWriter::next`] asks for.
pub struct TensorWriter {
    path: PathBuf,
    part: PathBuf,
    out: BufWriter<File>,
    outlines: Vec<Outline>,
    written: usize,
}

impl TensorWriter {
    /// Begins a file. Wider formats come first, then names in order, so that all values are aligned in a memory map.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Write`] for a name given twice or a shape that overflows.
    pub fn create(path: &Path, mut outlines: Vec<Outline>, metadata: &BTreeMap<String, String>) -> Result<Self> {
        outlines.sort_by(|a, b| (a.format, &a.name).cmp(&(b.format, &b.name)));
        let header = header(&outlines, metadata)?;
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".part");
        let part = path.with_file_name(name);
        let io = |source| Error::Io { path: part.clone(), doing: "write", source };
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&part).map_err(io)?);
        out.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| out.write_all(&header)).map_err(io)?;
        Ok(Self { path: path.to_path_buf(), part, out, outlines, written: 0 })
    }

    /// The tensor to write next; `None` when all are there.
    pub fn next(&self) -> Option<Outline> {
        self.outlines.get(self.written).cloned()
    }

    /// Writes the values of [`TensorWriter::next`].
    ///
    /// # Errors
    /// [`Error::Write`] when they are of another number or format than announced, [`Error::Io`].
    pub fn write(&mut self, data: &WeightData<'_>) -> Result<()> {
        let Some(outline) = self.outlines.get(self.written) else {
            return Err(problem("a further tensor", "all announced tensors are written"));
        };
        let bytes = le_bytes(data).filter(|_| Format::of(data) == Some(outline.format));
        let bytes = bytes.ok_or_else(|| problem(&outline.name, "its number format is not the announced one"))?;
        let expected = outline.shape.iter().product::<usize>() * outline.format.bytes();
        if bytes.len() != expected {
            let text = format!("shape {:?} needs {expected} bytes, given are {}", outline.shape, bytes.len());
            return Err(problem(&outline.name, &text));
        }
        let io = |source| Error::Io { path: self.part.clone(), doing: "write", source };
        self.out.write_all(&bytes).map_err(io)?;
        self.written += 1;
        Ok(())
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// [`Error::Write`] when tensors are missing, [`Error::Io`].
    pub fn finish(mut self) -> Result<()> {
        if let Some(missing) = self.next() {
            return Err(problem(&missing.name, "it was announced but not written"));
        }
        let io = |source| Error::Io { path: self.path.clone(), doing: "write", source };
        self.out.flush().map_err(io)?;
        std::fs::rename(&self.part, &self.path).map_err(io)
    }
}

impl Drop for TensorWriter {
    /// Leaves no half file behind; after [`TensorWriter::finish`] there is none.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.part);
    }
}

pub(crate) fn problem(name: &str, problem: &str) -> Error {
    Error::Write { name: name.to_owned(), problem: problem.to_owned() }
}

/// The JSON header, padded with spaces to a multiple of eight bytes.
pub(crate) fn header(outlines: &[Outline], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut map = Map::new();
    if !metadata.is_empty() {
        map.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut begin = 0usize;
    for outline in outlines {
        let values = outline.shape.iter().try_fold(outline.format.bytes(), |a, b| a.checked_mul(*b));
        let end = values
            .and_then(|n| begin.checked_add(n))
            .ok_or_else(|| problem(&outline.name, "its shape is too large"))?;
        let entry = json!({"dtype": outline.format.name(), "shape": outline.shape, "data_offsets": [begin, end]});
        if map.insert(outline.name.clone(), entry).is_some() {
            return Err(problem(&outline.name, "the name is given twice"));
        }
        begin = end;
    }
    let mut header = Value::Object(map).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

/// The values as little-endian bytes.
pub(crate) fn le_bytes<'a>(data: &'a WeightData<'_>) -> Option<Cow<'a, [u8]>> {
    if cfg!(target_endian = "little") {
        return Some(Cow::Borrowed(match data {
            WeightData::F32(v) => bytemuck::cast_slice(v),
            WeightData::Bf16(v) => bytemuck::cast_slice(v),
            WeightData::F16(v) => bytemuck::cast_slice(v),
            _ => return None,
        }));
    }
    Some(Cow::Owned(match data {
        WeightData::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        WeightData::Bf16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        WeightData::F16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        _ => return None,
    }))
}
