//! Voices as they are published: of a role-play, `NAME.pt`, and of a synthesis ([`SpeakerFile`]).
//!
//! A `.pt` is an archive as `torch.save` writes it: a pickle that describes tensors, and their numbers in entries of
//! their own, not compressed. It holds `embeddings [F - 1, 1, 1, dim]`, the temporal inputs of F frames of the voice, and
//! `cache [1, streams, columns]`, the table of streams after them (NVIDIA/personaplex, `moshi/models/lm.py`). The pickle is
//! read without running it; what it may name is a list of five types and one function.
//!
//! ```no_run
//! let voice = moshi_checkpoint::VoiceFile::read("NATF0.pt".as_ref())?;
//! println!("{} inputs of width {}", voice.inputs, voice.dim);
//! # Ok::<(), moshi_checkpoint::Error>(())
//! ```

mod pickle;
mod speaker;

pub use speaker::SpeakerFile;

use std::io::{Cursor, Read};
use std::path::Path;

use half::{bf16, f16};
use zip::{CompressionMethod, ZipArchive};

use self::pickle::{Kind, TensorView};
use crate::{Error, Result};

/// Largest file that is taken for a voice; a published one has about a megabyte.
const MAX_FILE: u64 = 256 << 20;
/// Largest pickle; that of a voice has 300 bytes.
const MAX_PICKLE: u64 = 64 << 10;

/// A voice: what the model read while it heard it.
#[derive(Debug, Clone, PartialEq)]
pub struct VoiceFile {
    /// Number of temporal inputs: the frames of the voice, less one.
    pub inputs: usize,
    /// Width of an input.
    pub dim: usize,
    /// The inputs `[inputs, dim]`.
    pub embeddings: Vec<f32>,
    /// Streams of the table.
    pub streams: usize,
    /// Columns of the table; column p is at index p mod `columns`.
    pub columns: usize,
    /// The table `[streams, columns]`.
    pub table: Vec<i64>,
}

impl VoiceFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Format`] when it is no voice.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |source| Error::Io { path: path.to_owned(), doing: "read", source };
        let size = std::fs::metadata(path).map_err(failed)?.len();
        if size > MAX_FILE {
            return Err(no_voice(path, format!("a file of {size} bytes")));
        }
        Self::from_bytes(path, &std::fs::read(path).map_err(failed)?)
    }

    /// Reads the bytes of a file; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Format`] when they are no voice.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        Self::from_archive(bytes).map_err(|found| no_voice(path, found))
    }

    fn from_archive(bytes: &[u8]) -> Result<Self, String> {
        let mut archive = Archive::open(bytes)?;
        let tensors = pickle::tensors(&archive.entry("data.pkl", MAX_PICKLE)?)?;
        let tensor = |name: &str| {
            let found = tensors.iter().rev().find(|(found, _)| &**found == name);
            found.map(|(_, tensor)| tensor.clone()).ok_or_else(|| format!("no tensor {name:?}"))
        };
        let (embeddings, cache) = (tensor("embeddings")?, tensor("cache")?);
        let &[inputs, 1, 1, dim] = &embeddings.shape[..] else {
            return Err(format!("embeddings of shape {:?}, expected [frames - 1, 1, 1, width]", embeddings.shape));
        };
        let &[1, streams, columns] = &cache.shape[..] else {
            return Err(format!("a cache of shape {:?}, expected [1, streams, columns]", cache.shape));
        };
        if inputs == 0 || dim == 0 {
            return Err("no embeddings".to_owned());
        }
        let embeddings = archive.floats(&embeddings)?;
        let table = archive.integers(&cache)?;
        Ok(Self { inputs, dim, embeddings, streams, columns, table })
    }
}

fn no_voice(path: &Path, found: String) -> Error {
    let expected = "a voice (an archive of torch.save with \"embeddings\" and \"cache\")";
    Error::Format { path: path.to_owned(), expected, found }
}

/// The entries of one archive.
struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// The folder in which all entries are, with its slash.
    root: String,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|e| format!("no archive ({e})"))?;
        let root = root(&zip).ok_or("an archive without data.pkl")?;
        let mut archive = Self { zip, root };
        match archive.entry("byteorder", 16) {
            Ok(order) if order != b"little" => Err("numbers with the highest byte first".to_owned()),
            _ => Ok(archive), // older files do not say
        }
    }

    /// The bytes of an entry, of at most `limit`. Entries of `torch.save` are stored as they are; anything else may unfold
    /// to more than the file has.
    fn entry(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, String> {
        let failed = |e: &dyn std::fmt::Display| format!("an entry {name:?} that cannot be read ({e})");
        let entry = self.zip.by_name(&format!("{}{name}", self.root)).map_err(|e| failed(&e))?;
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(format!("a compressed entry {name:?}"));
        }
        let size = entry.size();
        if size > limit {
            return Err(format!("an entry {name:?} of {size} bytes, expected at most {limit}"));
        }
        let mut bytes = Vec::new();
        entry.take(limit).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(failed(&"it is cut short")) }
    }

    fn floats(&mut self, tensor: &TensorView) -> Result<Vec<f32>, String> {
        match tensor.kind {
            Kind::Bf16 => self.numbers(tensor, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Kind::F16 => self.numbers(tensor, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Kind::F32 => self.numbers(tensor, f32::from_le_bytes),
            Kind::I64 => Err("embeddings of whole numbers".to_owned()),
        }
    }

    fn integers(&mut self, tensor: &TensorView) -> Result<Vec<i64>, String> {
        match tensor.kind {
            Kind::I64 => self.numbers(tensor, i64::from_le_bytes),
            _ => Err("a cache of fractions".to_owned()),
        }
    }

    /// The numbers of a tensor, row by row.
    fn numbers<const N: usize, T>(
        &mut self,
        tensor: &TensorView,
        read: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, String> {
        let bytes = self.entry(&format!("data/{}", tensor.key), MAX_FILE)?;
        let stored = bytes.as_chunks::<N>().0;
        let outside = || format!("a tensor of shape {:?} in {} numbers", tensor.shape, stored.len());
        // A tensor that repeats numbers of its storage could be of any size: voices do not.
        let count = tensor.shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let count = count.filter(|&count| count <= stored.len()).ok_or_else(outside)?;
        let mut numbers = Vec::with_capacity(count);
        for i in 0..count {
            let place = place(tensor, i).and_then(|place| stored.get(place)).ok_or_else(outside)?;
            numbers.push(read(*place));
        }
        Ok(numbers)
    }
}

/// The folder of the pickle.
fn root(zip: &ZipArchive<Cursor<&[u8]>>) -> Option<String> {
    let names = zip.file_names_raw().filter_map(|name| std::str::from_utf8(name).ok());
    let mut roots = names.filter_map(|name| name.strip_suffix("data.pkl"));
    roots.find(|root| root.is_empty() || root.ends_with('/')).map(str::to_owned)
}

/// Where the `index`-th number of a tensor lies in its storage; `None` where that is no place at all.
fn place(tensor: &TensorView, index: usize) -> Option<usize> {
    let (mut rest, mut place) = (index, tensor.offset);
    for (&size, &stride) in tensor.shape.iter().zip(&tensor.strides).rev() {
        place = (rest % size).checked_mul(stride)?.checked_add(place)?;
        rest /= size;
    }
    Some(place)
}
