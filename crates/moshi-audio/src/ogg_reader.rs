//! Ogg Opus bytes into PCM, taking whatever published clients, files and bad networks make of them.

use crate::page::{self, BOS, Found, MAX_PAGE, Page};
use crate::stream::{Head, OpusStream};
use crate::{AudioError, SAMPLE_RATE};

/// How tolerant a decoder is, and whether it trims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OggOpusDecoderConfig {
    /// Whether the header's pre-skip and the last page's end are applied: right for files. Published live decoders do
    /// not, and published encoders announce a pre-skip that is real audio.
    pub trim: bool,
    /// Longest stretch of lost audio that is concealed, in samples; the rest of a longer one is left out.
    pub max_conceal: usize,
    /// Most samples that one push may make; packets beyond are left out. A hostile message of 64 KiB could otherwise
    /// claim an hour of audio.
    pub max_push: usize,
    /// How many bytes may come before the first Opus stream.
    pub max_foreign: usize,
}

impl OggOpusDecoderConfig {
    /// For a conversation: nothing is trimmed, at most a second is concealed, a push makes at most ten seconds.
    pub fn live() -> Self {
        let second = SAMPLE_RATE as usize;
        Self { trim: false, max_conceal: second, max_push: 10 * second, max_foreign: 16 * 1024 }
    }

    /// For files: trimmed, with gaps of up to ten seconds kept as long as they were.
    pub fn file() -> Self {
        let second = SAMPLE_RATE as usize;
        Self { trim: true, max_conceal: 10 * second, max_push: usize::MAX, max_foreign: 64 * 1024 }
    }
}

/// What a decoder has met so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StreamStats {
    /// Whole pages with a right checksum.
    pub pages: u64,
    /// Opus streams begun; more than one when streams are chained.
    pub streams: u64,
    /// Packets decoded.
    pub packets: u64,
    /// Bytes that belonged to no page: damage and garbage.
    pub skipped_bytes: u64,
    /// Pages that were missing by their sequence numbers.
    pub lost_pages: u64,
    /// Pages left out because they came twice or too late.
    pub late_pages: u64,
    /// Samples of concealment put in place of lost audio.
    pub concealed_samples: u64,
    /// Packets left out because one push made too much audio.
    pub dropped_packets: u64,
}

/// A push reader for Ogg Opus: bytes in, mono PCM at 24 kHz out.
///
/// It takes pages split and joined anywhere, chained streams, packets of any length and mode, stereo (mixed down), any
/// pre-skip and gain, granule positions in 24 kHz units, missing OpusTags, a lost first page, and lost, swapped,
/// doubled and damaged pages: it finds the next good page and conceals what is missing. Only a stream that never was
/// Ogg Opus is an error. Memory is bounded by one page and one packet.
#[derive(Debug)]
pub struct OggOpusDecoder {
    config: OggOpusDecoderConfig,
    /// Bytes from the beginning of what may be a page.
    pending: Vec<u8>,
    /// Where in `pending` to go on looking for a whole page inside one that does not end.
    scan: usize,
    /// Work done since the last good page without finding another, in bytes looked at.
    wasted: usize,
    /// Bytes received before the first Opus stream.
    foreign: usize,
    other_codec: Option<String>,
    stream: Option<OpusStream>,
    orphan: Option<Orphan>,
    stats: StreamStats,
}

/// A page of a stream whose head was never seen.
#[derive(Debug)]
struct Orphan {
    serial: u32,
    sequence: u32,
    granule: u64,
}

/// After this much futile searching, what is pending is thrown away: it bounds the work that damage can cause.
const MAX_WASTED: usize = 1 << 20;

impl OggOpusDecoder {
    /// A decoder with these settings.
    pub fn new(config: OggOpusDecoderConfig) -> Self {
        Self {
            config,
            pending: Vec::new(),
            scan: 1,
            wasted: 0,
            foreign: 0,
            other_codec: None,
            stream: None,
            orphan: None,
            stats: StreamStats::default(),
        }
    }

    /// A decoder for a conversation, see [`OggOpusDecoderConfig::live`].
    pub fn live() -> Self {
        Self::new(OggOpusDecoderConfig::live())
    }

    /// A decoder for files, see [`OggOpusDecoderConfig::file`].
    pub fn file() -> Self {
        Self::new(OggOpusDecoderConfig::file())
    }

    /// Takes any number of bytes and appends the samples they complete to `pcm`, mono at 24 kHz within [-1, 1].
    ///
    /// # Errors
    /// [`AudioError::NotOggOpus`] or [`AudioError::OtherCodec`] when no Opus stream came within the first bytes,
    /// [`AudioError::OpusHead`] for a stream of more than two channels. Damage to a stream is no error.
    pub fn push(&mut self, bytes: &[u8], pcm: &mut Vec<f32>) -> Result<(), AudioError> {
        let limit = pcm.len().saturating_add(self.config.max_push);
        for piece in bytes.chunks(MAX_PAGE) {
            self.pending.extend_from_slice(piece);
            if self.stats.streams == 0 {
                self.foreign += piece.len();
            }
            self.drain(limit, pcm)?;
            if self.stats.streams == 0 && self.foreign > self.config.max_foreign {
                self.pending.clear();
                return Err(match self.other_codec.take() {
                    Some(found) => AudioError::OtherCodec { found },
                    None => AudioError::NotOggOpus { bytes: self.foreign },
                });
            }
        }
        Ok(())
    }

    /// What came so far.
    pub fn stats(&self) -> StreamStats {
        self.stats
    }

    /// Whether an Opus stream has begun.
    pub fn started(&self) -> bool {
        self.stats.streams > 0
    }

    /// Whether the bytes so far end in the middle of a page.
    pub fn within_page(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Handles every page that is whole.
    fn drain(&mut self, limit: usize, pcm: &mut Vec<f32>) -> Result<(), AudioError> {
        let mut pending = std::mem::take(&mut self.pending);
        let mut at = 0;
        let result = loop {
            match page::parse(&pending[at..]) {
                Found::Page(page, length) => {
                    (self.scan, self.wasted) = (1, 0);
                    at += length;
                    if let Err(error) = self.page(&page, limit, pcm) {
                        break Err(error);
                    }
                }
                Found::Partial => match self.inner_page(&pending[at..]) {
                    Some(inside) => at = self.skip(at, at + inside),
                    None => break Ok(()),
                },
                Found::Nothing { checked } => {
                    self.wasted += checked;
                    let next = page::next_capture(&pending, at + 1);
                    at = self.skip(at, next);
                }
            }
            if self.wasted > MAX_WASTED {
                self.wasted = 0;
                at = self.skip(at, pending.len());
            }
        };
        pending.drain(..at.min(pending.len()));
        self.pending = pending;
        result
    }

    fn skip(&mut self, from: usize, to: usize) -> usize {
        self.scan = 1;
        self.wasted += to - from;
        self.stats.skipped_bytes += (to - from) as u64;
        to
    }

    /// Looks for a whole page inside one that does not end: damage to a page's length would otherwise make a
    /// conversation wait for up to 64 KiB, which is many seconds.
    fn inner_page(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = page::next_capture(bytes, self.scan);
        let mut resume = None;
        while at < bytes.len() {
            match page::parse(&bytes[at..]) {
                Found::Page(..) => return Some(at),
                // It may become a page later, or be damaged as well.
                Found::Partial => resume = resume.or(Some(at)),
                Found::Nothing { checked } => self.wasted += checked,
            }
            at = page::next_capture(bytes, at + 1);
        }
        self.scan = resume.unwrap_or(at).max(1);
        // The next push looks at these bytes again.
        self.wasted += bytes.len().saturating_sub(self.scan);
        None
    }

    fn page(&mut self, page: &Page<'_>, limit: usize, pcm: &mut Vec<f32>) -> Result<(), AudioError> {
        self.stats.pages += 1;
        let begins = page.header.flags & BOS != 0;
        if begins && page.body.starts_with(b"OpusHead") {
            self.begin(page.header.serial, &Head::parse(page.body)?)?;
            return Ok(());
        }
        if begins {
            self.other_codec.get_or_insert_with(|| codec_name(page.body));
            return Ok(());
        }
        if self.stream.as_ref().is_none_or(|stream| stream.serial() != page.header.serial) && !self.adopt(page)? {
            return Ok(());
        }
        match &mut self.stream {
            Some(stream) => stream.page(page, &self.config, limit, pcm, &mut self.stats),
            None => Ok(()),
        }
    }

    fn begin(&mut self, serial: u32, head: &Head) -> Result<(), AudioError> {
        self.stream = Some(OpusStream::new(serial, head)?);
        self.orphan = None;
        self.stats.streams += 1;
        Ok(())
    }

    /// Whether a page of an unknown stream proves that the stream is Opus: two pages in a row whose granule positions
    /// differ by exactly what the packets say.
    fn adopt(&mut self, page: &Page<'_>) -> Result<bool, AudioError> {
        let header = &page.header;
        let samples = OpusStream::page_samples(page) as u64;
        let proven = self.orphan.as_ref().is_some_and(|orphan| {
            let delta = header.granule.wrapping_sub(orphan.granule);
            orphan.serial == header.serial
                && orphan.sequence.wrapping_add(1) == header.sequence
                && samples > 0
                && (delta == samples || delta == 2 * samples)
        });
        if proven {
            self.begin(header.serial, &Head::unknown())?;
            return Ok(true);
        }
        self.orphan = Some(Orphan { serial: header.serial, sequence: header.sequence, granule: header.granule });
        Ok(false)
    }
}

/// Name of another codec by the first bytes of its stream.
fn codec_name(body: &[u8]) -> String {
    let known: [(&[u8], &str); 5] = [
        (b"\x01vorbis", "Vorbis"),
        (b"\x7fFLAC", "FLAC"),
        (b"Speex", "Speex"),
        (b"\x80theora", "Theora video"),
        (b"fishead", "a Skeleton track"),
    ];
    match known.iter().find(|(magic, _)| body.starts_with(magic)) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("an unknown codec (first bytes {:02x?})", &body[..body.len().min(8)]),
    }
}
