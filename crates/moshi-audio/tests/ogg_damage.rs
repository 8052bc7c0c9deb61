//! Ogg Opus streams that are foreign, damaged, renumbered, or lie about themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says so")]

mod speech;
mod streams;

use moshi_audio::{AudioError, FRAME_SAMPLES, OggOpusDecoder, OggOpusDecoderConfig};
use proptest::prelude::*;
use speech::{correlation, seeded, voice};
use streams::{decode, decode_pages, messages, pages};

#[test]
fn empty_messages_cost_nothing() {
    let whole = messages(&vec![0.1; 24_000]).concat();
    let empty: [&[u8]; 3] = [&[], &[], &[]];
    let pieces = empty.into_iter().chain([&whole[..]]).chain(empty);
    assert_eq!(decode(pieces).0, decode([&whole[..]]).0);
}

#[test]
fn garbage_that_never_was_ogg_opus_is_refused_after_a_bounded_number_of_bytes() {
    let limit = OggOpusDecoderConfig::live().max_foreign;
    for byte in [b'x', b'O', 0, 0xff] {
        let mut decoder = OggOpusDecoder::live();
        let mut taken = 0;
        let error = loop {
            match decoder.push(&[byte; 1_000], &mut Vec::new()) {
                Ok(()) => taken += 1_000,
                Err(error) => break error,
            }
        };
        assert!(taken <= limit && taken + 1_000 > limit, "{taken}");
        assert!(matches!(error, AudioError::NotOggOpus { .. }), "{error}");
    }
}

#[test]
fn raw_pages_of_another_codec_are_named() {
    let mut bytes = Vec::new();
    let mut writer = ogg::PacketWriter::new(&mut bytes);
    let end = || ogg::PacketWriteEndInfo::EndPage;
    writer.write_packet(&b"\x01vorbis and so on"[..], 1, end(), 0).unwrap();
    for at in 1..200 {
        writer.write_packet(vec![at as u8; 100], 1, end(), at * 1_000).unwrap();
    }
    let error = OggOpusDecoder::live().push(&bytes, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "the Ogg stream holds Vorbis; expected Opus");
}

#[test]
fn more_than_two_channels_are_refused() {
    let mut bytes = Vec::new();
    let mut writer = ogg::PacketWriter::new(&mut bytes);
    let head = b"OpusHead\x01\x06\x00\x0f\x80\xbb\x00\x00\x00\x00\x01\x04\x02\x00\x04\x01\x02\x03\x05".as_slice();
    writer.write_packet(head, 1, ogg::PacketWriteEndInfo::EndPage, 0).unwrap();
    let error = OggOpusDecoder::live().push(&bytes, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "OpusHead says channel count 6; expected 1 or 2");
}

#[test]
fn a_lost_page_is_concealed_at_its_full_length() {
    let pages = pages(&messages(&voice(20 * FRAME_SAMPLES)).concat());
    for lost in [vec![7], vec![7, 8, 9], vec![2], vec![40, 41]] {
        let kept: Vec<_> = (0..pages.len()).filter(|at| !lost.contains(at)).map(|at| pages[at].clone()).collect();
        let (heard, decoder) = decode_pages(&kept);
        // Before the first audio and after the last there is nothing to conceal.
        let concealed = lost.iter().filter(|at| **at > 2 && **at < 40).count();
        assert_eq!(heard.len(), (kept.len() - 2 + concealed) * 960, "{lost:?}");
        assert_eq!(decoder.stats().lost_pages as usize, concealed);
        assert_eq!(decoder.stats().concealed_samples as usize, concealed * 960);
    }
}

#[test]
fn a_very_long_gap_is_bounded() {
    let pages = pages(&messages(&voice(100 * FRAME_SAMPLES)).concat());
    let kept = [&pages[..10], &pages[190..]].concat();
    let (heard, decoder) = decode_pages(&kept);
    assert_eq!(heard.len(), (kept.len() - 2) * 960 + 24_000);
    assert_eq!(decoder.stats().lost_pages, 180);
}

#[test]
fn swapped_and_doubled_pages_keep_the_time_right() {
    let mut pages = pages(&messages(&voice(20 * FRAME_SAMPLES)).concat());
    let expected = (pages.len() - 2) * 960;
    pages.swap(10, 11);
    let (heard, decoder) = decode_pages(&pages);
    assert_eq!(heard.len(), expected);
    assert_eq!((decoder.stats().late_pages, decoder.stats().lost_pages), (1, 1));
    pages.swap(10, 11);
    pages.insert(20, pages[19].clone());
    pages.insert(25, pages[5].clone());
    let (heard, decoder) = decode_pages(&pages);
    assert_eq!(heard.len(), expected);
    assert_eq!((decoder.stats().late_pages, decoder.stats().concealed_samples), (2, 0));
}

#[test]
fn a_damaged_page_costs_itself_only_and_nothing_waits_for_the_length_it_claims() {
    let pages = pages(&messages(&voice(20 * FRAME_SAMPLES)).concat());
    let clean = decode_pages(&pages).0;
    // The capture pattern, the version, the segment count, a lacing value, the checksum, the body.
    for (at, value) in [(0, b'x'), (4, 9), (26, 255), (27, 254), (22, 1), (60, 0x55)] {
        let mut damaged = pages.clone();
        damaged[11][at] ^= value;
        let mut decoder = OggOpusDecoder::live();
        let mut heard = Vec::new();
        for (index, page) in damaged.iter().enumerate() {
            decoder.push(page, &mut heard).unwrap();
            // One page after the damaged one the time is right again.
            if index != 11 {
                assert_eq!(heard.len(), (index.max(1) - 1) * 960, "byte {at}, page {index}");
            }
        }
        assert_eq!(decoder.stats().lost_pages, 1);
        assert_eq!(heard[..9 * 960], clean[..9 * 960]);
        let tail = 30 * 960;
        assert!(correlation(&heard[tail..], &clean[tail..]) > 0.95);
    }
}

#[test]
fn missing_tags_a_missing_head_and_headers_sent_again_are_no_problem() {
    let pages = pages(&messages(&voice(20 * FRAME_SAMPLES)).concat());
    let without_tags = [&pages[..1], &pages[2..]].concat();
    assert_eq!(decode_pages(&without_tags).0.len(), 40 * 960);
    // A stream whose head was lost is believed from its second page on; the tags count as one.
    assert_eq!(decode_pages(&pages[1..]).0.len(), 40 * 960);
    assert_eq!(decode_pages(&pages[9..]).0.len(), (pages.len() - 10) * 960);
    let again = [&pages[..20], &pages[..2], &pages[20..]].concat();
    assert_eq!(decode_pages(&again).0.len(), 40 * 960);
    let chained = [&pages[..], &pages[..]].concat();
    let (heard, decoder) = decode_pages(&chained);
    assert_eq!((heard.len(), decoder.stats().streams), (80 * 960, 2));
}

/// Pages of one packet each with the given sequence numbers and granule positions.
fn renumbered(pages: &[Vec<u8>], number: impl Fn(usize) -> (u32, u64)) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, page) in pages.iter().enumerate() {
        let (sequence, granule) = number(at);
        let mut page = page.clone();
        page[6..14].copy_from_slice(&granule.to_le_bytes());
        page[18..22].copy_from_slice(&sequence.to_le_bytes());
        page[22..26].fill(0);
        let crc = page.iter().fold(0u32, |crc, byte| {
            (0..8)
                .fold(crc ^ (u32::from(*byte) << 24), |c, _| if c >> 31 == 1 { (c << 1) ^ 0x04c1_1db7 } else { c << 1 })
        });
        page[22..26].copy_from_slice(&crc.to_le_bytes());
        bytes.extend(page);
    }
    bytes
}

#[test]
fn odd_numbering_is_taken() {
    let pages = pages(&messages(&voice(20 * FRAME_SAMPLES)).concat());
    type Numbering = fn(usize) -> (u32, u64);
    fn audio(at: usize) -> u64 {
        at.saturating_sub(1) as u64
    }
    let cases: [(&str, Numbering); 4] = [
        ("granules at 24 kHz", |at| (at as u32, audio(at) * 960)),
        ("no granules", |at| (at as u32, 0)),
        ("no sequence numbers", |at| (0, audio(at) * 1_920)),
        ("numbers that wrap around", |at| ((at as u32).wrapping_sub(12), audio(at) * 1_920)),
    ];
    for (name, number) in cases {
        let (heard, decoder) = decode([renumbered(&pages, number).as_slice()]);
        assert_eq!(heard.len(), 40 * 960, "{name}");
        assert_eq!(decoder.stats().late_pages, 0, "{name}");
    }
    // A gap in a stream of the Rust client's granules is as long as the audio was.
    let mut gap = pages.clone();
    gap.drain(20..23);
    let bytes = renumbered(&gap, |at| {
        let at = if at < 20 { at } else { at + 3 };
        (at as u32, audio(at) * 960)
    });
    assert_eq!(decode([bytes.as_slice()]).0.len(), 40 * 960);
}

#[test]
fn a_message_that_claims_hours_of_audio_is_cut() {
    let mut bytes = messages(&[]).concat();
    // 255 packets of 120 ms of silence on each page of 800 bytes.
    let packets: Vec<[u8; 2]> = vec![[0x0b, 6]; 255];
    let mut writer = ogg::PacketWriter::new(&mut bytes);
    for sequence in 0..80 {
        for (at, packet) in packets.iter().enumerate() {
            let end = if at == 254 { ogg::PacketWriteEndInfo::EndPage } else { ogg::PacketWriteEndInfo::NormalPacket };
            writer.write_packet(packet.to_vec(), 77, end, sequence).unwrap();
        }
    }
    let (heard, decoder) = decode([bytes.as_slice()]);
    assert!(heard.len() <= 240_000 + 2_880, "{}", heard.len());
    assert!(decoder.stats().dropped_packets > 10_000);
}

proptest! {
    #![proptest_config(seeded(64))]

    #[test]
    fn damage_never_panics_and_the_stream_comes_back(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..500), 0..4),
        inserts in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..300)), 0..4),
    ) {
        let clean = messages(&voice(12 * FRAME_SAMPLES)).concat();
        let mut bytes = clean.clone();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for (at, length) in cuts {
            let at = at.index(bytes.len());
            bytes.drain(at..(at + length).min(bytes.len()));
        }
        for (at, more) in inserts {
            let at = at.index(bytes.len());
            bytes.splice(at..at, more);
        }
        // Whatever happened, a second stream after it is heard whole.
        let damaged = bytes.len();
        bytes.extend(&clean);
        let mut decoder = OggOpusDecoder::live();
        let mut pcm = Vec::new();
        for piece in bytes[..damaged].chunks(333) {
            decoder.push(piece, &mut pcm).unwrap();
        }
        pcm.clear();
        decoder.push(&bytes[damaged..], &mut pcm).unwrap();
        prop_assert!(pcm.len() >= 24 * 960, "{}", pcm.len());
        prop_assert!(pcm.iter().all(|s| s.abs() <= 1.0));
    }

    #[test]
    fn random_packets_in_good_pages_never_panic(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..30),
        stereo in any::<bool>(),
    ) {
        let mut bytes = Vec::new();
        let mut writer = ogg::PacketWriter::new(&mut bytes);
        let mut head = *b"OpusHead\x01\x01\x00\x0f\x80\xbb\x00\x00\x00\x00\x00";
        head[9] = 1 + u8::from(stereo);
        writer.write_packet(head.to_vec(), 5, ogg::PacketWriteEndInfo::EndPage, 0).unwrap();
        for (at, packet) in packets.iter().enumerate() {
            writer.write_packet(packet.clone(), 5, ogg::PacketWriteEndInfo::EndPage, at as u64 * 960).unwrap();
        }
        let (heard, _) = decode([bytes.as_slice()]);
        prop_assert!(heard.iter().all(|s| s.abs() <= 1.0));
    }

    #[test]
    fn damaged_packets_of_every_mode_in_good_pages_never_panic(
        which in 0usize..5,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..40),
        mixed in 0usize..5,
    ) {
        let names = ["silk-60ms", "hybrid-20ms", "celt-2.5ms", "stereo-40ms", "hybrid-120ms"];
        let packets = |which: usize| {
            let path = format!("{}/../../tests/fixtures/audio/{}.opus", env!("CARGO_MANIFEST_DIR"), names[which]);
            let mut reader = ogg::PacketReader::new(std::fs::File::open(path).unwrap());
            std::iter::from_fn(move || reader.read_packet().unwrap().map(|packet| packet.data)).collect::<Vec<_>>()
        };
        let mut stream = packets(which);
        // Packets of another stream in between make the decoder change its mode.
        stream.extend(packets(mixed).into_iter().skip(2).take(20));
        let last = stream.len() - 2;
        for (which, at, value) in flips {
            let packet = &mut stream[2 + which.index(last)];
            if !packet.is_empty() {
                let at = at.index(packet.len());
                packet[at] = value;
            }
        }
        let mut bytes = Vec::new();
        let mut writer = ogg::PacketWriter::new(&mut bytes);
        for (at, packet) in stream.into_iter().enumerate() {
            writer.write_packet(packet, 5, ogg::PacketWriteEndInfo::EndPage, at as u64 * 960).unwrap();
        }
        let (heard, _) = decode([bytes.as_slice()]);
        prop_assert!(heard.iter().all(|s| s.abs() <= 1.0));
    }
}
