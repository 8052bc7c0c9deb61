//! Voices of role-plays: the published form, and files that are none or mean harm.

use std::io::{Cursor, Write};
use std::path::Path;

use moshi_checkpoint::{SpeakerFile, VoiceFile};
use proptest::prelude::*;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::{assert_says, golden};

fn published() -> Vec<u8> {
    std::fs::read(golden("tiny-personaplex/voices/VARF0.pt")).unwrap()
}

fn read(bytes: &[u8]) -> Result<VoiceFile, String> {
    VoiceFile::from_bytes(Path::new("voice.pt"), bytes).map_err(|e| e.to_string())
}

/// An archive of these entries.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(*name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// What a pickle of these bytes is refused for.
fn refusal(pickle: &[u8]) -> String {
    read(&archive(&[("v/data.pkl", pickle), ("v/data/0", &[0; 64]), ("v/data/1", &[0; 64])])).unwrap_err()
}

/// A tensor's name, type, shape, strides and offset.
type Described<'a> = (&'a str, &'a str, &'a [i64], &'a [i64], i64);

/// A pickle as torch writes it.
fn pickle(tensors: &[Described<'_>]) -> Vec<u8> {
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let long = |n: i64| [&[0x8a, 8][..], &n.to_le_bytes()].concat();
    let tuple = |ns: &[i64]| [&b"("[..], &ns.iter().flat_map(|&n| long(n)).collect::<Vec<_>>(), b"t"].concat();
    let mut out = b"\x80\x02}q\x00(".to_vec();
    for (i, (name, kind, shape, strides, offset)) in tensors.iter().enumerate() {
        let storage = [&b"("[..], &text("storage"), format!("ctorch\n{kind}\n").as_bytes()].concat();
        let storage = [storage, text(&i.to_string()), text("cpu"), long(4), b"tQ".to_vec()].concat();
        let call = [&b"ctorch._utils\n_rebuild_tensor_v2\n("[..], &storage, &long(*offset)].concat();
        let hooks = b"\x89ccollections\nOrderedDict\n)Rt".to_vec();
        out.extend([text(name), call, tuple(shape), tuple(strides), hooks, b"R".to_vec()].concat());
    }
    out.extend(b"u.");
    out
}

#[test]
fn a_published_voice_is_read() {
    let voice = VoiceFile::read(&golden("tiny-personaplex/voices/VARF0.pt")).unwrap();
    assert_eq!((voice.inputs, voice.dim, voice.streams, voice.columns), (19, 64, 17, 4));
    assert_eq!((voice.embeddings.len(), voice.table.len()), (19 * 64, 68));
    // The first bytes of the two entries, as any reader of archives shows them.
    let bytes = published();
    let start = |name: &[u8]| {
        let header = bytes.windows(name.len()).position(|window| window == name).unwrap();
        let extra = u16::from_le_bytes([bytes[header - 2], bytes[header - 1]]);
        header + name.len() + usize::from(extra)
    };
    let word = |at: usize| f32::from_bits(u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]])) << 16);
    let floats = start(b"VARF0/data/0");
    for i in [0, 1, 63, 64, 19 * 64 - 1] {
        assert_eq!(voice.embeddings[i], word(floats + 2 * i));
    }
    // The text is padding; the user's streams are the tone, at every column.
    assert_eq!(voice.table[..4], [3; 4]);
    let tone = [430, 1_268, 381, 1_611, 1_095, 1_495, 56, 472];
    assert!(voice.table[36..].iter().enumerate().all(|(i, &code)| code == tone[i / 4]), "{:?}", &voice.table[36..]);
}

#[test]
fn other_number_formats_and_strides_are_read() {
    let floats: Vec<u8> = (0..8).flat_map(|x| (x as f32).to_le_bytes()).collect();
    let integers: Vec<u8> = (0..8i64).flat_map(i64::to_le_bytes).collect();
    let voice = |pickle: &[u8]| archive(&[("data.pkl", pickle), ("data/0", &floats), ("data/1", &integers)]);
    let turned = pickle(&[
        ("embeddings", "FloatStorage", &[2, 1, 1, 3], &[1, 9, 9, 2], 1),
        ("cache", "LongStorage", &[1, 2, 4], &[8, 4, 1], 0),
    ]);
    let found = read(&voice(&turned)).unwrap();
    assert_eq!(found.embeddings, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    assert_eq!(found.table, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_pickle_that_would_run_something_is_refused() {
    let system = b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.";
    assert_says(&refusal(system), &["voice.pt", "posix.system", "nothing was run"]);
    for name in ["builtins\neval", "os\nsystem", "subprocess\nPopen", "torch\nload", "torch._utils\n_rebuild_tensor"] {
        let name = format!("c{name}\n");
        assert_says(&refusal(&[b"\x80\x02", name.as_bytes(), b")R."].concat()), &["a pickle that names"]);
    }
    // Known functions with other arguments, and instructions that make or fill objects.
    assert_says(&refusal(b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R."), &["calls"]);
    assert_says(&refusal(b"\x80\x02X\x01\x00\x00\x00a)R."), &["calls"]);
    for code in [b'i', b'o', b'b', b'P', 0x81, 0x82, 0x83, 0x84, 0x92, 0x93, 0x95, 0x97, b'a', b'l', 0x00, 0xff] {
        let found = refusal(&[0x80, 2, b')', b')', code, b'.']);
        assert_says(&found, &["instruction", &format!("{code:#04x}")]);
    }
}

#[test]
fn a_pickle_that_is_no_dictionary_of_tensors_is_refused() {
    let cases: [(&[u8], &str); 14] = [
        (b"", "ends too early"),
        (b"\x80\x02", "ends too early"),
        (b"\x80\x04}.", "protocol 4"),
        (b"\x80\x02.", "takes more values"),
        (b"\x80\x02K\x01.", "a number"),
        (b"\x80\x02}.", "no tensor \"embeddings\""),
        (b"\x80\x02)u.", "without a mark"),
        (b"\x80\x02(K\x01K\x01u.", "no dictionary"),
        (b"\x80\x02h\x07.", "never remembered"),
        (b"\x80\x02q\x07.", "remembers nothing"),
        (b"\x80\x02X\xff\xff\xff\xff.", "ends too early"),
        (b"\x80\x02\x8a\xff.", "ends too early"),
        (b"\x80\x02\x87.", "takes more values"),
        (b"\x80\x02)Q.", "described otherwise"),
    ];
    for (pickle, reason) in cases {
        assert_says(&refusal(pickle), &[reason]);
    }
    assert_says(&refusal(&[&b"\x80\x02"[..], &b"N".repeat(5_000)].concat()), &["more than 2000 instructions"]);
    // Tuples in tuples: as deep as instructions allow, and as wide as they can be copied.
    assert_says(&refusal(&[&b"\x80\x02N"[..], &b"\x85".repeat(50_000)].concat()), &["instructions"]);
    let laughs = b"q\x01h\x01\x86".repeat(499);
    assert_says(&refusal(&[&b"\x80\x02)"[..], &laughs, b"."].concat()), &["a tuple"]);
}

#[test]
fn tensors_that_do_not_fit_their_storage_are_refused() {
    let cache = ("cache", "LongStorage", &[1, 2, 4][..], &[8, 4, 1][..], 0);
    let refusal = |tensors: &[Described<'_>]| refusal(&pickle(tensors));
    let embeddings = |shape, strides, offset| ("embeddings", "FloatStorage", shape, strides, offset);
    const HUGE: i64 = 1 << 40;
    for (shape, strides, offset) in [
        (&[HUGE, 1, 1, 1][..], &[0, 0, 0, 0][..], 0),
        (&[HUGE, 1, 1, HUGE], &[0, 0, 0, 0], 0),
        (&[4, 1, 1, 4], &[4, 4, 4, 1], 1),
        (&[4, 1, 1, 4], &[i64::MAX, 1, 1, i64::MAX], 0),
        (&[4, 1, 1, 4], &[4, 4, 4, 1], i64::MAX),
        (&[1, 1, 1, 17], &[17, 17, 17, 1], 0),
    ] {
        assert_says(&refusal(&[embeddings(shape, strides, offset), cache]), &["a tensor of shape"]);
    }
    for (shape, strides) in [(&[-1, 1, 1, 4][..], &[4, 4, 4, 1][..]), (&[4, 1, 1], &[4, 4, 4, 1]), (&[1; 9], &[1; 9])] {
        assert_says(&refusal(&[embeddings(shape, strides, 0), cache]), &["described otherwise"]);
    }
    assert_says(&refusal(&[embeddings(&[4, 4], &[4, 1], 0), cache]), &["embeddings of shape [4, 4]"]);
    assert_says(&refusal(&[embeddings(&[0, 1, 1, 4], &[4, 4, 4, 1], 0), cache]), &["no embeddings"]);
    let good = embeddings(&[4, 1, 1, 4], &[4, 4, 4, 1], 0);
    assert_says(&refusal(&[good]), &["no tensor \"cache\""]);
    assert_says(&refusal(&[good, ("cache", "LongStorage", &[8], &[1], 0)]), &["a cache of shape [8]"]);
    assert_says(&refusal(&[good, ("cache", "FloatStorage", &[1, 2, 4], &[8, 4, 1], 0)]), &["a cache of fractions"]);
    assert_says(&refusal(&[("embeddings", "LongStorage", &[2, 1, 1, 4], &[4, 4, 4, 1], 0), cache]), &["whole numbers"]);
}

#[test]
fn archives_that_are_no_voices_are_refused() {
    assert_says(&read(b"").unwrap_err(), &["voice.pt", "no archive", "expected a voice"]);
    assert_says(&read(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.").unwrap_err(), &["no archive"]);
    assert_says(&read(&archive(&[("v/other", b"x")])).unwrap_err(), &["without data.pkl"]);
    assert_says(&read(&archive(&[("v/notdata.pkl", b"x")])).unwrap_err(), &["without data.pkl"]);
    assert_says(&read(&archive(&[("v/data.pkl", &[0; 70_000])])).unwrap_err(), &["data.pkl", "70000 bytes"]);
    let big = [("v/data.pkl", &b"\x80\x02}."[..]), ("v/byteorder", b"big")];
    assert_says(&read(&archive(&big)).unwrap_err(), &["highest byte first"]);
    let missing = pickle(&[
        ("embeddings", "FloatStorage", &[4, 1, 1, 4], &[4, 4, 4, 1], 0),
        ("cache", "LongStorage", &[1, 2, 4], &[8, 4, 1], 0),
    ]);
    assert_says(&read(&archive(&[("v/data.pkl", &missing)])).unwrap_err(), &["data/0", "cannot be read"]);
    assert!(VoiceFile::read(Path::new("/nonexistent.pt")).is_err());
}

#[test]
fn a_voice_of_a_synthesis_is_vectors_in_time() {
    let path = golden("tiny-tts/voices/anna.wav.a1b2c3d4@240.safetensors");
    let voice = SpeakerFile::read(&path).unwrap();
    assert_eq!((voice.len, voice.dim, voice.vectors.len()), (12, 32, 12 * 32));
    let id = voice.model.unwrap();
    assert_eq!((id.sig.as_str(), id.epoch), ("a1b2c3d4", 240));
    // The file has [1, channels, time].
    let bytes = std::fs::read(&path).unwrap();
    let stored = |c: usize, t: usize| {
        let at = bytes.len() - 4 * (12 * 32 - (c * 12 + t));
        f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    };
    assert!((0..12 * 32).all(|i| voice.vectors[i] == stored(i % 32, i / 32)));
    let other = SpeakerFile::read(&golden("tiny-tts/golden.safetensors")).unwrap_err().to_string();
    assert_says(&other, &["golden.safetensors", "speaker_wavs"]);
    assert!(SpeakerFile::read(Path::new("/nonexistent.safetensors")).is_err());
}

#[test]
fn compressed_entries_are_refused() {
    let mut bytes = published();
    let directory: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"PK\x01\x02")).collect();
    assert_eq!(directory.len(), 8);
    directory.iter().for_each(|&entry| bytes[entry + 10] = 8); // deflate
    assert_says(&read(&bytes).unwrap_err(), &["data.pkl"]);
}

#[test]
fn a_voice_that_is_cut_short_anywhere_is_refused() {
    let bytes = published();
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "{len} bytes");
    }
}

proptest! {
    #[test]
    fn damage_never_panics(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = published();
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = read(&bytes);
    }

    #[test]
    fn no_pickle_panics(pickle in prop::collection::vec(
        prop::sample::select(b"\x80\x02}()NKMJXcqhtQRsu.\x85\x86\x87\x88\x8a\x00\x01\n".to_vec()), 0..80,
    )) {
        let pickle = [&b"\x80\x02"[..], &pickle].concat();
        let _ = read(&archive(&[("v/data.pkl", &pickle)]));
    }
}
