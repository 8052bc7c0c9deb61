//! What a file holds that cannot be decoded, by name: the codec inside a container, or the format of the whole file.

use std::path::Path;

use crate::input::Input;
use crate::wave_format::tag_name;

/// Most that is looked through for a codec's name.
const SEARCH: usize = 4 << 20;

/// Names by the four letters that mp4, QuickTime, AIFF-C and CAF files have for a codec.
const BY_LETTERS: [(&[u8; 4], &str); 52] = [
    (b"samr", "AMR-NB"),
    (b"sawb", "AMR-WB"),
    (b"sawp", "AMR-WB+"),
    (b"sevc", "EVRC"),
    (b"sqcp", "QCELP"),
    (b"Qclp", "QCELP"),
    (b"ssmv", "SMV"),
    (b"ac-3", "AC-3"),
    (b"ec-3", "E-AC-3"),
    (b"ac-4", "AC-4"),
    (b"dtsc", "DTS"),
    (b"dtse", "DTS"),
    (b"dtsh", "DTS"),
    (b"dtsl", "DTS"),
    (b"dtsx", "DTS:X"),
    (b"mlpa", "TrueHD"),
    (b"mha1", "MPEG-H"),
    (b"mhm1", "MPEG-H"),
    (b"enca", "an encrypted codec"),
    (b"drms", "protected AAC"),
    (b"mp4a", "AAC of a kind other than LC"),
    (b"aac ", "AAC"),
    (b"aach", "HE-AAC"),
    (b"aacp", "HE-AAC v2"),
    (b"aacl", "AAC-LD"),
    (b"aace", "AAC-ELD"),
    (b"aacf", "AAC-ELD"),
    (b"paac", "protected AAC"),
    (b"usac", "xHE-AAC"),
    (b"alac", "ALAC"),
    (b"fLaC", "FLAC"),
    (b"flac", "FLAC"),
    (b"Opus", "Opus"),
    (b"opus", "Opus"),
    (b"spex", "Speex"),
    (b"ilbc", "iLBC"),
    (b"ima4", "IMA ADPCM"),
    (b"dvi8", "DVI ADPCM"),
    (b"ADP4", "DVI ADPCM"),
    (b"MAC3", "MACE 3:1"),
    (b"MAC6", "MACE 6:1"),
    (b"QDMC", "QDesign Music"),
    (b"QDM2", "QDesign Music 2"),
    (b"agsm", "GSM 6.10"),
    (b"GSM ", "GSM 6.10"),
    (b"G722", "G.722"),
    (b"G726", "G.726"),
    (b"G728", "G.728"),
    (b"wma ", "Windows Media Audio (WMA)"),
    (b".mp1", "MPEG layer 1"),
    (b".mp2", "MPEG layer 2"),
    (b".mp3", "MP3"),
];

/// Those of them that are decoded, at least in some of their kinds.
const DECODABLE: [&[u8; 4]; 11] =
    [b"mp4a", b"aac ", b"alac", b"fLaC", b"flac", b"Opus", b"opus", b"ima4", b".mp1", b".mp2", b".mp3"];

/// Names of Matroska's codecs, by how they begin; what is not here has a name that can be read.
const BY_MATROSKA: [(&str, &str); 15] = [
    ("A_AC3", "AC-3"),
    ("A_EAC3", "E-AC-3"),
    ("A_DTS", "DTS"),
    ("A_TRUEHD", "TrueHD"),
    ("A_MLP", "MLP"),
    ("A_AAC", "AAC of a kind other than LC"),
    ("A_WAVPACK", "WavPack"),
    ("A_TTA", "True Audio (TTA)"),
    ("A_MPC", "Musepack"),
    ("A_MS/ACM", "a codec of Windows"),
    ("A_QUICKTIME", "a codec of QuickTime"),
    ("A_REAL/COOK", "RealAudio Cook"),
    ("A_REAL", "RealAudio"),
    ("A_ATRAC", "ATRAC"),
    ("A_SPEEX", "Speex"),
];

/// How streams in Ogg begin.
const BY_OGG: [(&[u8], &str); 5] = [
    (b"Speex   ", "Speex"),
    (b"CELT    ", "CELT"),
    (b"PCM     ", "OggPCM"),
    (b"\x80theora", "Theora, which is video,"),
    (b"BBCD\0", "Dirac, which is video,"),
];

/// How files begin whose format is not read at all.
const BY_BEGINNING: [(usize, &[u8], &str); 37] = [
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media (wma, asf)"),
    (0, b"#!AMR-WB", "AMR-WB"),
    (0, b"#!AMR", "AMR-NB"),
    (0, b"#!SILK", "SILK"),
    (1, b"#!SILK", "SILK"),
    (0, b".snd", "a Sun audio file (au)"),
    (0, b"dns.", "a Sun audio file (au)"),
    (0, b"Creative Voice File", "a Creative voice file (voc)"),
    (0, b"NIST_1A", "a NIST Sphere file (sph)"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio (ape)"),
    (0, b"TTA1", "True Audio (TTA)"),
    (0, b"TTA2", "True Audio (TTA)"),
    (0, b"MPCK", "Musepack"),
    (0, b"MP+", "Musepack"),
    (0, b"OFR ", "OptimFROG"),
    (0, b"\x0b\x77", "AC-3"),
    (0, b"\x7f\xfe\x80\x01", "DTS"),
    (0, b"DSD ", "DSD (dsf)"),
    (0, b"FRM8", "DSD (dsdiff)"),
    (0, b"ADIF", "AAC in ADIF"),
    (0, b".RMF", "RealMedia"),
    (0, b".ra\xfd", "RealAudio"),
    (0, b"\x64\xa3", "an IRCAM sound file"),
    (0, b"FLV\x01", "Flash video"),
    (0, b"\0\0\x01\xba", "an MPEG program stream"),
    (0, b"MThd", "MIDI, which is notes and no sound"),
    (8, b"RMID", "MIDI, which is notes and no sound"),
    (8, b"AVI ", "AVI video"),
    (8, b"MAUD", "an Amiga MAUD file"),
    (0, b"2BIT", "an Audio Visual Research file (avr)"),
    (0, b"SOUND SAMPLE DATA", "a SampleVision file (smp)"),
    (0, b" paf", "an Ensoniq PARIS file (paf)"),
    (0, b"fap ", "an Ensoniq PARIS file (paf)"),
    (0, b"ALawSoundFile", "a Psion sound file (wve)"),
    (8, b"8SVX", "an Amiga voice file (8svx)"),
    (8, b"16SV", "an Amiga voice file (16sv)"),
];

/// The name of a format that is not read, by how its files begin.
pub(crate) fn whole_file(beginning: &[u8]) -> Option<&'static str> {
    let transport = |at: usize| [0, 188, 376].iter().all(|next| beginning.get(at + next) == Some(&0x47));
    if transport(0) || transport(4) {
        return Some("an MPEG transport stream");
    }
    let is = |(at, magic, _): &&(usize, &[u8], &'static str)| {
        beginning.get(*at..).is_some_and(|bytes| bytes.starts_with(magic))
    };
    BY_BEGINNING.iter().find(is).map(|(_, _, name)| *name)
}

/// The codec inside a container.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inside {
    pub(crate) name: String,
    /// Whether it is decoded in some of its kinds, so that the file may as well be damaged.
    pub(crate) decodable: bool,
}

/// The codec inside a container; `None` where it has none that can be found.
pub(crate) fn codec_inside(input: &mut Input, beginning: &[u8]) -> Option<Inside> {
    let letters = match beginning.get(..4)? {
        b"OggS" => return ogg(beginning),
        b"\x1a\x45\xdf\xa3" => return matroska(input),
        b"caff" => *beginning.get(28..)?.first_chunk()?,
        b"FORM" => {
            let common = find(beginning, b"COMM")?;
            let inside = by_letters(beginning.get(common + 26..)?.first_chunk()?);
            // Nothing that is compressed is decoded from these.
            return Some(Inside { decodable: inside.name.starts_with("the codec"), ..inside });
        }
        _ => return sample_entry(input),
    };
    Some(by_letters(&letters))
}

/// The name of a codec whose files have no header, by the file's ending.
pub(crate) fn without_header(path: &Path) -> Option<String> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    let name = match ending.as_str() {
        "gsm" => "GSM 6.10",
        "vox" => "Dialogic OKI ADPCM",
        "ul" | "ulaw" | "mulaw" | "pcmu" => "µ-law",
        "al" | "alaw" | "pcma" => "A-law",
        "g722" => "G.722",
        "g723" => "G.723.1",
        "g726" => "G.726 ADPCM",
        "g729" => "G.729",
        "ima" => "IMA ADPCM",
        "cvs" | "cvsd" | "dvms" => "CVSD",
        "pcm" | "raw" | "sln" | "sln16" | "sw" | "s16" | "f32" => "PCM",
        _ => return None,
    };
    Some(format!("{name} without a header"))
}

fn by_letters(letters: &[u8; 4]) -> Inside {
    // QuickTime takes the numbers of wav files too.
    if let [b'm', b's', high, low] = *letters {
        return Inside { name: tag_name(u16::from_be_bytes([high, low])), decodable: false };
    }
    match BY_LETTERS.iter().find(|(known, _)| *known == letters) {
        Some((_, name)) => Inside { name: (*name).to_owned(), decodable: DECODABLE.contains(&letters) },
        None => Inside { name: format!("the codec {:?}", String::from_utf8_lossy(letters)), decodable: true },
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The codec of an Ogg file without a stream that is decoded.
fn ogg(beginning: &[u8]) -> Option<Inside> {
    let has = |magic: &[u8]| find(beginning, magic).is_some();
    if has(b"\x01vorbis") || has(b"\x7fFLAC") || has(b"OpusHead") {
        return None;
    }
    let (_, name) = BY_OGG.iter().find(|(magic, _)| has(magic))?;
    Some(Inside { name: (*name).to_owned(), decodable: false })
}

/// The first codec of Matroska whose name says that it is audio.
fn matroska(input: &mut Input) -> Option<Inside> {
    let bytes = input.bytes_at(0, SEARCH).ok()?;
    // Element 0x86, CodecID, and a size of one byte.
    let at = bytes.windows(4).position(|window| window[0] == 0x86 && &window[2..] == b"A_")?;
    let (name, rest) = bytes.get(at + 2..)?.split_at_checked(usize::from(bytes.get(at + 1)? & 0x7f))?;
    let name = String::from_utf8_lossy(name).into_owned();
    if name == "A_MS/ACM" {
        // Element 0x63a2, CodecPrivate, and a size of one byte: the format of a wav file.
        let private = find(rest, b"\x63\xa2")?;
        let tag = *rest.get(private + 3..)?.first_chunk()?;
        return Some(Inside { name: tag_name(u16::from_le_bytes(tag)), decodable: false });
    }
    match BY_MATROSKA.iter().find(|(known, _)| name.starts_with(known)) {
        Some((known, name)) => Some(Inside { name: (*name).to_owned(), decodable: *known == "A_AAC" }),
        None => Some(Inside { name: format!("the codec {name}"), decodable: true }),
    }
}

/// The codec of the first track of sound in an mp4 file.
fn sample_entry(input: &mut Input) -> Option<Inside> {
    let index = index_of_mp4(input)?;
    let bytes = input.bytes_at(index, SEARCH).ok()?;
    // Sound has a handler "soun" before its sample descriptions.
    let sound = bytes.get(find(&bytes, b"soun")?..)?;
    // Version and flags, the number of descriptions, the size of the first, and its four letters.
    let entry = sound.get(find(sound, b"stsd")? + 16..)?;
    let letters = entry.first_chunk()?;
    let by_object = (letters == b"mp4a").then(|| object_type(entry)).flatten();
    Some(by_object.unwrap_or_else(|| by_letters(letters)))
}

/// The codec of an `mp4a` description by the number in its `esds` (ISO/IEC 14496-1, and the registration authority's
/// list of object types).
fn object_type(entry: &[u8]) -> Option<Inside> {
    let described = entry.get(find(entry.get(..256)?, b"esds")? + 8..)?;
    // Descriptor 4 is inside of descriptor 3; sizes have up to four bytes, all but the last with their high bit set.
    let decoder = descriptor(descriptor(described, 3)?.get(3..)?, 4)?;
    let name = match decoder.first()? {
        0xa0 => "EVRC",
        0xa1 => "SMV",
        0xa5 => "AC-3",
        0xa6 => "E-AC-3",
        0xa9..=0xac => "DTS",
        0xad => "Opus",
        0xdd => "Vorbis",
        0xe1 => "QCELP",
        _ => return None,
    };
    Some(Inside { name: name.to_owned(), decodable: false })
}

/// The content of a descriptor with this tag, behind its size.
fn descriptor(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    if *bytes.first()? != tag {
        return None;
    }
    let more = bytes.get(1..5)?.iter().take_while(|byte| **byte & 0x80 != 0).count();
    bytes.get(2 + more..)
}

/// Where the box `moov` is.
fn index_of_mp4(input: &mut Input) -> Option<u64> {
    let mut at = 0u64;
    for _ in 0..1_000 {
        let head = input.bytes_at(at, 16).ok()?;
        let short = u64::from(u32::from_be_bytes(*head.first_chunk()?));
        let kind: [u8; 4] = *head.get(4..)?.first_chunk()?;
        if &kind == b"moov" {
            return Some(at);
        }
        let size = if short == 1 { u64::from_be_bytes(*head.get(8..)?.first_chunk()?) } else { short };
        at = at.checked_add(size.max(8))?;
    }
    None
}
