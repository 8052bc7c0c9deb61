//! A caller's Ogg Opus stream, cut where the first byte says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moshi_audio::OggOpusDecoder;

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, stream)) = bytes.split_first() else { return };
    let mut decoder = OggOpusDecoder::live();
    let mut pcm = Vec::new();
    for piece in stream.chunks(usize::from(*cut) + 1) {
        if decoder.push(piece, &mut pcm).is_err() {
            break;
        }
        assert!(pcm.iter().all(|sample| sample.is_finite()), "a sample that is no number");
        pcm.clear();
    }
});
