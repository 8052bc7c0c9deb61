//! One Opus stream inside Ogg: its head, its pages in order, the gaps between them.

use crate::ogg_reader::{OggOpusDecoderConfig, StreamStats};
use crate::opus::OpusDecoder;
use crate::page::{CONTINUED, EOS, NO_GRANULE, Page};
use crate::{AudioError, PACKET_SAMPLES};

/// Longest packet that is kept: 48 frames of 1,275 bytes and their lengths (RFC 6716, section 3.4).
const MAX_PACKET: usize = 61_440;

/// After so many pages in a row that look late, the numbering has begun anew.
const MAX_LATE_RUN: u32 = 25;

/// What OpusHead says that matters here (RFC 7845, section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    channels: u8,
    /// In samples at 48 kHz.
    pre_skip: u16,
    gain_q8: i16,
}

impl Head {
    /// The head of a stream whose first page was lost.
    pub(crate) fn unknown() -> Self {
        Self { channels: 1, pre_skip: 0, gain_q8: 0 }
    }

    /// Reads OpusHead; fields that are cut off count as zero.
    pub(crate) fn parse(packet: &[u8]) -> Result<Self, AudioError> {
        let byte = |at: usize| packet.get(at).copied().unwrap_or(0);
        let refuse = |what, found, expected| Err(AudioError::OpusHead { what, found, expected });
        if byte(8) >> 4 != 0 {
            return refuse("version", byte(8), "0 to 15");
        }
        if !(1..=2).contains(&byte(9)) {
            return refuse("channel count", byte(9), "1 or 2");
        }
        if byte(18) != 0 && byte(19) != 1 {
            return refuse("stream count", byte(19), "1");
        }
        Ok(Self {
            channels: byte(9),
            pre_skip: u16::from_le_bytes([byte(10), byte(11)]),
            gain_q8: i16::from_le_bytes([byte(16), byte(17)]),
        })
    }

    /// Reads the head that mp4 files have, whose numbers have the high byte first (*Encapsulation of Opus in ISO Base
    /// Media File Format*, section 4.3.2), with the eight bytes of OpusHead before it.
    pub(crate) fn parse_mp4(packet: &[u8]) -> Result<Self, AudioError> {
        let head = Self::parse(packet)?;
        Ok(Self { pre_skip: head.pre_skip.swap_bytes(), gain_q8: head.gain_q8.swap_bytes(), ..head })
    }

    /// A decoder for the stream.
    pub(crate) fn decoder(&self) -> Result<OpusDecoder, AudioError> {
        OpusDecoder::new(usize::from(self.channels), self.gain_q8)
    }

    /// Samples at 24 kHz to leave out at the beginning of a file.
    pub(crate) fn skip(&self) -> usize {
        usize::from(self.pre_skip) / 2
    }
}

/// Where a stream stands.
#[derive(Debug)]
pub(crate) struct OpusStream {
    serial: u32,
    decoder: OpusDecoder,
    /// The last page of audio taken; none before the first.
    last: Option<LastPage>,
    /// Pages left out as late since the last one taken.
    late_run: u32,
    /// Granule units per sample at 24 kHz, once two pages in a row have shown it: 2, or 1 from the Rust client.
    unit: Option<u64>,
    /// The beginning of a packet that goes on on the next page.
    partial: Vec<u8>,
    /// Whether a packet is under way, even if it became too long to keep.
    open: bool,
    /// Samples still to be left out at the beginning.
    skip: usize,
    /// Samples made so far, trimmed ones included.
    played: u64,
    /// Granule position at which the first sample began.
    base: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct LastPage {
    sequence: u32,
    granule: u64,
    crc: u32,
    samples: usize,
}

/// What to do with a page by its place in the order.
enum Order {
    Next,
    Late,
    /// So many pages are missing before it.
    After(u32),
}

impl OpusStream {
    pub(crate) fn new(serial: u32, head: &Head) -> Result<Self, AudioError> {
        Ok(Self {
            serial,
            decoder: head.decoder()?,
            last: None,
            late_run: 0,
            unit: None,
            partial: Vec::new(),
            open: false,
            skip: head.skip(),
            played: 0,
            base: None,
        })
    }

    pub(crate) fn serial(&self) -> u32 {
        self.serial
    }

    /// Samples at 24 kHz of the packets that begin and end on a page.
    pub(crate) fn page_samples(page: &Page<'_>) -> usize {
        page.packets().filter(|(_, ends)| *ends).filter_map(|(packet, _)| OpusDecoder::packet_samples(packet)).sum()
    }

    /// Decodes a page's packets, after concealing what was lost before it.
    pub(crate) fn page(
        &mut self,
        page: &Page<'_>,
        config: &OggOpusDecoderConfig,
        limit: usize,
        pcm: &mut Vec<f32>,
        stats: &mut StreamStats,
    ) -> Result<(), AudioError> {
        let start = pcm.len();
        match self.order(page) {
            Order::Next => {}
            Order::Late => {
                self.late_run += 1;
                stats.late_pages += 1;
                return Ok(());
            }
            Order::After(missing) => {
                stats.lost_pages += u64::from(missing);
                self.open = false;
                let samples = self.gap(page, missing).min(config.max_conceal).min(limit.saturating_sub(start));
                if samples > 0 {
                    stats.concealed_samples += self.decoder.conceal(samples, pcm)? as u64;
                }
            }
        }
        let first_audio = pcm.len();
        self.packets(page, limit, pcm, stats)?;
        self.count(page, pcm.len() - first_audio, (pcm.len() - start) as u64);
        if config.trim {
            self.trim(page, start, pcm);
        }
        Ok(())
    }

    /// Where a page belongs, by its sequence number and granule position.
    fn order(&self, page: &Page<'_>) -> Order {
        let Some(last) = self.last else {
            return Order::Next;
        };
        let header = &page.header;
        if header.sequence == last.sequence && header.crc == last.crc {
            return Order::Late;
        }
        let ahead = header.sequence.wrapping_sub(last.sequence.wrapping_add(1)).cast_signed();
        let earlier = header.granule != NO_GRANULE && last.granule != NO_GRANULE && header.granule < last.granule;
        match ahead {
            0 => Order::Next,
            1.. => Order::After(ahead.unsigned_abs()),
            _ if earlier && self.late_run < MAX_LATE_RUN => Order::Late,
            // The client does not count its pages as it should; its audio is as good as any.
            _ => Order::Next,
        }
    }

    /// How many samples are missing before a page: by the granule positions where their unit is known, else as many
    /// per page as the last one had.
    fn gap(&self, page: &Page<'_>, missing: u32) -> usize {
        let (Some(last), granule) = (self.last, page.header.granule) else {
            return 0;
        };
        let by_granule = self.unit.filter(|_| granule != NO_GRANULE && last.granule != NO_GRANULE).and_then(|unit| {
            let between = granule.checked_sub(last.granule)? / unit;
            usize::try_from(between.saturating_sub(Self::page_samples(page) as u64)).ok()
        });
        let per_page = if last.samples > 0 { last.samples } else { PACKET_SAMPLES };
        by_granule.unwrap_or_else(|| per_page.saturating_mul(missing as usize))
    }

    fn packets(
        &mut self,
        page: &Page<'_>,
        limit: usize,
        pcm: &mut Vec<f32>,
        stats: &mut StreamStats,
    ) -> Result<(), AudioError> {
        let mut rest = page.header.flags & CONTINUED != 0;
        if !rest || !self.open {
            self.partial.clear();
        }
        for (piece, ends) in page.packets() {
            // The rest of a packet whose beginning was lost is of no use.
            let orphan = rest && !self.open;
            let joined = rest && self.open;
            rest = false;
            if !ends || joined {
                let room = MAX_PACKET.saturating_sub(self.partial.len());
                self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            self.open = !ends && !orphan;
            if !ends || orphan {
                continue;
            }
            if joined {
                let packet = std::mem::take(&mut self.partial);
                self.packet(&packet, limit, pcm, stats)?;
                self.partial = packet;
                self.partial.clear();
            } else {
                self.packet(piece, limit, pcm, stats)?;
            }
        }
        Ok(())
    }

    fn packet(
        &mut self,
        packet: &[u8],
        limit: usize,
        pcm: &mut Vec<f32>,
        stats: &mut StreamStats,
    ) -> Result<(), AudioError> {
        if packet.is_empty() || packet.starts_with(b"OpusTags") || packet.starts_with(b"OpusHead") {
            return Ok(());
        }
        if pcm.len() >= limit {
            stats.dropped_packets += 1;
            return Ok(());
        }
        self.decoder.decode(packet, pcm)?;
        stats.packets += 1;
        Ok(())
    }

    /// Remembers where the stream stands after a page that made `samples` samples, `all` with concealment.
    fn count(&mut self, page: &Page<'_>, samples: usize, all: u64) {
        let header = &page.header;
        self.played += all;
        if let Some(last) = self.last.filter(|last| last.sequence.wrapping_add(1) == header.sequence) {
            let delta = header.granule.wrapping_sub(last.granule);
            if samples > 0 && delta == samples as u64 {
                self.unit = Some(1);
            } else if samples > 0 && delta == 2 * samples as u64 {
                self.unit = Some(2);
            }
        }
        if self.base.is_none() && samples > 0 && header.granule != NO_GRANULE {
            self.base = Some(header.granule.saturating_sub(2 * self.played));
        }
        if samples > 0 || self.last.is_some() {
            let granule =
                if header.granule == NO_GRANULE { self.last.map_or(0, |last| last.granule) } else { header.granule };
            self.last = Some(LastPage { sequence: header.sequence, granule, crc: header.crc, samples });
        }
        self.late_run = 0;
    }

    /// Leaves out the pre-skip at the beginning and what lies behind the last page's granule position.
    fn trim(&mut self, page: &Page<'_>, start: usize, pcm: &mut Vec<f32>) {
        let header = &page.header;
        let ends = header.flags & EOS != 0 && header.granule != NO_GRANULE && self.unit != Some(1);
        if let Some(base) = self.base.filter(|_| ends) {
            let end = header.granule.saturating_sub(base).div_ceil(2);
            let beyond = usize::try_from(self.played.saturating_sub(end)).unwrap_or(usize::MAX);
            pcm.truncate(pcm.len().saturating_sub(beyond).max(start));
        }
        let skip = self.skip.min(pcm.len() - start);
        pcm.drain(start..start + skip);
        self.skip -= skip;
    }
}
