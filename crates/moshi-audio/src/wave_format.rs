//! What the samples of a wav file are: the `fmt ` chunk, and the codec that its tag names.

use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::well_known as id;
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters};

/// What follows the tag in a GUID that stands for one (`KSDATAFORMAT_SUBTYPE_WAVEFORMATEX`).
const TAG_GUID: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
/// The same for ambisonic sound, which is mixed as any other.
const AMBISONIC_GUID: [u8; 14] = [0, 0, 0x21, 0x07, 0xd3, 0x11, 0x86, 0x44, 0xc8, 0xc1, 0xca, 0, 0, 0];
/// The tag that says that a GUID follows.
const EXTENSIBLE: u16 = 0xfffe;

/// More channels than any recorder has.
const MAX_CHANNELS: u16 = 256;

/// The `fmt ` chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaveFormat {
    /// Which codec, after the GUID of an extensible format has been looked up.
    tag: Tag,
    channels: u16,
    rate: u32,
    /// Bytes of a block, which for PCM is one sample of every channel.
    block: u16,
    bits: u16,
    big_endian: bool,
}

/// Which codec a format names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tag {
    Number(u16),
    /// A GUID that stands for no number.
    Guid([u8; 16]),
}

/// How the samples are stored.
#[derive(Debug)]
pub(crate) enum WaveCodec {
    /// In blocks of a fixed size, which symphonia decodes.
    Blocks(Blocks),
    /// As a stream that is a file by itself, with its usual ending.
    Stream(&'static str),
    /// In a way that this crate does not know, by name.
    Unknown(String),
    /// The fields do not agree.
    Damaged(String),
}

/// Samples in blocks of a fixed size.
#[derive(Debug)]
pub(crate) struct Blocks {
    pub(crate) params: AudioCodecParameters,
    /// Bytes of a block.
    pub(crate) bytes: usize,
    /// Samples of each channel in a block.
    pub(crate) frames: usize,
}

/// Samples in a packet of many blocks: as many as symphonia takes.
pub(crate) const PACKET_FRAMES: usize = 1_152;

impl WaveFormat {
    /// Reads the chunk's content; `None` where it is too short to say anything.
    pub(crate) fn parse(bytes: &[u8], big_endian: bool) -> Option<Self> {
        let short = |at: usize| {
            let bytes = *bytes.get(at..)?.first_chunk()?;
            Some(if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
        };
        let rate = *bytes.get(4..)?.first_chunk()?;
        let rate = if big_endian { u32::from_be_bytes(rate) } else { u32::from_le_bytes(rate) };
        let (tag, channels, block) = (short(0)?, short(2)?, short(12)?);
        // The oldest form ends here.
        let bits = short(14).unwrap_or(0);
        let tag = if tag == EXTENSIBLE { extensible(bytes, big_endian) } else { Tag::Number(tag) };
        Some(Self { tag, channels, rate, block, bits, big_endian })
    }

    /// Which codec, and how it lies in the file.
    pub(crate) fn codec(&self) -> WaveCodec {
        if !(1..=MAX_CHANNELS).contains(&self.channels) {
            let found = self.channels;
            return WaveCodec::Damaged(format!("its header says {found} channels; expected 1 to {MAX_CHANNELS}"));
        }
        let channels = usize::from(self.channels);
        let tag = match self.tag {
            Tag::Number(tag) => tag,
            Tag::Guid(guid) => return WaveCodec::Unknown(guid_name(&guid)),
        };
        match tag {
            0x0001 => self.plain("PCM", self.width(4), |width| self.integers(width)),
            0x0003 => self.plain("floating-point PCM", self.width(8), |width| self.floats(width)),
            0x0006 => self.plain("A-law", 1, |_| Some(id::CODEC_ID_PCM_ALAW)),
            0x0007 => self.plain("µ-law", 1, |_| Some(id::CODEC_ID_PCM_MULAW)),
            0x0002 if channels <= 2 => self.adpcm(id::CODEC_ID_ADPCM_MS, 7 * channels, 2),
            0x0011 if channels <= 2 && self.bits == 4 => self.adpcm(id::CODEC_ID_ADPCM_IMA_WAV, 4 * channels, 1),
            0x0050 | 0x0055 => WaveCodec::Stream("mp3"),
            0x1600 => WaveCodec::Stream("aac"),
            0x0011 => WaveCodec::Unknown(format!("{}-bit IMA ADPCM of {channels} channels", self.bits)),
            0x0002 => WaveCodec::Unknown(format!("MS ADPCM of {channels} channels")),
            tag => WaveCodec::Unknown(tag_name(tag)),
        }
    }

    /// Bytes of one sample; `most` is what makes sense.
    fn width(&self, most: u16) -> u16 {
        let by_bits = self.bits.div_ceil(8);
        let by_block = self.block / self.channels.max(1);
        let whole = self.block.is_multiple_of(self.channels.max(1));
        if whole && (by_bits.max(1)..=most).contains(&by_block) { by_block } else { by_bits }
    }

    fn integers(&self, width: u16) -> Option<AudioCodecId> {
        Some(match (width, self.big_endian) {
            (1, _) => id::CODEC_ID_PCM_U8,
            (2, false) => id::CODEC_ID_PCM_S16LE,
            (2, true) => id::CODEC_ID_PCM_S16BE,
            (3, false) => id::CODEC_ID_PCM_S24LE,
            (3, true) => id::CODEC_ID_PCM_S24BE,
            (4, false) => id::CODEC_ID_PCM_S32LE,
            (4, true) => id::CODEC_ID_PCM_S32BE,
            _ => return None,
        })
    }

    fn floats(&self, width: u16) -> Option<AudioCodecId> {
        Some(match (width, self.big_endian) {
            (4, false) => id::CODEC_ID_PCM_F32LE,
            (4, true) => id::CODEC_ID_PCM_F32BE,
            (8, false) => id::CODEC_ID_PCM_F64LE,
            (8, true) => id::CODEC_ID_PCM_F64BE,
            _ => return None,
        })
    }

    /// Samples one after another, `width` bytes each.
    fn plain(&self, name: &str, width: u16, codec: impl Fn(u16) -> Option<AudioCodecId>) -> WaveCodec {
        match codec(width) {
            Some(codec) => self.blocks(codec, usize::from(width) * usize::from(self.channels), 1),
            None => WaveCodec::Unknown(format!("{}-bit {name}", self.bits)),
        }
    }

    /// Blocks of `head` bytes, which hold `first` samples of each channel, and samples of 4 bits.
    fn adpcm(&self, codec: AudioCodecId, head: usize, first: usize) -> WaveCodec {
        let block = usize::from(self.block);
        match block.checked_sub(head) {
            Some(rest) => self.blocks(codec, block, first + rest * 2 / usize::from(self.channels)),
            None => WaveCodec::Damaged(format!("its header says blocks of {block} bytes; expected {head} or more")),
        }
    }

    fn blocks(&self, codec: AudioCodecId, bytes: usize, frames: usize) -> WaveCodec {
        let mut params = AudioCodecParameters::new();
        params
            .for_codec(codec)
            .with_sample_rate(self.rate)
            .with_channels(Channels::Discrete(self.channels))
            .with_frames_per_block(frames as u64)
            .with_max_frames_per_packet(frames.max(PACKET_FRAMES) as u64);
        WaveCodec::Blocks(Blocks { params, bytes, frames })
    }
}

/// Names of tags that are not decoded; most are in Microsoft's `mmreg.h`.
const NAMES: [(std::ops::RangeInclusive<u16>, &str); 66] = [
    (0x0001..=0x0001, "PCM"),
    (0x0002..=0x0002, "MS ADPCM"),
    (0x0003..=0x0003, "floating-point PCM"),
    (0x0008..=0x0008, "DTS"),
    (0x000a..=0x000a, "Windows Media Audio (WMA) voice"),
    (0x0010..=0x0010, "OKI ADPCM"),
    (0x0011..=0x0011, "IMA ADPCM"),
    (0x0014..=0x0014, "G.723 ADPCM"),
    (0x0016..=0x0016, "G.723 ADPCM"),
    (0x0017..=0x0017, "Dialogic OKI ADPCM"),
    (0x0020..=0x0020, "Yamaha ADPCM"),
    (0x0021..=0x0021, "Sonarc"),
    (0x0022..=0x0022, "DSP Group TrueSpeech"),
    (0x0030..=0x0030, "Dolby AC-2"),
    (0x0031..=0x0032, "GSM 6.10"),
    (0x0036..=0x0036, "VoxWare"),
    (0x0040..=0x0040, "G.721 ADPCM"),
    (0x0041..=0x0041, "G.728 CELP"),
    (0x0042..=0x0042, "G.723.1"),
    (0x0045..=0x0045, "G.726 ADPCM"),
    (0x0052..=0x0052, "RT24"),
    (0x0057..=0x0057, "AMR-NB"),
    (0x0058..=0x0058, "AMR-WB"),
    (0x0059..=0x0059, "G.726 ADPCM"),
    (0x0061..=0x0062, "Duck DK ADPCM"),
    (0x0064..=0x0064, "G.726 ADPCM"),
    (0x0065..=0x0065, "G.722"),
    (0x0069..=0x0069, "Voxware IMA ADPCM"),
    (0x0070..=0x007b, "Voxware"),
    (0x0083..=0x0083, "G.729"),
    (0x0085..=0x0085, "G.726 ADPCM"),
    (0x0092..=0x0092, "AC-3"),
    (0x00ff..=0x00ff, "AAC"),
    (0x0111..=0x0111, "G.723.1"),
    (0x0130..=0x0130, "ACELP.net"),
    (0x0133..=0x0133, "G.729"),
    (0x0135..=0x0135, "G.726 ADPCM"),
    (0x0140..=0x0140, "G.726 ADPCM"),
    (0x0160..=0x0163, "Windows Media Audio (WMA)"),
    (0x0180..=0x0180, "AAC"),
    (0x0200..=0x0200, "Creative ADPCM"),
    (0x0270..=0x0270, "ATRAC3"),
    (0x028e..=0x028e, "Siren"),
    (0x028f..=0x028f, "G.722"),
    (0x0400..=0x0400, "Brooktree ADPCM"),
    (0x0401..=0x0402, "Intel Music Coder"),
    (0x1500..=0x1500, "GSM 6.20"),
    (0x1501..=0x1501, "Speech mode of RealAudio"),
    (0x1601..=0x1602, "AAC"),
    (0x1610..=0x1610, "AAC"),
    (0x1971..=0x1971, "Sonic Foundry lossless audio"),
    (0x2000..=0x2000, "AC-3"),
    (0x2001..=0x2001, "DTS"),
    (0x2048..=0x2048, "Sonic"),
    (0x4143..=0x4143, "AAC"),
    (0x566f..=0x566f, "Vorbis"),
    (0x5756..=0x5756, "WavPack"),
    (0x674f..=0x6771, "Vorbis"),
    (0x704f..=0x704f, "Opus"),
    (0x706d..=0x706d, "AAC"),
    (0x7361..=0x7361, "AMR-NB"),
    (0x7362..=0x7362, "AMR-WB"),
    (0x77a1..=0x77a1, "True Audio (TTA)"),
    (0xa106..=0xa106, "AAC"),
    (0xa109..=0xa109, "Speex"),
    (0xf1ac..=0xf1ac, "FLAC"),
];

/// The name of a codec that is not decoded.
pub(crate) fn tag_name(tag: u16) -> String {
    let known = NAMES.iter().find(|(tags, _)| tags.contains(&tag));
    known.map_or_else(|| format!("a codec that wav files call {tag:#06x}"), |(_, name)| (*name).to_owned())
}

/// The name of a codec that has a GUID and no number.
fn guid_name(guid: &[u8; 16]) -> String {
    let name = match guid.first_chunk() {
        Some([0xaf, 0x87, 0xfb, 0xa7]) => "E-AC-3",
        Some([0xbf, 0xaa, 0x23, 0xe9]) => "ATRAC3plus",
        Some([0xd2, 0x42, 0xe1, 0x47]) => "ATRAC9",
        _ => {
            let digits: String = guid.iter().map(|byte| format!("{byte:02x}")).collect();
            return format!("a codec that its header names by the GUID {digits}");
        }
    };
    name.to_owned()
}

/// The number behind an extensible format's GUID; a chunk too short for one is taken for PCM.
fn extensible(bytes: &[u8], big_endian: bool) -> Tag {
    let Some(guid) = bytes.get(24..).and_then(<[u8]>::first_chunk::<16>) else { return Tag::Number(1) };
    let [a, b, rest @ ..] = *guid;
    if rest != TAG_GUID && rest != AMBISONIC_GUID {
        return Tag::Guid(*guid);
    }
    // Some programs turn the number around in RIFX, and some do not.
    let turned = big_endian && a == 0;
    Tag::Number(if turned { u16::from_be_bytes([a, b]) } else { u16::from_le_bytes([a, b]) })
}
