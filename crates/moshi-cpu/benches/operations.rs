//! Attention over a full window, norms, activations and the nearest code, on every instruction set of the machine; and
//! drawing tokens.

#![allow(missing_docs, clippy::expect_used)]

use std::num::NonZeroUsize;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use moshi_cpu::attention::{AttentionShape, Chunk, Ring, attend};
use moshi_cpu::codebook::Codebook;
use moshi_cpu::cores::Cores;
use moshi_cpu::isa::Isa;
use moshi_cpu::rope::{Pairs, Rotations};
use moshi_cpu::rowwise::{self, Vectors};
use moshi_tensor::draw::SampleScratch;
use moshi_tensor::sample::{Draw, RowSampler, RowSampling, SamplingParams, SilentTokens};

fn isas() -> impl Iterator<Item = Cores> {
    Isa::available().filter(|&isa| isa != Isa::Portable).filter_map(|isa| Cores::with_isa(isa, NonZeroUsize::MIN).ok())
}

fn wave(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.37).sin()).collect()
}

/// The temporal transformer of Moshi 7B and a transformer of Mimi, with a full window: bytes are those of the ring.
fn attention(c: &mut Criterion) {
    let mut group = c.benchmark_group("attention");
    for (name, heads, head_dim, context, t) in [("7b", 32, 128, 3000, 1), ("mimi", 8, 64, 250, 2)] {
        let shape = AttentionShape { heads, kv_heads: heads, head_dim, context };
        let mut ring = Ring::new(shape, 1, t).expect("a shape that makes sense");
        let qkv = wave(t * 3 * heads * head_dim);
        let mut y = vec![0.0; t * heads * head_dim];
        let mut rotations = Rotations::new(head_dim, 10_000.0, Pairs::Interleaved);
        rotations.prepare(std::iter::once(5000), t);
        let chunk = Chunk { rows: &[0], positions: &[5000], first: 0, t };
        group.throughput(Throughput::Bytes((2 * 4 * heads * head_dim * context) as u64));
        for cores in isas() {
            group.bench_function(BenchmarkId::new(name, cores.isa()), |b| {
                b.iter(|| attend(&cores, &chunk, Some(&rotations), &qkv, &mut ring, &mut y));
            });
        }
    }
    group.finish();
}

fn rowwise(c: &mut Criterion) {
    let mut group = c.benchmark_group("rowwise");
    let (x, scale) = (wave(1920 * 64), wave(4096));
    group.throughput(Throughput::Elements(1920 * 64));
    for cores in isas() {
        let mut y = vec![0.0; x.len()];
        let vectors = Vectors { rows: &[0], t: 30, c: 4096 };
        group.bench_function(BenchmarkId::new("elu", cores.isa()), |b| b.iter(|| rowwise::elu(&cores, &x, &mut y)));
        group.bench_function(BenchmarkId::new("gelu", cores.isa()), |b| {
            b.iter(|| rowwise::gelu(&cores, &vectors, &mut y));
        });
        group.bench_function(BenchmarkId::new("softmax", cores.isa()), |b| {
            b.iter(|| rowwise::softmax(&cores, &vectors, &mut y));
        });
        group.bench_function(BenchmarkId::new("rms_norm", cores.isa()), |b| {
            b.iter(|| rowwise::rms_norm(&cores, &vectors, &x, &scale, 1e-8, &mut y));
        });
        group.bench_function(BenchmarkId::new("layer_norm", cores.isa()), |b| {
            b.iter(|| rowwise::layer_norm(&cores, &vectors, &x, (&scale, &scale), 1e-5, &mut y));
        });
    }
    group.finish();
}

fn nearest_code(c: &mut Criterion) {
    let mut group = c.benchmark_group("nearest_code");
    let (bins, d) = (2048, 256);
    for cores in isas() {
        let book = Codebook::new(&cores, &wave(bins * d), bins).expect("a whole codebook");
        group.bench_function(BenchmarkId::new("2048x256", cores.isa()), |b| {
            b.iter(|| {
                let mut x = wave(d);
                book.quantize(&cores, &[0], 1, &mut x, |_, _| {}).map(|()| x[0])
            });
        });
    }
    group.finish();
}

/// The draws of a step of Moshi 7B (text, then eight or sixteen of audio), and what costs most.
fn draws(c: &mut Criterion) {
    let mut group = c.benchmark_group("draw");
    for (name, v, params) in [
        ("text 32000 k 25", 32_000, SamplingParams { temperature: 0.7, top_k: 25, top_p: 1.0 }),
        ("audio 2048 k 250", 2048, SamplingParams { temperature: 0.8, top_k: 250, top_p: 1.0 }),
        ("2048 p 0.9", 2048, SamplingParams { temperature: 0.8, top_k: 0, top_p: 0.9 }),
        ("48000 all", 48_000, SamplingParams { temperature: 0.8, top_k: 0, top_p: 1.0 }),
        ("48000 greedy", 48_000, SamplingParams::GREEDY),
    ] {
        let logits: Vec<f32> = (0..v).map(|i| ((i * i * 31 + i * 7919) % 4093) as f32 / 256.0 - 8.0).collect();
        let mut row = RowSampler::new(SilentTokens { padding: 3, end_padding: 0 });
        row.set(&RowSampling { audio: params, ..RowSampling::GREEDY }).expect("parameters in their ranges");
        let (mut scratch, mut position) = (SampleScratch::new(v), 0);
        group.bench_function(name, |b| {
            b.iter(|| {
                position += 1;
                row.draw(&logits, Draw { position, stream: 1, forced: None }, &mut scratch)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, attention, rowwise, nearest_code, draws);
criterion_main!(benches);
