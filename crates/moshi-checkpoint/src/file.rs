//! One safetensors or GGUF file, mapped into memory, its header checked.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use crate::foreign;
use crate::gguf::{self, Blocks};
use crate::{Error, Result};

/// The number format of a tensor in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    /// One of those that safetensors has a name for.
    Plain(Dtype),
    /// GGUF: integers and their scales in blocks.
    Blocks(Blocks),
}

impl Number {
    /// Whether it is one of integers with scales.
    pub(crate) fn is_quantized(self) -> bool {
        !matches!(self, Self::Plain(Dtype::F32 | Dtype::F16 | Dtype::BF16))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(dtype) => write!(f, "{dtype:?}"),
            Self::Blocks(blocks) => write!(f, "{blocks}"),
        }
    }
}

/// A tensor as the file describes it.
#[derive(Debug, Clone)]
pub(crate) struct RawTensor {
    pub(crate) number: Number,
    pub(crate) shape: Vec<usize>,
    /// First byte in the file.
    pub(crate) begin: usize,
    /// One past the last byte in the file; checked to lie inside.
    pub(crate) end: usize,
}

impl RawTensor {
    /// Some of its rows. The bytes of all of them are divided evenly: a format whose rows are no whole bytes is refused
    /// when its values are asked for.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Self {
        let mut shape = self.shape.clone();
        let total = shape.first_mut().map_or(1, |first| std::mem::replace(first, rows.len()));
        let row = (self.end - self.begin) / total.max(1);
        let begin = self.begin + row * rows.start;
        Self { number: self.number, shape, begin, end: begin + row * rows.len() }
    }
}

/// Where the bytes of a file are.
enum Store {
    Map(Mmap),
    /// Part of the program.
    Embedded(&'static [u8]),
}

impl Store {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Map(map) => map,
            Self::Embedded(bytes) => bytes,
        }
    }
}

/// A safetensors or GGUF file, mapped or embedded.
pub(crate) struct TensorFile {
    path: PathBuf,
    store: Store,
    tensors: BTreeMap<String, RawTensor>,
    metadata: BTreeMap<String, String>,
}

impl TensorFile {
    /// Maps the file and checks its header: kind, length, offsets inside the file, no gaps or overlaps, sizes that fit
    /// the shapes.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let io = |doing| move |source| Error::Io { path: path.to_path_buf(), doing, source };
        let file = File::open(path).map_err(io("open"))?;
        if !file.metadata().map_err(io("read"))?.is_file() {
            return Err(format_error(path, "a folder or device".to_owned()));
        }
        if let Some(why) = foreign::unfinished(path) {
            return Err(format_error(path, why));
        }
        Self::read(path, Store::Map(map(&file).map_err(io("map into memory"))?))
    }

    /// As [`TensorFile::open`] for a file that is part of the program; `path` is what errors call it.
    pub(crate) fn embedded(path: &Path, bytes: &'static [u8]) -> Result<Self> {
        Self::read(path, Store::Embedded(bytes))
    }

    fn read(path: &Path, store: Store) -> Result<Self> {
        let (tensors, metadata) = match store.bytes() {
            bytes if bytes.starts_with(gguf::MAGIC) => {
                let gguf::Header { tensors, metadata } = gguf::read(path, bytes)?;
                (tensors, metadata)
            }
            bytes => read_safetensors(path, bytes)?,
        };
        // One dimension of 0 hides the size of all others from the length of the data.
        if let Some((name, raw)) = tensors.iter().find(|(_, raw)| !is_countable(&raw.shape)) {
            return Err(format_error(
                path,
                format!("tensor {name:?} of shape {:?}, more than can be counted", raw.shape),
            ));
        }
        Ok(Self { path: path.to_path_buf(), store, tensors, metadata })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn tensors(&self) -> &BTreeMap<String, RawTensor> {
        &self.tensors
    }

    pub(crate) fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Bytes `begin..end` of the file; empty when they are not inside.
    pub(crate) fn bytes(&self, begin: usize, end: usize) -> &[u8] {
        self.store.bytes().get(begin..end).unwrap_or_default()
    }
}

/// What the header of a safetensors file says of its tensors and of itself.
fn read_safetensors(path: &Path, bytes: &[u8]) -> Result<(BTreeMap<String, RawTensor>, BTreeMap<String, String>)> {
    let (size, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| header_error(path, bytes, &e))?;
    let data = 8 + size;
    let raw = |info: &safetensors::tensor::TensorInfo| RawTensor {
        number: Number::Plain(info.dtype),
        shape: info.shape.clone(),
        begin: data + info.data_offsets.0,
        end: data + info.data_offsets.1,
    };
    let tensors = metadata.tensors().into_iter().map(|(name, info)| (name, raw(info))).collect();
    Ok((tensors, metadata.metadata().clone().unwrap_or_default().into_iter().collect()))
}

/// Whether the bytes of as many numbers can be counted, were no dimension 0.
fn is_countable(shape: &[usize]) -> bool {
    let count = shape.iter().try_fold(1usize, |count, n| count.checked_mul((*n).max(1)));
    count.and_then(|count| count.checked_mul(size_of::<u64>())).is_some()
}

#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read-only and lives no longer than `TensorFile`. Another process that shortens the file while
    // it is mapped would make reads fault; that is the price of not copying 15 GB, and every tool that writes
    // checkpoints, ours included, writes a new file and renames it.
    unsafe { Mmap::map(file) }
}

fn format_error(path: &Path, found: String) -> Error {
    Error::Format { path: path.to_path_buf(), expected: "a safetensors or GGUF file", found }
}

/// Why the header cannot be used, in terms of what the user can check.
fn header_error(path: &Path, bytes: &[u8], error: &SafeTensorError) -> Error {
    if let Some(kind) = foreign::by_bytes(bytes) {
        return format_error(path, kind);
    }
    let size = bytes.len();
    let length = bytes.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b));
    let found = match error {
        SafeTensorError::HeaderTooSmall => format!("a file of {size} bytes, too short for a header"),
        SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeaderLength => {
            format!("a header length of {length} bytes in a file of {size}: truncated, or not a safetensors file")
        }
        SafeTensorError::InvalidHeader(e) => format!("a header that is not text ({e})"),
        SafeTensorError::InvalidHeaderDeserialization(e) => format!("a header that does not describe tensors ({e})"),
        SafeTensorError::MetadataIncompleteBuffer => {
            format!("{size} bytes, which is not what the header describes: truncated, or something was added")
        }
        SafeTensorError::InvalidOffset(name) => {
            format!("a header in which tensor {name:?} overlaps its neighbour or leaves a gap")
        }
        other => format!("a damaged header ({other})"),
    };
    format_error(path, found)
}
