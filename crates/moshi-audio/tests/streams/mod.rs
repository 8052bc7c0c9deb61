//! Streams for the tests: made, cut into pages and decoded.
#![allow(clippy::unwrap_used, dead_code, reason = "a test that fails says so; not every test needs all of them")]

use moshi_audio::{FRAME_SAMPLES, OggOpusDecoder, OggOpusEncoder, OggOpusEncoderConfig};

/// The messages of a stream, the header pages alone in the first.
pub(crate) fn messages(pcm: &[f32]) -> Vec<Vec<u8>> {
    let mut encoder = OggOpusEncoder::new(&OggOpusEncoderConfig { serial: 77, ..Default::default() }).unwrap();
    let mut head = Vec::new();
    encoder.headers(&mut head);
    let mut all = vec![head];
    for frame in pcm.chunks_exact(FRAME_SAMPLES) {
        let mut message = Vec::new();
        encoder.push(frame, &mut message).unwrap();
        all.push(message);
    }
    all
}

/// The pages of a stream, cut at every "OggS".
pub(crate) fn pages(bytes: &[u8]) -> Vec<Vec<u8>> {
    let starts: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"OggS")).collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts.iter().zip(ends).map(|(start, end)| bytes[*start..end].to_vec()).collect()
}

/// Samples of all pieces, and the decoder after them.
pub(crate) fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<f32>, OggOpusDecoder) {
    let mut decoder = OggOpusDecoder::live();
    let mut pcm = Vec::new();
    for piece in pieces {
        decoder.push(piece, &mut pcm).unwrap();
    }
    (pcm, decoder)
}

/// `decode` of whole pages.
pub(crate) fn decode_pages(pages: &[Vec<u8>]) -> (Vec<f32>, OggOpusDecoder) {
    decode(pages.iter().map(Vec::as_slice))
}
