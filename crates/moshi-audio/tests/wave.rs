//! Wav files in all their forms, with the mistakes that other programs read past, and what is in them but sound.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says so")]

use std::path::PathBuf;

use moshi_audio::{AudioError, AudioFile, Recording, load};

const COUNT: usize = 4_801;

/// What is in every file here: 0.2 s at 24 kHz, an odd number of samples.
fn samples() -> Vec<i16> {
    (0..COUNT).map(|n| ((n as f32 * 0.07).sin() * 12_000.0) as i16).collect()
}

fn bytes() -> Vec<u8> {
    samples().iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

fn chunk(name: &[u8; 4], size: u32, body: &[u8]) -> Vec<u8> {
    [name.as_slice(), &size.to_le_bytes(), body].concat()
}

/// The usual 16 bytes: tag, one channel at 24 kHz, block and bits.
fn format(tag: u16, block: u16, bits: u16) -> Vec<u8> {
    let rate = 24_000u32;
    [
        tag.to_le_bytes().as_slice(),
        &1u16.to_le_bytes(),
        &rate.to_le_bytes(),
        &(rate * u32::from(block)).to_le_bytes(),
        &block.to_le_bytes(),
        &bits.to_le_bytes(),
    ]
    .concat()
}

fn pcm16() -> Vec<u8> {
    chunk(b"fmt ", 16, &format(1, 2, 16))
}

fn file(magic: &[u8; 4], size: u32, chunks: &[&[u8]]) -> Vec<u8> {
    [magic.as_slice(), &size.to_le_bytes(), b"WAVE", &chunks.concat()].concat()
}

/// A file whose sizes are right.
fn riff(chunks: &[&[u8]]) -> Vec<u8> {
    let size = 4 + chunks.iter().map(|chunk| chunk.len()).sum::<usize>();
    file(b"RIFF", size as u32, chunks)
}

fn data(size: u32) -> Vec<u8> {
    chunk(b"data", size, &bytes())
}

fn stored(bytes: &[u8], name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read(bytes: &[u8]) -> Result<Recording, AudioError> {
    let (_folder, path) = stored(bytes, "a.wav");
    load(&path)
}

/// Whether a file gives every sample.
fn whole(what: &str, bytes: &[u8]) -> Option<String> {
    let recording = read(bytes).expect(what);
    let expected: Vec<f32> = samples().iter().map(|sample| f32::from(*sample) / 32_768.0).collect();
    let found = &recording.pcm;
    assert!(found.len() >= COUNT - 1 && found.len() <= COUNT, "{what}: {} samples of {COUNT}", found.len());
    let far = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far < 1e-4, "{what}: {far} away");
    recording.warning
}

const SIZE: u32 = 2 * COUNT as u32;

#[test]
fn a_sound_header_is_read_without_a_word() {
    assert_eq!(whole("as it should be", &riff(&[&pcm16(), &data(SIZE)])), None);
    let list = chunk(b"LIST", 26, b"INFOISFT\x0e\0\0\0Lavf59.27.100\0");
    assert_eq!(whole("a list before", &riff(&[&pcm16(), &list, &data(SIZE)])), None);
    assert_eq!(whole("a list behind", &riff(&[&pcm16(), &data(SIZE), &list])), None);
}

#[test]
fn sizes_of_a_stream_say_nothing() {
    // As ffmpeg and sox write them into a pipe, and other programs that cannot go back.
    for size in [u32::MAX, 0x7fff_f000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffdb] {
        for outer in [u32::MAX, 0x7fff_f024, size.saturating_add(36)] {
            assert_eq!(whole("stream", &file(b"RIFF", outer, &[&pcm16(), &data(size)])), None, "{size:x}");
        }
    }
    let warning = whole("never completed", &file(b"RIFF", 0, &[&pcm16(), &data(0)])).unwrap();
    assert!(warning.contains("never completed"), "{warning}");
    let none = read(&riff(&[&pcm16(), &chunk(b"data", 0, b""), &chunk(b"LIST", 4, b"INFO")])).unwrap();
    assert!(none.pcm.is_empty(), "a file without samples has none behind them either");
}

#[test]
fn a_riff_size_that_is_wrong_does_not_matter() {
    for outer in [0, 1, 3, 4, 36, SIZE, SIZE + 28, SIZE + 40, u32::MAX] {
        let warning = whole("outer size", &file(b"RIFF", outer, &[&pcm16(), &data(SIZE)]));
        let odd = (1..SIZE + 36).contains(&outer);
        assert_eq!(warning.is_some_and(|warning| warning.contains("RIFF size")), odd, "{outer}");
    }
}

#[test]
fn samples_shorter_than_their_size_are_all_there_is() {
    for more in [1, 2, 8, 44, 4_000] {
        assert_eq!(whole("a little too long", &file(b"RIFF", SIZE + 36, &[&pcm16(), &data(SIZE + more)])), None);
    }
    let warning = whole("twice as long", &file(b"RIFF", SIZE * 4, &[&pcm16(), &data(SIZE * 4)])).unwrap();
    assert!(warning.contains("ends after 0.20 of 0.80 seconds"), "{warning}");
    assert_eq!(whole("half a sample less", &riff(&[&pcm16(), &data(SIZE - 1)])), None);
    assert_eq!(whole("half a sample", &riff(&[&pcm16(), &data(SIZE + 1), b"x"])), None);
}

#[test]
fn chunks_of_a_wrong_length_are_passed_over() {
    let odd = chunk(b"LIST", 15, b"INFOIART\x03\0\0\0abc");
    let padded = [odd.as_slice(), b"\0"].concat();
    assert_eq!(whole("with its pad byte", &riff(&[&pcm16(), &padded, &data(SIZE)])), None);
    assert!(whole("without its pad byte", &riff(&[&pcm16(), &odd, &data(SIZE)])).unwrap().contains("pad byte"));
    let text = b"INFOISFT\x0e\0\0\0Lavf59.27.100\0";
    for size in [0u32, 3, 4, 20, 25, 27, 30, 60, 200, 100_000, 0x7fff_ffff, u32::MAX] {
        let list = chunk(b"LIST", size, text);
        whole(&format!("a list of {size}"), &riff(&[&pcm16(), &list, &data(SIZE)]));
    }
    for size in [14u32, 18, 20, 22, 28, 40, 50, 1_000, u32::MAX] {
        let format = chunk(b"fmt ", size, &format(1, 2, 16));
        whole(&format!("a format of {size}"), &riff(&[&format, &data(SIZE)]));
    }
    for size in [0u32, 2, 4, 8, 12, 400] {
        let fact = chunk(b"fact", size, &(COUNT as u32).to_le_bytes());
        whole(&format!("a fact of {size}"), &riff(&[&pcm16(), &fact, &data(SIZE)]));
    }
    whole("the format behind the samples", &riff(&[&data(SIZE), &pcm16()]));
    whole("junk first", &riff(&[&chunk(b"JUNK", 28, &[0; 28]), &pcm16(), &chunk(b"\0\0\0\0", 2, b"xx"), &data(SIZE)]));
}

#[test]
fn fields_of_the_format_that_do_not_agree() {
    for (what, block, bits) in [("no bits", 2, 0), ("no block", 0, 16), ("a block of 1", 1, 16), ("12 bits", 2, 12)] {
        whole(what, &riff(&[&chunk(b"fmt ", 16, &format(1, block, bits)), &data(SIZE)]));
    }
    let oldest = &format(1, 2, 16)[..14];
    whole("14 bytes", &riff(&[&chunk(b"fmt ", 14, oldest), &data(SIZE)]));
    let short = chunk(b"fmt ", 18, &[format(0xfffe, 2, 16), vec![0, 0]].concat());
    whole("extensible without a GUID", &riff(&[&short, &data(SIZE)]));
    let mut none = format(1, 2, 16);
    none[2] = 0;
    let text = read(&riff(&[&chunk(b"fmt ", 16, &none), &data(SIZE)])).unwrap_err().to_string();
    assert!(text.contains("0 channels"), "{text}");
}

#[test]
fn sizes_of_64_bits_are_read() {
    let long = |size: u64| {
        let body = [(size + 80).to_le_bytes(), size.to_le_bytes(), (COUNT as u64).to_le_bytes()].concat();
        chunk(b"ds64", 28, &[body, vec![0; 4]].concat())
    };
    for magic in [b"RF64", b"BW64", b"RIFF"] {
        let outer = |size: u64, data: &[u8]| file(magic, u32::MAX, &[&long(size), &pcm16(), data]);
        assert_eq!(whole("64 bits", &outer(u64::from(SIZE), &data(u32::MAX))), None);
        assert_eq!(whole("a size that needs no 64 bits", &outer(u64::from(SIZE), &data(SIZE))), None);
        assert_eq!(whole("a stream", &outer(0, &data(u32::MAX))), None);
        assert_eq!(whole("a stream", &outer(u64::MAX, &data(u32::MAX))), None);
        let warning = whole("it breaks off", &outer(24_000 * 2 * 3_600, &data(u32::MAX))).unwrap();
        assert!(warning.contains("of 3600.00 seconds"), "{warning}");
        whole("without ds64", &file(magic, u32::MAX, &[&pcm16(), &data(u32::MAX)]));
    }
}

/// A chunk of Wave64, filled up to a multiple of eight bytes.
fn wave64(name: &[u8; 4], size: u64, body: &[u8]) -> Vec<u8> {
    let tail = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a";
    let mut chunk = [name.as_slice(), tail, &size.to_le_bytes(), body].concat();
    chunk.resize(chunk.len().next_multiple_of(8), 0);
    chunk
}

#[test]
fn wave64_is_read_whatever_it_is_called() {
    let riff = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00";
    let wave = b"wave\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a";
    let size = u64::from(SIZE) + 24;
    for said in [size, 0, u64::MAX, i64::MAX as u64] {
        let chunks = [
            wave64(b"fact", 32, &(COUNT as u64).to_le_bytes()),
            wave64(b"fmt ", 40, &format(1, 2, 16)),
            wave64(b"data", said, &bytes()),
        ];
        let file = [riff.as_slice(), &(size + 200).to_le_bytes(), wave, &chunks.concat()].concat();
        for name in ["a.w64", "a.wav", "a"] {
            let (_folder, path) = stored(&file, name);
            let found = load(&path).unwrap().pcm.len();
            assert!((COUNT..COUNT + 4).contains(&found), "{said}: {found}");
        }
    }
}

#[test]
fn a_file_that_has_outgrown_its_sizes_is_read_to_its_end() {
    let (_folder, path) = stored(&riff(&[&pcm16(), &data(SIZE)]), "a.wav");
    // No bytes are written for the hole.
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len((1 << 32) + 44 + u64::from(SIZE)).unwrap();
    let seconds = AudioFile::open(&path).unwrap().duration().unwrap();
    assert!((seconds - 89_478.7).abs() < 0.1, "{seconds}");
}

#[test]
fn a_header_without_end_is_given_up() {
    for chunk in [b"LIST\0\0\0\0".as_slice(), b"data", b"fmt ", b"datax\0\0\0", b"LIST\xff\xff\xff\x7f"] {
        // With a search through the file at each of them, this would take hours.
        let many = chunk.repeat(4_000_000 / chunk.len());
        assert!(read(&riff(&[&many])).is_err());
    }
}

#[test]
fn big_endian_files_are_read() {
    let turned: Vec<u8> = samples().iter().flat_map(|sample| sample.to_be_bytes()).collect();
    let format = [
        1u16.to_be_bytes().as_slice(),
        &1u16.to_be_bytes(),
        &24_000u32.to_be_bytes(),
        &48_000u32.to_be_bytes(),
        &2u16.to_be_bytes(),
        &16u16.to_be_bytes(),
    ]
    .concat();
    let chunk = |name: &[u8; 4], body: &[u8]| [name.as_slice(), &(body.len() as u32).to_be_bytes(), body].concat();
    let chunks = [chunk(b"fmt ", &format), chunk(b"data", &turned)].concat();
    let size = (chunks.len() as u32 + 4).to_be_bytes();
    assert_eq!(whole("RIFX", &[b"RIFX", size.as_slice(), b"WAVE", &chunks].concat()), None);
}

#[test]
fn every_width_is_read() {
    let floats: Vec<u8> = samples().iter().flat_map(|s| (f32::from(*s) / 32_768.0).to_le_bytes()).collect();
    let doubles: Vec<u8> = samples().iter().flat_map(|s| (f64::from(*s) / 32_768.0).to_le_bytes()).collect();
    let wide: Vec<u8> = samples().iter().flat_map(|s| (i32::from(*s) << 16).to_le_bytes()).collect();
    let middle: Vec<u8> = samples().iter().flat_map(|s| [0, s.to_le_bytes()[0], s.to_le_bytes()[1]]).collect();
    for (what, tag, bits, body) in
        [("f32", 3, 32, floats), ("f64", 3, 64, doubles), ("32 bits", 1, 32, wide), ("24 bits", 1, 24, middle)]
    {
        let format = chunk(b"fmt ", 16, &format(tag, bits / 8, bits));
        assert_eq!(whole(what, &riff(&[&format, &chunk(b"data", body.len() as u32, &body)])), None);
    }
}

#[test]
fn codecs_in_wav_are_named() {
    for (tag, name) in [
        (0x0010, "OKI ADPCM"),
        (0x0020, "Yamaha ADPCM"),
        (0x0022, "TrueSpeech"),
        (0x0031, "GSM 6.10"),
        (0x0040, "G.721"),
        (0x0042, "G.723.1"),
        (0x0045, "G.726"),
        (0x0057, "AMR-NB"),
        (0x0083, "G.729"),
        (0x00ff, "AAC"),
        (0x0161, "WMA"),
        (0x028f, "G.722"),
        (0x2000, "AC-3"),
        (0x2001, "DTS"),
        (0x674f, "Vorbis"),
        (0xa109, "Speex"),
        (0xf1ac, "FLAC"),
        (0x7abc, "0x7abc"),
    ] {
        let format = chunk(b"fmt ", 20, &[format(tag, 65, 0), vec![2, 0, 64, 1]].concat());
        let error = read(&riff(&[&format, &chunk(b"fact", 4, &[0; 4]), &data(SIZE)])).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, AudioError::UnsupportedCodec { .. }), "{tag:#x}: {text}");
        assert!(text.contains(name) && !text.contains("damaged") && text.contains("convert it"), "{tag:#x}: {text}");
    }
}

/// A fixture of another kind.
fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/audio/");
    std::fs::read([folder, name].concat()).unwrap()
}

#[test]
fn mp3_in_wav_is_read() {
    let mp3 = fixture("speech-32k.mp3");
    let format = chunk(b"fmt ", 30, &[format(0x55, 1, 0), vec![12, 0, 1, 0, 2, 0, 0, 0, 0, 4, 1, 0, 0x71, 5]].concat());
    for size in [mp3.len() as u32, u32::MAX] {
        let inside = read(&riff(&[&format, &chunk(b"data", size, &mp3)])).unwrap();
        let (_folder, path) = stored(&mp3, "a.mp3");
        assert_eq!(inside.pcm, load(&path).unwrap().pcm);
    }
}

#[test]
fn adpcm_is_read_with_fact_and_without() {
    // Silence: blocks of 256 bytes, which hold 505 samples.
    let blocks = [0u8; 10 * 256];
    for fact in [vec![], chunk(b"fact", 4, &5_050u32.to_le_bytes()), chunk(b"fact", 8, &[0; 8])] {
        let ima = chunk(b"fmt ", 20, &[format(0x11, 256, 4), vec![2, 0, 249, 1]].concat());
        let found = read(&riff(&[&ima, &fact, &chunk(b"data", 2_560, &blocks)])).unwrap();
        assert_eq!((found.pcm.len(), found.warning), (5_050, None));
        let broken = read(&riff(&[&ima, &fact, &chunk(b"data", 2_460, &blocks[..2_460])])).unwrap();
        assert_eq!(broken.pcm.len(), 9 * 505);
    }
}

#[test]
fn files_of_other_kinds_are_named() {
    for (beginning, name) in [
        (b"#!AMR\n\x3c".as_slice(), "AMR-NB"),
        (b"#!AMR-WB\n\x3c", "AMR-WB"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9", "Windows Media"),
        (b".snd\0\0\0\x18", "Sun audio file"),
        (b"wvpk\0\0\0\0", "WavPack"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
        (b"MThd\0\0\0\x06", "MIDI"),
        (b"\x0b\x77\x12\x34", "AC-3"),
        (b"Creative Voice File\x1a", "voc"),
    ] {
        let text = read(&[beginning, &[0; 3_000]].concat()).unwrap_err().to_string();
        assert!(text.contains(name) && text.contains("is not an audio file"), "{text}");
    }
    let (_folder, path) = stored(&[0x55; 3_000], "call.ulaw");
    assert!(load(&path).unwrap_err().to_string().contains("µ-law without a header"));
}

/// A box of an mp4 file.
fn mp4(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&(8 + body.len() as u32).to_be_bytes(), name.as_slice(), body].concat()
}

#[test]
fn codecs_in_other_containers_are_named() {
    let page = |packet: &[u8]| {
        let head = [b"OggS\0\x02".as_slice(), &[0; 8], b"\x01\0\0\0", &[0; 8], &[1, packet.len() as u8]];
        [&head.concat(), packet].concat()
    };
    let speex = page(&[b"Speex   1.2.1".as_slice(), &[0; 67]].concat());
    let entry = [vec![0; 6], vec![0, 1], vec![0; 8], vec![0, 1, 0, 16, 0, 0, 0, 0, 0x1f, 0x40, 0, 0]].concat();
    let table = mp4(b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1], mp4(b"samr", &entry).as_slice()].concat());
    let handler = mp4(b"hdlr", &[&[0; 8], b"soun".as_slice(), &[0; 13]].concat());
    let media = mp4(b"mdia", &[handler, mp4(b"minf", &mp4(b"stbl", &table))].concat());
    let amr = [mp4(b"ftyp", b"3gp4\0\0\0\x003gp4"), mp4(b"moov", &mp4(b"trak", &media))].concat();
    let common = [b"\0\x01\0\0\0\x10\0\x10\x40\x0b\xfa\0\0\0\0\0\0\0GSM ".as_slice(), b"\x00\x00"].concat();
    let aiff = [b"FORM\0\0\0\x30AIFCCOMM\0\0\0\x18".as_slice(), &common, b"SSND\0\0\0\x08\0\0\0\0\0\0\0\0"].concat();
    for (file, name) in [(speex, "Speex"), (amr, "AMR-NB"), (aiff, "GSM 6.10")] {
        let text = read(&file).unwrap_err().to_string();
        assert!(text.contains(name) && !text.contains("damaged"), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_read_as_a_file_is() {
    for bytes in
        [file(b"RIFF", u32::MAX, &[&pcm16(), &data(u32::MAX)]), fixture("silk-40ms.opus"), fixture("speech-48k.m4a")]
    {
        let (folder, path) = stored(&bytes, "a.wav");
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (to, from) = (pipe.clone(), path.clone());
        let writer = std::thread::spawn(move || std::fs::copy(from, to).map(|_| ()).ok());
        let heard = load(&pipe).unwrap();
        writer.join().unwrap();
        assert_eq!(heard.pcm, load(&path).unwrap().pcm);
    }
}
