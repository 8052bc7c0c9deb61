//! The bytes of an audio file: a file that is read from any place, what came through a pipe, or a part of either.

use std::fs::File;
use std::io::{Cursor, Error, Read, Result, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use symphonia::core::io::MediaSource;

/// Most that is taken from a pipe, which has to be kept in memory: three hours of 16-bit stereo at 48 kHz.
const MAX_PIPE: u64 = 2 << 30;

/// Bytes that can be read from any place.
#[derive(Debug)]
pub(crate) enum Input {
    File(File),
    /// What a pipe gave, which can be read once only.
    Memory(Cursor<Arc<[u8]>>),
}

impl Input {
    /// Opens a file; a pipe is read to its end.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let kind = file.metadata()?.file_type();
        if kind.is_file() || kind.is_dir() {
            return Ok(Self::File(file));
        }
        let mut bytes = Vec::new();
        let taken = file.take(MAX_PIPE + 1).read_to_end(&mut bytes)?;
        if taken as u64 > MAX_PIPE {
            return Err(Error::other("more than 2 GiB came through a pipe; save it as a file first"));
        }
        Ok(Self::Memory(Cursor::new(bytes.into())))
    }

    /// The same bytes from their beginning, to be read apart from these.
    pub(crate) fn again(&self, path: &Path) -> Result<Self> {
        match self {
            Self::File(_) => Ok(Self::File(File::open(path)?)),
            Self::Memory(bytes) => Ok(Self::Memory(Cursor::new(bytes.get_ref().clone()))),
        }
    }

    /// How many bytes there are.
    pub(crate) fn length(&self) -> Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Memory(bytes) => Ok(bytes.get_ref().len() as u64),
        }
    }

    /// Up to `count` bytes from `at`; fewer where the file ends.
    pub(crate) fn bytes_at(&mut self, at: u64, count: usize) -> Result<Vec<u8>> {
        self.seek(SeekFrom::Start(at))?;
        let mut bytes = Vec::new();
        self.take(count as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A part of it as a file of its own.
    pub(crate) fn part(mut self, range: Range<u64>) -> Result<Part> {
        self.seek(SeekFrom::Start(range.start))?;
        Ok(Part { inner: self, at: range.start, range })
    }
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        match self {
            Self::File(file) => file.read(out),
            Self::Memory(bytes) => bytes.read(out),
        }
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        match self {
            Self::File(file) => file.seek(to),
            Self::Memory(bytes) => bytes.seek(to),
        }
    }
}

impl MediaSource for Input {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        self.length().ok()
    }
}

/// A part of an [`Input`], whose first byte is at 0.
pub(crate) struct Part {
    inner: Input,
    range: Range<u64>,
    /// Place of the next byte in the whole.
    at: u64,
}

impl Read for Part {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let left = usize::try_from(self.range.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = left.min(out.len());
        let count = self.inner.read(&mut out[..most])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Part {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => self.range.start.checked_add(place),
            SeekFrom::End(offset) => self.range.end.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.at.checked_add_signed(offset),
        };
        let place = place.filter(|place| *place >= self.range.start);
        let place = place.ok_or_else(|| Error::other("a place before the beginning"))?;
        self.at = self.inner.seek(SeekFrom::Start(place))?;
        Ok(self.at - self.range.start)
    }
}

impl MediaSource for Part {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.range.end - self.range.start)
    }
}
