//! The Ogg Opus stream towards clients and from them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says so")]

mod speech;
mod streams;

use moshi_audio::{FRAME_SAMPLES, OggOpusDecoder, OggOpusEncoder, OggOpusEncoderConfig};
use proptest::prelude::*;
use speech::{best_lag, correlation, level_db, seeded, voice};
use streams::{decode, decode_pages, messages, pages};

#[test]
fn messages_are_whole_pages_as_the_published_servers_write_them() {
    let messages = messages(&voice(5 * FRAME_SAMPLES));
    assert_eq!(
        messages[0][28..47],
        *b"OpusHead\x01\x01\x00\x0f\x80\xbb\x00\x00\x00\x00\x00",
        "version 1, one channel, pre-skip 3840, 48000 Hz, gain 0, mapping 0"
    );
    for message in &messages {
        assert_eq!(pages(message).len(), 2);
        assert!(message.starts_with(b"OggS"));
    }
    let mut reader = ogg::PacketReader::new(std::io::Cursor::new(messages.concat()));
    let mut granules = Vec::new();
    while let Some(packet) = reader.read_packet().unwrap() {
        assert!(packet.first_in_page() && packet.last_in_page());
        assert_eq!(packet.stream_serial(), 77);
        assert_eq!(packet.first_in_stream(), granules.is_empty());
        granules.push(packet.absgp_page());
    }
    let expected: Vec<u64> = [0, 0].into_iter().chain((1..=10).map(|n| n * 1_920)).collect();
    assert_eq!(granules, expected);
    let sequences: Vec<u8> = pages(&messages.concat()).iter().map(|page| page[18]).collect();
    assert_eq!(sequences, (0..12).collect::<Vec<u8>>());
}

/// `written.opus` was accepted without a complaint by opusinfo, opusdec and ffmpeg.
#[test]
fn the_stream_is_still_the_one_that_other_programs_accepted() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/audio/");
    let golden = std::fs::read(format!("{folder}written.opus")).unwrap();
    let speech = moshi_audio::load(format!("{folder}speech-16k.wav").as_ref()).unwrap().pcm;
    let mut encoder = OggOpusEncoder::new(&OggOpusEncoderConfig { serial: 0x4d6f_7368, ..Default::default() }).unwrap();
    let mut bytes = Vec::new();
    for frame in speech.chunks_exact(FRAME_SAMPLES) {
        encoder.push(frame, &mut bytes).unwrap();
    }
    encoder.finish(&mut bytes);
    let (mine, theirs) = (pages(&bytes), pages(&golden));
    assert_eq!(mine[..2], theirs[..2], "the header pages");
    // The packets may differ by a bit between processors; everything up to the checksum may not.
    let heads = |pages: &[Vec<u8>]| pages.iter().map(|page| page[..22].to_vec()).collect::<Vec<_>>();
    assert_eq!(heads(&mine), heads(&theirs));
    let (heard, _) = decode([golden.as_slice()]);
    let lag = best_lag(&speech, &heard, 400);
    assert!((150..=160).contains(&lag) && correlation(&speech[..heard.len() - lag], &heard[lag..]) > 0.93, "{lag}");
    assert!(correlation(&decode([bytes.as_slice()]).0, &heard) > 0.99);
}

#[test]
fn headers_may_share_the_first_message_with_audio() {
    let pcm = voice(FRAME_SAMPLES);
    let mut encoder = OggOpusEncoder::new(&OggOpusEncoderConfig { serial: 77, ..Default::default() }).unwrap();
    let mut message = Vec::new();
    encoder.push(&pcm, &mut message).unwrap();
    assert_eq!(message, messages(&pcm).concat());
}

#[test]
fn frames_left_out_are_a_jump_of_the_granule_positions() {
    let mut encoder = OggOpusEncoder::new(&OggOpusEncoderConfig::default()).unwrap();
    let mut bytes = Vec::new();
    encoder.push(&[0.1; FRAME_SAMPLES], &mut bytes).unwrap();
    encoder.skip(3);
    encoder.push(&[0.1; FRAME_SAMPLES], &mut bytes).unwrap();
    let mut decoder = OggOpusDecoder::live();
    let mut pcm = Vec::new();
    decoder.push(&bytes, &mut pcm).unwrap();
    let granules: Vec<u64> = pages(&bytes).iter().map(|p| u64::from_le_bytes(p[6..14].try_into().unwrap())).collect();
    assert_eq!(granules, [0, 0, 1_920, 3_840, 17_280, 19_200]);
}

#[test]
fn a_finished_stream_has_an_end() {
    let mut encoder = OggOpusEncoder::new(&OggOpusEncoderConfig::default()).unwrap();
    let mut bytes = Vec::new();
    encoder.push(&voice(FRAME_SAMPLES), &mut bytes).unwrap();
    encoder.finish(&mut bytes);
    let pages = pages(&bytes);
    assert_eq!((pages.len(), pages[4][5], pages[4].len()), (5, 4, 27));
    assert_eq!(decode_pages(&pages).0.len(), FRAME_SAMPLES);
}

#[test]
fn speech_survives_the_way_there_and_back() {
    let pcm = voice(50 * FRAME_SAMPLES);
    let (heard, decoder) = decode_pages(&messages(&pcm));
    assert_eq!(heard.len(), pcm.len());
    let lag = best_lag(&pcm, &heard, 400);
    assert!((150..=170).contains(&lag), "the codec's delay is 6.5 ms; found {lag} samples");
    assert!(correlation(&pcm[..pcm.len() - lag], &heard[lag..]) > 0.9);
    assert!((level_db(&heard) - level_db(&pcm)).abs() < 1.0);
    assert_eq!(decoder.stats().skipped_bytes, 0);
    assert_eq!(decoder.stats().concealed_samples, 0);
}

#[test]
fn wrong_frames_and_settings_are_named() {
    let mut encoder = OggOpusEncoder::new(&OggOpusEncoderConfig::default()).unwrap();
    let error = encoder.push(&[0.0; 100], &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "100 samples given to the encoder; expected 1920");
    let mut config = OggOpusEncoderConfig::default();
    config.opus.bitrate = 5;
    let error = OggOpusEncoder::new(&config).unwrap_err();
    assert_eq!(error.to_string(), "bitrate is 5; expected 6000 to 256000 bits per second");
}

#[test]
fn samples_that_are_no_numbers_harm_nothing() {
    let mut encoder = OggOpusEncoder::new(&OggOpusEncoderConfig::default()).unwrap();
    let mut message = Vec::new();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30] {
        encoder.push(&[bad; FRAME_SAMPLES], &mut message).unwrap();
    }
    let (heard, _) = decode([message.as_slice()]);
    assert_eq!(heard.len(), 5 * FRAME_SAMPLES);
    assert!(heard.iter().all(|s| s.abs() <= 1.0));
}

proptest! {
    #![proptest_config(seeded(64))]

    #[test]
    fn any_split_gives_the_same_samples(cuts in prop::collection::vec(1usize..700, 1..60)) {
        let bytes = messages(&voice(12 * FRAME_SAMPLES)).concat();
        let whole = decode([bytes.as_slice()]).0;
        let mut rest = bytes.as_slice();
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (piece, tail) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        prop_assert_eq!(decode(pieces).0, whole);
    }
}
