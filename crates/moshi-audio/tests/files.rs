//! Audio files of every kind, whole and broken, and the resampler behind them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says so")]

mod speech;

use std::path::{Path, PathBuf};

use moshi_audio::{AudioError, AudioFile, Resampler, WavFormat, WavWriter, load, resample, write_wav};
use proptest::prelude::*;
use speech::{best_lag, correlation, level_db, seeded, voice};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/audio").join(name)
}

/// The original speech: the 16 kHz wav as another program reads it.
fn original() -> Vec<f32> {
    let wav = hound::WavReader::open(fixture("speech-16k.wav")).unwrap();
    let samples: Vec<f32> = wav.into_samples::<i16>().map(|s| f32::from(s.unwrap()) / 32_768.0).collect();
    resample(&samples, 16_000, 24_000).unwrap()
}

/// A folder for one test's files.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn file_with(bytes: &[u8], name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = folder();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[test]
fn every_format_gives_the_same_speech_at_the_same_time_and_level() {
    let original = original();
    assert_eq!(original.len(), 62_400, "2.6 seconds");
    // Name, least correlation, level to the original in dB, most samples of delay. An m4a file's encoder delay is
    // not taken off.
    let cases = [
        ("speech-16k.wav", 0.999, 0.0, 0),
        ("speech-22k05.flac", 0.99, 0.0, 0),
        ("speech-32k.mp3", 0.98, 0.0, 2),
        ("speech-44k1-stereo.ogg", 0.97, -2.5, 2),
        ("speech-48k.m4a", 0.97, 0.0, 512),
        ("silk-60ms.opus", 0.85, 0.0, 2),
        ("silk-40ms.opus", 0.85, 0.0, 2),
        ("hybrid-20ms.opus", 0.9, 0.0, 2),
        ("hybrid-120ms.opus", 0.88, 0.0, 2),
        ("celt-20ms.opus", 0.97, 0.0, 2),
        ("celt-2.5ms.opus", 0.97, 0.0, 2),
        ("stereo-40ms.opus", 0.88, -2.5, 2),
        ("speech-40ms.webm", 0.85, 0.0, 2),
    ];
    for (name, least, level, delay) in cases {
        let recording = load(&fixture(name)).unwrap();
        let lag = best_lag(&original, &recording.pcm, 700);
        let length = original.len().min(recording.pcm.len() - lag);
        let like = correlation(&original[..length], &recording.pcm[lag..lag + length]);
        let louder = level_db(&recording.pcm) - level_db(&original);
        assert!(lag <= delay, "{name} is late by {lag} samples");
        assert!(like > least, "{name} is unlike the original: {like}");
        assert!((louder - level).abs() < 0.6, "{name} is {louder} dB against the original");
        assert!(recording.pcm.len().abs_diff(original.len()) < 1_000, "{name} has {} samples", recording.pcm.len());
        assert_eq!(recording.warning, None, "{name}");
    }
}

#[test]
fn stereo_at_44100_hz_is_mixed_down() {
    // Half a second from 0.5 s on, the right channel at half the level.
    let recording = load(&fixture("speech-44k1-stereo-short.wav")).unwrap();
    assert_eq!(recording.pcm.len(), 12_000);
    let part = &original()[12_000..24_000];
    assert!(correlation(part, &recording.pcm) > 0.99);
    assert!((level_db(&recording.pcm) - level_db(part) + 2.5).abs() < 0.3);
}

#[test]
fn files_are_read_in_small_blocks_and_know_their_length() {
    for name in ["speech-16k.wav", "speech-22k05.flac", "speech-44k1-stereo.ogg", "silk-40ms.opus", "speech-40ms.webm"]
    {
        let mut file = AudioFile::open(&fixture(name)).unwrap();
        let duration = file.duration().unwrap();
        assert!((duration - 2.6).abs() < 0.05, "{name}: {duration}");
        let (mut pcm, mut samples, mut most) = (Vec::new(), 0, 0);
        loop {
            let more = file.read_block(&mut pcm).unwrap();
            most = most.max(pcm.len());
            samples += pcm.len();
            pcm.clear();
            if !more {
                break;
            }
        }
        assert!((samples as f64 / 24_000.0 - 2.6).abs() < 0.05, "{name}: {samples}");
        assert!(most < 40_000, "{name} came in a block of {most} samples");
        assert!((file.position() - 2.6).abs() < 0.05);
        assert!(!file.read_block(&mut Vec::new()).unwrap());
    }
}

fn refusal(bytes: &[u8], name: &str) -> AudioError {
    let (_folder, path) = file_with(bytes, name);
    load(&path).expect_err(name)
}

#[test]
fn what_is_no_audio_is_refused_with_a_reason() {
    assert!(matches!(load(Path::new("/no/such/file.wav")), Err(AudioError::Read { .. })));
    assert!(matches!(load(folder().path()), Err(AudioError::Read { .. })));
    assert!(matches!(refusal(b"", "a.wav"), AudioError::EmptyFile { .. }));
    for name in ["a.wav", "a.mp3", "a.txt", "a"] {
        let text = refusal(b"These are words, not sounds. ".repeat(200).as_slice(), name).to_string();
        assert!(text.contains("is not an audio file") && text.contains("looks like text"), "{text}");
        assert!(text.contains("expected wav, flac, mp3"), "{text}");
    }
    assert!(refusal(b"hi", "a.wav").to_string().contains("looks like text: \"hi\""));
    assert!(refusal(&[0x7f, b'E', b'L', b'F', 0, 0, 0], "a.wav").to_string().contains("it begins with bytes [7f"));
    assert!(refusal(&[0; 5_000], "a.opus").to_string().contains("is not an audio file"));
}

#[test]
fn codecs_it_does_not_know_are_named() {
    let text = load(&fixture("ac3.mka")).unwrap_err().to_string();
    assert!(text.contains("holds audio in AC-3") && text.contains("convert it"), "{text}");
    let text = load(&fixture("six-channels.opus")).unwrap_err().to_string();
    assert_eq!(text, "OpusHead says channel count 6; expected 1 or 2");
}

#[test]
fn a_file_that_breaks_off_gives_what_is_there_and_says_so() {
    for (name, least) in [
        ("speech-16k.wav", 1.2),
        ("speech-22k05.flac", 1.0),
        ("speech-44k1-stereo.ogg", 0.8),
        ("speech-32k.mp3", 1.0),
        ("silk-40ms.opus", 0.9),
        ("speech-40ms.webm", 0.9),
    ] {
        let whole = std::fs::read(fixture(name)).unwrap();
        let (_folder, path) = file_with(&whole[..whole.len() / 2], name);
        let recording = load(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let seconds = recording.pcm.len() as f64 / 24_000.0;
        assert!((least..1.7).contains(&seconds), "{name}: {seconds}");
        let warning = recording.warning.unwrap_or_else(|| panic!("{name}: no warning"));
        assert!(warning.contains("breaks off") || warning.contains("of 2.60 seconds"), "{warning}");
    }
}

#[test]
fn a_file_that_breaks_off_in_its_header_is_refused() {
    for name in ["speech-16k.wav", "speech-22k05.flac", "speech-44k1-stereo.ogg", "silk-40ms.opus", "speech-48k.m4a"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        let error = refusal(&whole[..30], name);
        assert!(matches!(error, AudioError::Damaged { .. }), "{error}");
    }
}

#[test]
fn wav_files_come_back_as_they_were_written() {
    let pcm = voice(10_000);
    let folder = folder();
    let path = folder.path().join("a.wav");
    write_wav(&path, &pcm, WavFormat::F32).unwrap();
    assert_eq!(load(&path).unwrap().pcm, pcm);
    let mut writer = WavWriter::create(&path, WavFormat::I16).unwrap();
    for piece in pcm.chunks(777) {
        writer.write(piece).unwrap();
    }
    writer.write(&[2.0, -2.0, f32::NAN, f32::INFINITY]).unwrap();
    writer.finish().unwrap();
    let read = load(&path).unwrap().pcm;
    assert!(pcm.iter().zip(&read).all(|(a, b)| (a - b).abs() <= 0.51 / 32_768.0));
    assert_eq!(read[10_000..], [32_767.0 / 32_768.0, -1.0, 0.0, 32_767.0 / 32_768.0]);
    let error = WavWriter::create(Path::new("/no/such/folder/a.wav"), WavFormat::I16).unwrap_err();
    assert!(error.to_string().starts_with("cannot write /no/such/folder/a.wav"));
}

#[test]
fn a_wav_without_samples_is_silence_with_a_warning_and_bad_floats_are_silenced() {
    let folder = folder();
    let path = folder.path().join("a.wav");
    write_wav(&path, &[], WavFormat::F32).unwrap();
    let recording = load(&path).unwrap();
    assert!(recording.pcm.is_empty() && recording.warning.unwrap().ends_with("holds no samples"));
    write_wav(&path, &[0.5, f32::NAN, f32::INFINITY, -0.5], WavFormat::F32).unwrap();
    assert_eq!(load(&path).unwrap().pcm, [0.5, 0.0, 0.0, -0.5]);
}

fn tone(rate: u32, hertz: f64, seconds: f64) -> Vec<f32> {
    let samples = (f64::from(rate) * seconds) as usize;
    let step = std::f64::consts::TAU * hertz / f64::from(rate);
    (0..samples).map(|n| (0.5 * (step * n as f64).sin()) as f32).collect()
}

#[test]
fn resampling_keeps_time_level_and_nothing_above_the_new_band() {
    for rate in [8_000, 16_000, 22_050, 44_100, 48_000, 96_000, 44_099] {
        // The short filter's delay is no whole number of samples: half a sample of 1 kHz is 0.065 away.
        for (make, most) in [(Resampler::new as fn(u32, u32) -> _, 1e-4), (Resampler::low_latency, 0.07)] {
            let mut resampler: Resampler = make(rate, 24_000).unwrap();
            let mut out = Vec::new();
            resampler.push(&tone(rate, 1_000.0, 1.0), &mut out).unwrap();
            resampler.finish(&mut out).unwrap();
            assert_eq!(out.len(), 24_000, "{rate}");
            let expected = tone(24_000, 1_000.0, 1.0);
            let error = out[2_000..22_000].iter().zip(&expected[2_000..22_000]).map(|(a, b)| (a - b).abs());
            let error = error.fold(0.0, f32::max);
            let most = if rate == 44_099 { 0.07 } else { most };
            assert!(error < most, "{rate}: {error}");
        }
    }
    let alias = resample(&tone(48_000, 15_000.0, 1.0), 48_000, 24_000).unwrap();
    assert!(level_db(&alias[2_000..22_000]) < -80.0, "{}", level_db(&alias[2_000..22_000]));
}

#[test]
fn samples_beyond_all_measure_are_cut_before_they_overflow() {
    for make in [Resampler::new as fn(u32, u32) -> _, Resampler::low_latency] {
        let mut resampler: Resampler = make(48_000, 24_000).unwrap();
        let odd = [f32::MAX, f32::NAN, f32::INFINITY, f32::MAX, f32::MIN, 1e30];
        let input: Vec<f32> = odd.into_iter().cycle().take(9_600).collect();
        let mut out = Vec::new();
        resampler.push(&input, &mut out).unwrap();
        resampler.finish(&mut out).unwrap();
        assert_eq!(out.len(), 4_800);
        assert!(out.iter().all(|sample| sample.is_finite()));
    }
}

#[test]
fn resampling_there_and_back_gives_the_same_speech() {
    let original = original();
    let there = resample(&original, 24_000, 44_100).unwrap();
    let back = resample(&there, 44_100, 24_000).unwrap();
    assert_eq!(back.len(), original.len());
    assert!(correlation(&original, &back) > 0.999);
}

#[test]
fn a_resampler_that_finished_begins_anew() {
    let input = tone(44_100, 500.0, 0.3);
    let mut resampler = Resampler::new(44_100, 24_000).unwrap();
    let mut runs = [Vec::new(), Vec::new()];
    for out in &mut runs {
        resampler.push(&input, out).unwrap();
        resampler.finish(out).unwrap();
    }
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn rates_that_make_no_sense_are_named() {
    let error = Resampler::new(0, 24_000).unwrap_err().to_string();
    assert_eq!(error, "sample rate is 0 Hz; expected 1000 to 768000 Hz");
    assert!(Resampler::low_latency(24_000, 1_000_000).is_err());
}

#[test]
fn a_live_resampler_lags_by_milliseconds() {
    for rate in [44_100, 48_000] {
        let milliseconds = |from, to| Resampler::low_latency(from, to).unwrap().delay() as f64 * 1e3 / f64::from(to);
        assert!(milliseconds(rate, 24_000) < 5.5, "{rate}: {}", milliseconds(rate, 24_000));
        assert!(milliseconds(24_000, rate) < 7.0, "{rate}: {}", milliseconds(24_000, rate));
    }
}

proptest! {
    #![proptest_config(seeded(24))]

    #[test]
    fn any_chunking_resamples_to_the_same_bits(cuts in prop::collection::vec(1usize..3_000, 1..20), rate in 0usize..3) {
        let rate = [16_000, 44_100, 48_000][rate];
        let input = tone(rate, 700.0, 0.5);
        let whole = resample(&input, rate, 24_000).unwrap();
        let mut resampler = Resampler::new(rate, 24_000).unwrap();
        let (mut out, mut rest) = (Vec::new(), input.as_slice());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (head, tail) = rest.split_at((*cut).min(rest.len()));
            resampler.push(head, &mut out).unwrap();
            rest = tail;
        }
        resampler.finish(&mut out).unwrap();
        prop_assert_eq!(out, whole);
    }

    #[test]
    fn damaged_files_give_sound_or_an_error(
        which in 0usize..8,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30),
        early in prop::collection::vec((0usize..400, any::<u8>()), 0..4),
        keep in 0.0f64..1.0,
    ) {
        let names = ["speech-16k.wav", "speech-22k05.flac", "speech-32k.mp3", "speech-44k1-stereo.ogg", "speech-48k.m4a",
            "silk-60ms.opus", "speech-40ms.webm", "ac3.mka"];
        let mut bytes = std::fs::read(fixture(names[which])).unwrap();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for (at, value) in early {
            bytes[at] = value;
        }
        bytes.truncate((bytes.len() as f64 * keep.max(0.1)) as usize);
        let (_folder, path) = file_with(&bytes, names[which]);
        if let Ok(recording) = load(&path) {
            prop_assert!(recording.pcm.iter().all(|s| s.is_finite()));
        }
    }
}
