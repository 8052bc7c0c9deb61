//! The audio work of one session and one frame of 80 ms: Ogg Opus both ways, and resampling.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use moshi_audio::{FRAME_SAMPLES, OggOpusDecoder, OggOpusEncoder, OggOpusEncoderConfig, Resampler};

/// A second and more of buzzing that is no silence to the codec.
fn frames() -> Vec<Vec<f32>> {
    let sample = |n: usize| 0.3 * (n as f32 * 0.031).sin() * (n as f32 * 0.000_4).sin() + 0.1 * (n as f32 * 0.17).sin();
    (0..16).map(|frame| (0..FRAME_SAMPLES).map(|n| sample(frame * FRAME_SAMPLES + n)).collect()).collect()
}

fn ogg_opus(c: &mut Criterion) {
    let Ok(mut encoder) = OggOpusEncoder::new(&OggOpusEncoderConfig::default()) else {
        return;
    };
    let frames = frames();
    let mut message = Vec::new();
    let mut at = 0;
    c.bench_function("encode a frame to Ogg Opus", |b| {
        b.iter(|| {
            message.clear();
            at = (at + 1) % frames.len();
            encoder.push(black_box(&frames[at]), &mut message).is_ok()
        });
    });
    let Ok(mut encoder) = OggOpusEncoder::new(&OggOpusEncoderConfig::default()) else {
        return;
    };
    let mut decoder = OggOpusDecoder::live();
    let mut pcm = Vec::new();
    c.bench_function("encode and decode a frame as Ogg Opus", |b| {
        b.iter(|| {
            message.clear();
            pcm.clear();
            at = (at + 1) % frames.len();
            encoder.push(black_box(&frames[at]), &mut message).and_then(|()| decoder.push(&message, &mut pcm)).is_ok()
        });
    });
}

fn samples(c: &mut Criterion) {
    let frames = frames();
    if let Ok(mut resampler) = Resampler::low_latency(48_000, 24_000) {
        let mut out = Vec::new();
        c.bench_function("resample 20 ms from 48 kHz", |b| {
            b.iter(|| {
                out.clear();
                resampler.push(black_box(&frames[0][..960]), &mut out).is_ok()
            });
        });
    }
}

criterion_group!(benches, ogg_opus, samples);
criterion_main!(benches);
