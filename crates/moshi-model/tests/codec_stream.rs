//! A stream through the codec: any pieces give the same frames, and what goes wrong repeats none and loses none.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says so")]

use std::sync::Arc;

use moshi_checkpoint::{OpenOptions, Parts, Repository, Source};
use moshi_engine::{EngineError, FRAME_SAMPLES};
use moshi_model::{Codec, LoadOptions, load_codec};
use moshi_testkit::Golden;

fn codec() -> Arc<dyn Codec> {
    let source = Source::File(Golden::TINY_MOSHI.path("mimi.safetensors"));
    let options = OpenOptions { parts: Parts::MIMI, ..OpenOptions::default() };
    load_codec(&Repository::open(&source, &options, &mut ()).unwrap(), &LoadOptions::default()).unwrap()
}

/// Four frames and a bit.
fn speech() -> Vec<f32> {
    Golden::TINY_MOSHI.results().unwrap().f32("pcm_in").unwrap()[..4 * FRAME_SAMPLES + 700].to_vec()
}

/// Goes on so many times.
fn times(mut count: usize) -> impl FnMut() -> bool {
    move || {
        count = count.saturating_sub(1);
        count > 0
    }
}

#[test]
fn a_stream_that_was_stopped_goes_on_where_it_was() {
    let (codec, pcm) = (codec(), speech());
    let (mut whole, mut parts) = (Vec::new(), Vec::new());
    codec.stream().unwrap().encode(&pcm, &mut whole, &mut || true).unwrap();
    assert_eq!(whole.len(), 4 * codec.info().num_codebooks);
    for stop in 1..5 {
        parts.clear();
        let mut stream = codec.stream().unwrap();
        let stopped = stream.encode(&pcm, &mut parts, &mut times(stop));
        assert_eq!(stopped, Err(EngineError::Stopped));
        assert_eq!(parts.len(), (stop - 1) * codec.info().num_codebooks);
        stream.encode(&[], &mut parts, &mut || true).unwrap();
        assert_eq!(parts, whole, "stopped before frame {stop}");
    }
}

#[test]
fn samples_that_are_no_numbers_leave_a_stream_as_it_was() {
    let (codec, mut pcm) = (codec(), speech());
    let mut stream = codec.stream().unwrap();
    let (mut whole, mut codes) = (Vec::new(), Vec::new());
    codec.stream().unwrap().encode(&pcm, &mut whole, &mut || true).unwrap();
    for bad in [0, 100, FRAME_SAMPLES + 1, 3 * FRAME_SAMPLES] {
        let good = std::mem::replace(&mut pcm[bad], f32::NAN);
        assert!(stream.encode(&pcm, &mut codes, &mut || true).is_err());
        assert!(codes.is_empty(), "nothing was taken");
        pcm[bad] = good;
    }
    stream.encode(&pcm, &mut codes, &mut || true).unwrap();
    assert_eq!(codes, whole);
}

#[test]
fn codes_that_do_not_fit_leave_a_stream_as_it_was() {
    let (codec, mut codes) = (codec(), Vec::new());
    codec.stream().unwrap().encode(&speech(), &mut codes, &mut || true).unwrap();
    let mut stream = codec.stream().unwrap();
    let (mut whole, mut pcm) = (Vec::new(), Vec::new());
    codec.stream().unwrap().decode(&codes, &mut whole, &mut || true).unwrap();
    assert_eq!(whole.len(), 4 * FRAME_SAMPLES);
    let last = codes.len() - 1;
    let good = std::mem::replace(&mut codes[last], 99_999);
    let error = stream.decode(&codes, &mut pcm, &mut || true).unwrap_err().to_string();
    assert!(error.contains("99999") && pcm.is_empty(), "{error}");
    assert!(stream.decode(&codes[..last], &mut pcm, &mut || true).is_err() && pcm.is_empty());
    codes[last] = good;
    stream.decode(&codes, &mut pcm, &mut || true).unwrap();
    assert_eq!(pcm, whole);
}

#[test]
fn whole_recordings_can_be_stopped() {
    let (codec, pcm) = (codec(), speech());
    assert_eq!(codec.encode(&pcm, &mut times(2)), Err(EngineError::Stopped));
    let codes = codec.encode(&pcm, &mut || true).unwrap();
    assert_eq!(codec.decode(&codes, &mut times(2)), Err(EngineError::Stopped));
    assert_eq!(codec.decode(&codes, &mut || true).unwrap().len(), 5 * FRAME_SAMPLES);
}
