//! The header of a GGUF file, versions 2 and 3: metadata and where the tensors lie.
//!
//! The format is a magic, a version, two counts, key-value pairs, then name, dimensions (fastest first), type and
//! offset of each tensor, all little-endian; the data follow at the next multiple of the alignment. Nothing is read
//! past the end of the file, and no count from the file decides how much memory is taken.

mod blocks;

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::Dtype;

pub(crate) use blocks::Blocks;

use crate::file::{Number, RawTensor};
use crate::{Error, Result};

pub(crate) const MAGIC: &[u8] = b"GGUF";

/// What a file says about itself.
pub(crate) struct Header {
    pub(crate) tensors: BTreeMap<String, RawTensor>,
    /// Values that are text, and the numbers that say which part of a file this is (`split.no`, `split.count`).
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Names of the tensor types by their number, for messages; gaps are types that were withdrawn.
const TYPES: [&str; 31] = [
    "F32", "F16", "Q4_0", "Q4_1", "", "", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
    "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8", "I16", "I32", "I64",
    "F64", "IQ1_M", "BF16",
];

/// Reads the header of `bytes`, a whole file; `path` is for messages.
pub(crate) fn read(path: &Path, bytes: &[u8]) -> Result<Header> {
    let mut cursor = Cursor { path, bytes, at: MAGIC.len() };
    let version = cursor.u32()?;
    if !(2..=3).contains(&version) {
        let hint = if (2..=3).contains(&version.swap_bytes()) { ", big-endian" } else { "" };
        return Err(cursor.wrong(format!("GGUF version {version}{hint}; versions 2 and 3 can be read")));
    }
    let (tensors, pairs) = (cursor.u64()?, cursor.u64()?);
    let mut metadata = BTreeMap::new();
    let mut alignment = 32;
    for _ in 0..pairs {
        let key = cursor.text()?;
        match cursor.value(0)? {
            Value::Text(text) => {
                metadata.insert(key, text);
            }
            Value::Number(number) if key == "general.alignment" => alignment = number,
            Value::Number(number) if key.starts_with("split.") => {
                metadata.insert(key, number.to_string());
            }
            _ => {}
        }
    }
    if !alignment.is_power_of_two() {
        return Err(cursor.wrong(format!("an alignment of {alignment}, which is no power of two")));
    }
    let mut infos = Vec::new();
    for _ in 0..tensors {
        infos.push(cursor.info()?);
    }
    let data = (cursor.at as u64).checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
    let mut tensors = BTreeMap::new();
    for info in infos {
        let (name, raw) = cursor.place(info, data)?;
        if tensors.insert(name.clone(), raw).is_some() {
            return Err(cursor.wrong(format!("two tensors named {name:?}")));
        }
    }
    Ok(Header { tensors, metadata })
}

/// A metadata value, as far as anybody asks.
enum Value {
    Text(String),
    Number(u64),
    Other,
}

/// A tensor as it is described.
struct Info {
    name: String,
    /// Slowest first.
    shape: Vec<u64>,
    kind: u32,
    offset: u64,
}

struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn wrong(&self, found: String) -> Error {
        Error::Format { path: self.path.to_path_buf(), expected: "a GGUF file", found }
    }

    fn truncated(&self) -> Error {
        self.wrong(format!("a header that goes on after the end of the file ({} bytes): truncated", self.bytes.len()))
    }

    fn take(&mut self, count: u64) -> Result<&[u8]> {
        let end = usize::try_from(count).ok().and_then(|n| self.at.checked_add(n)).filter(|e| *e <= self.bytes.len());
        let end = end.ok_or_else(|| self.truncated())?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N as u64)?.first_chunk::<N>().copied();
        taken.ok_or_else(|| self.truncated())
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String> {
        let length = self.u64()?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    /// One value behind its type; arrays inside of arrays are followed to a small `depth`.
    fn value(&mut self, depth: usize) -> Result<Value> {
        let kind = self.u32()?;
        self.value_of(kind, depth)
    }

    fn value_of(&mut self, kind: u32, depth: usize) -> Result<Value> {
        Ok(match kind {
            2 => Value::Number(u64::from(u16::from_le_bytes(self.array()?))),
            4 | 5 => Value::Number(u64::from(self.u32()?)),
            10 => Value::Number(self.u64()?),
            8 => Value::Text(self.text()?),
            9 if depth < 4 => {
                let (kind, count) = (self.u32()?, self.u64()?);
                match width(kind) {
                    Some(width) => {
                        let bytes = count.checked_mul(width).ok_or_else(|| self.truncated())?;
                        self.take(bytes)?;
                    }
                    // Each takes bytes of the file, so that a count that lies soon meets its end.
                    None => (0..count).try_for_each(|_| self.value_of(kind, depth + 1).map(|_| ()))?,
                }
                Value::Other
            }
            _ => match width(kind) {
                Some(width) => {
                    self.take(width)?;
                    Value::Other
                }
                None => {
                    return Err(self.wrong(format!("metadata of type {kind}, which does not exist or nest so deep")));
                }
            },
        })
    }

    fn info(&mut self) -> Result<Info> {
        let name = self.text()?;
        let dimensions = self.u32()?;
        if dimensions > 8 {
            return Err(self.wrong(format!("tensor {name:?} of {dimensions} dimensions")));
        }
        let mut shape = (0..dimensions).map(|_| self.u64()).collect::<Result<Vec<_>>>()?;
        shape.reverse();
        Ok(Info { name, shape, kind: self.u32()?, offset: self.u64()? })
    }

    /// Where the bytes of a tensor lie, checked against the end of the file.
    fn place(&self, info: Info, data: u64) -> Result<(String, RawTensor)> {
        let Info { name, shape, kind, offset } = info;
        let (number, (block, bytes)) = match (kind, Blocks::of(kind)) {
            (0, _) => (Number::Plain(Dtype::F32), (1, 4)),
            (1, _) => (Number::Plain(Dtype::F16), (1, 2)),
            (30, _) => (Number::Plain(Dtype::BF16), (1, 2)),
            (_, Some(blocks)) => (Number::Blocks(blocks), blocks.size()),
            _ => return Err(self.unsupported(&name, kind)),
        };
        let (block, bytes) = (block as u64, bytes as u64);
        let row = shape.last().copied().unwrap_or(1);
        if row % block != 0 {
            return Err(self.wrong(format!("tensor {name:?} whose rows of {row} weights are not blocks of {block}")));
        }
        let count = shape.iter().try_fold(1u64, |a, b| a.checked_mul(*b));
        let begin = data.checked_add(offset);
        let end = count.and_then(|n| (n / block).checked_mul(bytes)).and_then(|n| begin?.checked_add(n));
        let inside = end.filter(|end| *end <= self.bytes.len() as u64);
        let (Some(begin), Some(end)) = (begin, inside) else {
            let size = self.bytes.len();
            return Err(self.wrong(format!("tensor {name:?} that ends after the file's {size} bytes: truncated")));
        };
        // Both are inside of a mapped file, and a dimension is no more than what it counts.
        let shape = shape.into_iter().map(|n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
        Ok((name, RawTensor { number, shape, begin: begin as usize, end: end as usize }))
    }

    fn unsupported(&self, name: &str, kind: u32) -> Error {
        let known = TYPES.get(kind as usize).filter(|t| !t.is_empty());
        let kind = known.map_or_else(|| format!("type {kind}"), |t| (*t).to_owned());
        Error::Layout {
            path: self.path.to_path_buf(),
            layout: format!("a GGUF file whose tensor {name:?} is {kind}"),
            advice:
                "use a file of Q2_K to Q6_K, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, IQ4_XS, BF16, F16 or F32 tensors"
                    .to_owned(),
        }
    }
}

/// Bytes of a metadata value of fixed size.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}
