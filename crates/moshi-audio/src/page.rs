//! Ogg pages (RFC 3533): written one at a time, and found again in bytes that may be damaged.

/// Bytes before the lacing values.
const HEADER: usize = 27;
/// What every page begins with.
const CAPTURE: &[u8; 4] = b"OggS";
/// Longest page there can be.
pub(crate) const MAX_PAGE: usize = HEADER + 255 + 255 * 255;

/// Flag: the page begins with the rest of a packet.
pub(crate) const CONTINUED: u8 = 1;
/// Flag: first page of a stream.
pub(crate) const BOS: u8 = 2;
/// Flag: last page of a stream.
pub(crate) const EOS: u8 = 4;
/// Granule position of a page on which no packet ends.
pub(crate) const NO_GRANULE: u64 = u64::MAX;

/// The fields of a page's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageHeader {
    pub(crate) flags: u8,
    pub(crate) granule: u64,
    pub(crate) serial: u32,
    pub(crate) sequence: u32,
    pub(crate) crc: u32,
}

/// A whole page whose checksum is right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page<'a> {
    pub(crate) header: PageHeader,
    /// Lacing values, one per segment.
    pub(crate) lacing: &'a [u8],
    /// The segments.
    pub(crate) body: &'a [u8],
}

impl<'a> Page<'a> {
    /// The page's packets with whether each ends on this page.
    pub(crate) fn packets(&self) -> impl Iterator<Item = (&'a [u8], bool)> + use<'a> {
        let (mut lacing, mut body) = (self.lacing, self.body);
        std::iter::from_fn(move || {
            if lacing.is_empty() {
                return None;
            }
            let ends = lacing.iter().position(|value| *value < 255);
            let segments = ends.map_or(lacing.len(), |at| at + 1);
            let (mine, rest) = lacing.split_at(segments);
            let length: usize = mine.iter().map(|value| usize::from(*value)).sum();
            let (packet, tail) = body.split_at_checked(length)?;
            (lacing, body) = (rest, tail);
            Some((packet, ends.is_some()))
        })
    }
}

/// What stands at the beginning of some bytes.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A page and its length in bytes.
    Page(Page<'a>, usize),
    /// The beginning of what may be a page.
    Partial,
    /// No page; its checksum was computed over `checked` bytes in vain.
    Nothing { checked: usize },
}

/// Looks for a page at the very beginning of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Found<'_> {
    let seen = bytes.len().min(CAPTURE.len());
    if bytes[..seen] != CAPTURE[..seen] || bytes.get(4).is_some_and(|version| *version != 0) {
        return Found::Nothing { checked: 0 };
    }
    let Some((head, rest)) = bytes.split_at_checked(HEADER) else {
        return Found::Partial;
    };
    let segments = usize::from(head[26]);
    let Some((lacing, rest)) = rest.split_at_checked(segments) else {
        return Found::Partial;
    };
    let length: usize = lacing.iter().map(|value| usize::from(*value)).sum();
    let Some((body, _)) = rest.split_at_checked(length) else {
        return Found::Partial;
    };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let header = PageHeader {
        flags: head[5],
        granule: u64::from(word(6)) | u64::from(word(10)) << 32,
        serial: word(14),
        sequence: word(18),
        crc: word(22),
    };
    let total = HEADER + segments + length;
    let sum = crc(crc(crc(0, &head[..22]), &[0; 4]), &bytes[26..total]);
    if sum != header.crc {
        return Found::Nothing { checked: total };
    }
    Found::Page(Page { header, lacing, body }, total)
}

/// Where the next possible page begins in `bytes`, from `from` on; the length when there is none. A beginning cut off
/// by the end counts.
pub(crate) fn next_capture(bytes: &[u8], from: usize) -> usize {
    let mut at = from.min(bytes.len());
    while at < bytes.len() {
        let seen = (bytes.len() - at).min(CAPTURE.len());
        if bytes[at..at + seen] == CAPTURE[..seen] {
            return at;
        }
        at += 1;
    }
    at
}

/// Appends a page that holds exactly `packet`, whole, or nothing at all when it is empty. The checksum is computed
/// here.
///
/// A packet must be shorter than 255 * 255 bytes, as every Opus packet is; a longer one is cut.
pub(crate) fn write(header: &PageHeader, packet: &[u8], out: &mut Vec<u8>) {
    let packet = &packet[..packet.len().min(255 * 255 - 1)];
    let start = out.len();
    out.extend_from_slice(CAPTURE);
    out.extend_from_slice(&[0, header.flags]);
    out.extend_from_slice(&header.granule.to_le_bytes());
    out.extend_from_slice(&header.serial.to_le_bytes());
    out.extend_from_slice(&header.sequence.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    if packet.is_empty() {
        out.push(0);
    } else {
        let full = packet.len() / 255;
        out.push((full + 1) as u8);
        out.resize(out.len() + full, 255);
        out.push((packet.len() % 255) as u8);
    }
    out.extend_from_slice(packet);
    let sum = crc(0, &out[start..]);
    out[start + 22..start + 26].copy_from_slice(&sum.to_le_bytes());
}

/// The checksum of RFC 3533: polynomial 0x04c11db7, not reflected, from 0.
fn crc(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |sum, byte| (sum << 8) ^ CRC[((sum >> 24) ^ u32::from(*byte)) as usize & 255])
}

static CRC: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut sum = (i as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 0x8000_0000 != 0 { (sum << 1) ^ 0x04c1_1db7 } else { sum << 1 };
            bit += 1;
        }
        table[i] = sum;
        i += 1;
    }
    table
}

/// The granule position of the last whole page in `bytes` that has one.
pub(crate) fn last_granule(bytes: &[u8]) -> Option<u64> {
    let (mut at, mut granule) = (next_capture(bytes, 0), None);
    while at < bytes.len() {
        at = match parse(&bytes[at..]) {
            Found::Page(page, length) => {
                granule = Some(page.header.granule).filter(|granule| *granule != NO_GRANULE).or(granule);
                at + length
            }
            Found::Partial | Found::Nothing { .. } => next_capture(bytes, at + 1),
        };
    }
    granule
}
