//! PCM frames into the Ogg Opus stream that published clients understand.

use crate::opus::{OpusEncoder, OpusEncoderConfig, PACKET_SAMPLES};
use crate::page::{self, BOS, EOS, NO_GRANULE, PageHeader};
use crate::{AudioError, FRAME_SAMPLES};

/// Pre-skip of the published servers, in samples at 48 kHz.
const PRE_SKIP: u16 = 3_840;
/// Input rate of the published servers; only information.
const INPUT_RATE: u32 = 48_000;
/// Granule positions count at 48 kHz.
const GRANULES_PER_PACKET: u64 = PACKET_SAMPLES as u64 * 2;
/// Who made the stream, in OpusTags.
const VENDOR: &[u8] = b"rustymoshi";

/// Settings of a stream towards a client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OggOpusEncoderConfig {
    /// The codec's settings.
    pub opus: OpusEncoderConfig,
    /// Serial number of the Ogg stream; any number does.
    pub serial: u32,
}

/// Makes one message of whole pages from every frame of 80 ms: two pages, each with one packet of 40 ms.
///
/// Page 0 is OpusHead (version 1, one channel, pre-skip 3,840, input rate 48,000, gain 0, mapping 0), page 1 OpusTags,
/// audio begins with page 2; granule positions count 48 kHz samples, the first is 1,920. The header pages stand at the
/// beginning of the first message, or are taken before with [`OggOpusEncoder::headers`].
#[derive(Debug)]
pub struct OggOpusEncoder {
    opus: OpusEncoder,
    serial: u32,
    sequence: u32,
    granule: u64,
}

impl OggOpusEncoder {
    /// A stream that has not begun.
    ///
    /// # Errors
    /// [`AudioError::Setting`] when a setting is out of range.
    pub fn new(config: &OggOpusEncoderConfig) -> Result<Self, AudioError> {
        Ok(Self { opus: OpusEncoder::new(&config.opus)?, serial: config.serial, sequence: 0, granule: 0 })
    }

    /// Appends the two header pages to `out`, unless they have been given out already.
    pub fn headers(&mut self, out: &mut Vec<u8>) {
        if self.sequence == 0 {
            self.page(BOS, 0, &opus_head(), out);
            self.page(0, 0, &opus_tags(), out);
        }
    }

    /// Encodes one frame of [`FRAME_SAMPLES`] samples and appends its two pages to `out`, after the header pages if
    /// these have not been given out yet. Keep `out` and clear it between messages: its room is used again.
    ///
    /// # Errors
    /// [`AudioError::FrameLength`] for another number of samples; [`AudioError::Opus`] when the codec fails.
    pub fn push(&mut self, frame: &[f32], out: &mut Vec<u8>) -> Result<(), AudioError> {
        if frame.len() != FRAME_SAMPLES {
            return Err(AudioError::FrameLength { found: frame.len(), expected: FRAME_SAMPLES });
        }
        self.headers(out);
        for half in frame.chunks_exact(PACKET_SAMPLES) {
            self.granule += GRANULES_PER_PACKET;
            let header = self.header(0, self.granule);
            page::write(&header, self.opus.encode(half)?, out);
        }
        Ok(())
    }

    /// Leaves `frames` frames out: the granule positions of what follows tell a listener how much time is missing.
    pub fn skip(&mut self, frames: usize) {
        let packets = frames * (FRAME_SAMPLES / PACKET_SAMPLES);
        self.granule = self.granule.saturating_add(packets as u64 * GRANULES_PER_PACKET);
    }

    /// Appends an empty last page that ends the stream. Published servers just stop; files want it.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.headers(out);
        self.page(EOS, NO_GRANULE, &[], out);
    }

    fn page(&mut self, flags: u8, granule: u64, packet: &[u8], out: &mut Vec<u8>) {
        let header = self.header(flags, granule);
        page::write(&header, packet, out);
    }

    /// The next page's header.
    fn header(&mut self, flags: u8, granule: u64) -> PageHeader {
        let header = PageHeader { flags, granule, serial: self.serial, sequence: self.sequence, crc: 0 };
        self.sequence = self.sequence.wrapping_add(1);
        header
    }
}

/// The identification header of RFC 7845, section 5.1.
fn opus_head() -> Vec<u8> {
    let mut head = b"OpusHead\x01\x01".to_vec();
    head.extend_from_slice(&PRE_SKIP.to_le_bytes());
    head.extend_from_slice(&INPUT_RATE.to_le_bytes());
    head.extend_from_slice(&[0, 0, 0]);
    head
}

/// The comment header of RFC 7845, section 5.2, without comments.
fn opus_tags() -> Vec<u8> {
    let mut tags = b"OpusTags".to_vec();
    tags.extend_from_slice(&(VENDOR.len() as u32).to_le_bytes());
    tags.extend_from_slice(VENDOR);
    tags.extend_from_slice(&[0; 4]);
    tags
}
