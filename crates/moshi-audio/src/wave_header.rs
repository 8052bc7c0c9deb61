//! The header of a wav file in all its forms, read as other programs read it: past its mistakes.
//!
//! RIFF and RIFX have sizes of 32 bits (Microsoft, *Multimedia Programming Interface and Data Specifications 1.0*, 1991),
//! RF64 and BW64 put sizes of 64 bits into a chunk `ds64` (EBU Tech 3306; ITU-R BS.2088), and Sony's Wave64 has sizes of
//! 64 bits and GUIDs for names. Symphonia reads the first of them only, and only where every size is right.

use std::io::Result;
use std::ops::Range;

use crate::input::Input;
use crate::wave_format::WaveFormat;

/// A size of 32 bits that says "not known" or "see ds64".
const UNKNOWN: u64 = 0xffff_ffff;
/// From here on a size that the file does not have was written by a program that could not know it (2 GiB and less).
const NEVER_FINISHED: u64 = 0x7fff_0000;
/// How far a chunk is looked for where a size before it is wrong.
const SEARCH: usize = 1 << 20;
/// More chunks than any file has before its samples.
const MAX_CHUNKS: usize = 10_000;
/// The rest of a Wave64 name whose first four bytes are those of RIFF.
const WAVE64_NAME: [u8; 12] = [0xf3, 0xac, 0xd3, 0x11, 0x8c, 0xd1, 0x00, 0xc0, 0x4f, 0x8e, 0xdb, 0x8a];
/// How a Wave64 file begins.
const WAVE64: [u8; 16] = *b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00";
/// Chunks that are often in wav files: better signs than any four letters.
const KNOWN: [&[u8; 4]; 22] = [
    b"fmt ", b"data", b"fact", b"LIST", b"JUNK", b"junk", b"bext", b"cue ", b"PEAK", b"smpl", b"inst", b"id3 ",
    b"ID3 ", b"iXML", b"PAD ", b"FLLR", b"ds64", b"axml", b"chna", b"acid", b"cart", b"minf",
];

/// Which of its forms a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Riff,
    /// RIFF with the high byte first.
    Rifx,
    /// RF64 and BW64.
    Rf64,
    Wave64,
}

impl Form {
    /// The form of a file that begins so; `None` where it is no wav file.
    pub(crate) fn of(beginning: &[u8]) -> Option<Self> {
        if beginning.starts_with(&WAVE64) {
            return Some(Self::Wave64);
        }
        let form = match beginning.get(..4)? {
            b"RIFF" => Self::Riff,
            b"RIFX" => Self::Rifx,
            b"RF64" | b"BW64" => Self::Rf64,
            _ => return None,
        };
        (beginning.get(8..12)? == b"WAVE").then_some(form)
    }

    /// Where the first chunk is.
    fn first_chunk(self) -> u64 {
        if self == Self::Wave64 { 40 } else { 12 }
    }

    /// What a chunk is filled up to a multiple of.
    fn alignment(self) -> u64 {
        if self == Self::Wave64 { 8 } else { 2 }
    }
}

/// What the header says.
#[derive(Debug)]
pub(crate) struct WaveHeader {
    pub(crate) format: WaveFormat,
    /// Where the samples are in the file.
    pub(crate) data: Range<u64>,
    /// How many bytes of samples the header says there are, where it says so.
    pub(crate) declared: Option<u64>,
    /// What is wrong with the header, where something is that was read past.
    pub(crate) oddity: Option<&'static str>,
}

/// A chunk's name, and where its content is.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    name: [u8; 4],
    body: u64,
    size: u64,
}

struct Walk<'a> {
    input: &'a mut Input,
    form: Form,
    length: u64,
    /// Size of the data chunk by `ds64`.
    long_size: Option<u64>,
    format: Option<Vec<u8>>,
    data: Option<Chunk>,
    oddity: Option<&'static str>,
}

impl WaveHeader {
    /// Reads a header; the message is for a file in which samples or their format cannot be found.
    pub(crate) fn read(input: &mut Input, form: Form) -> Result<std::result::Result<Self, &'static str>> {
        let length = input.length()?;
        let mut walk = Walk { input, form, length, long_size: None, format: None, data: None, oddity: None };
        walk.chunks()?;
        let Some(format) = walk.format.take().as_deref().and_then(|bytes| WaveFormat::parse(bytes, form == Form::Rifx))
        else {
            return Ok(Err("its header breaks off, or says nothing of its samples' format"));
        };
        let Some(data) = walk.data else {
            return Ok(Err("its header breaks off before its samples"));
        };
        let (end, declared) = walk.extent(&data)?;
        walk.check_outer_size(end)?;
        Ok(Ok(Self { format, data: data.body..end, declared, oddity: walk.oddity }))
    }
}

impl Walk<'_> {
    /// Goes from chunk to chunk until the format and the samples are found.
    fn chunks(&mut self) -> Result<()> {
        let mut at = self.form.first_chunk();
        let mut from = at;
        for _ in 0..MAX_CHUNKS {
            if self.format.is_some() && self.data.is_some() {
                break;
            }
            let chunk = match self.chunk(at)? {
                Some(chunk) if self.believable(&chunk) => chunk,
                _ => match self.search(from)? {
                    Some(chunk) => chunk,
                    None => return Ok(()),
                },
            };
            from = chunk.body;
            match &chunk.name {
                b"fmt " => self.format = Some(self.input.bytes_at(chunk.body, chunk.size.min(64) as usize)?),
                b"ds64" => self.long_size = self.ds64(&chunk)?,
                b"data" if self.data.is_none() => self.data = Some(chunk),
                _ => {}
            }
            at = self.after(&chunk)?;
        }
        Ok(())
    }

    /// The chunk whose header is at `at`; `None` where the file ends.
    fn chunk(&mut self, at: u64) -> Result<Option<Chunk>> {
        if self.form != Form::Wave64 {
            let bytes = self.input.bytes_at(at, 8)?;
            let Ok([a, b, c, d, size @ ..]) = <[u8; 8]>::try_from(bytes) else { return Ok(None) };
            let size = if self.form == Form::Rifx { u32::from_be_bytes(size) } else { u32::from_le_bytes(size) };
            return Ok(Some(Chunk { name: [a, b, c, d], body: at.saturating_add(8), size: size.into() }));
        }
        let bytes = self.input.bytes_at(at, 24)?;
        let Ok([a, b, c, d, rest @ ..]) = <[u8; 24]>::try_from(bytes) else { return Ok(None) };
        let name = if rest.starts_with(&WAVE64_NAME) { [a, b, c, d] } else { *b"????" };
        let size = rest.last_chunk().map_or(0, |size| u64::from_le_bytes(*size));
        Ok(Some(Chunk { name, body: at.saturating_add(24), size: size.saturating_sub(24) }))
    }

    /// Whether a chunk is one: its name is text, and it ends within the file unless it holds the samples.
    fn believable(&self, chunk: &Chunk) -> bool {
        let ends = chunk.body.checked_add(chunk.size).is_some_and(|end| end <= self.length);
        let text = chunk.name.iter().all(|byte| (b' '..=b'~').contains(byte));
        text && (ends || matches!(&chunk.name, b"data" | b"fmt "))
    }

    /// The next format or samples behind a chunk of the wrong length.
    fn search(&mut self, from: u64) -> Result<Option<Chunk>> {
        if self.form == Form::Wave64 {
            return Ok(None);
        }
        let bytes = self.input.bytes_at(from, SEARCH)?;
        let wanted =
            |name: &[u8]| (name == b"data" && self.data.is_none()) || (name == b"fmt " && self.format.is_none());
        let Some(place) = bytes.windows(4).position(wanted) else { return Ok(None) };
        self.oddity = Some("a chunk of its header has the wrong length");
        self.chunk(from + place as u64)
    }

    /// Where the chunk after this one begins; the byte that fills up an odd one may be missing.
    fn after(&mut self, chunk: &Chunk) -> Result<u64> {
        let end = chunk.body.saturating_add(chunk.size);
        let filled = end.checked_next_multiple_of(self.form.alignment()).unwrap_or(u64::MAX);
        if filled == end || self.form == Form::Wave64 {
            return Ok(filled);
        }
        let bytes = self.input.bytes_at(end, 5)?;
        let known = |at: usize| bytes.get(at..at + 4).is_some_and(|name| KNOWN.iter().any(|known| name == *known));
        if known(0) && !known(1) {
            self.oddity = Some("a chunk of odd length lacks its pad byte");
            return Ok(end);
        }
        Ok(filled)
    }

    /// The size of the samples in `ds64`, whose other fields are the size of the file and of `fact`.
    fn ds64(&mut self, chunk: &Chunk) -> Result<Option<u64>> {
        let bytes = self.input.bytes_at(chunk.body.saturating_add(8), 8)?;
        Ok(bytes.first_chunk().map(|size| u64::from_le_bytes(*size)))
    }

    /// Where the samples end, and how many bytes of them the header says there are.
    fn extent(&mut self, data: &Chunk) -> Result<(u64, Option<u64>)> {
        let there = self.length.saturating_sub(data.body);
        let long = self.long_size.filter(|size| *size > 0).unwrap_or(UNKNOWN);
        let size = if data.size == UNKNOWN { long } else { data.size };
        let open = match size {
            UNKNOWN => true,
            0 => self.never_completed(data)?,
            size if size > there => size >= NEVER_FINISHED && size >> 32 == 0 || size >> 62 != 0,
            size => self.overflowed(data, size)?,
        };
        if open {
            return Ok((self.length, None));
        }
        Ok((data.body + size.min(there), Some(size)))
    }

    /// Whether a size of 0 is one that was to be filled in at the end: no chunk follows.
    fn never_completed(&mut self, data: &Chunk) -> Result<bool> {
        let next = self.chunk(data.body)?;
        if data.body >= self.length || next.is_some_and(|chunk| self.believable(&chunk)) {
            return Ok(false);
        }
        self.oddity = Some("its header was never completed: it says there are no samples");
        Ok(true)
    }

    /// Whether the file has outgrown sizes of 32 bits, which have begun anew from 0.
    fn overflowed(&mut self, data: &Chunk, size: u64) -> Result<bool> {
        let beyond = self.length.saturating_sub(data.body.saturating_add(size));
        if self.form == Form::Wave64 || self.long_size.is_some() || beyond < UNKNOWN - (1 << 16) {
            return Ok(false);
        }
        let next = self.chunk(data.body + size)?;
        let over = !next.is_some_and(|chunk| self.believable(&chunk));
        if over {
            self.oddity = Some("it is longer than its header can say");
        }
        Ok(over)
    }

    /// Remembers a RIFF size that ends before the samples do.
    fn check_outer_size(&mut self, end: u64) -> Result<()> {
        if !matches!(self.form, Form::Riff | Form::Rifx) || self.oddity.is_some() {
            return Ok(());
        }
        let outer = self.chunk(0)?.map_or(0, |outer| outer.size);
        if outer > 0 && outer < NEVER_FINISHED && outer + 8 < end {
            self.oddity = Some("its RIFF size is less than what is in it");
        }
        Ok(())
    }
}
