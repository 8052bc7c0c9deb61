//! One frame of the published codec, encoded and decoded: random weights, 8 codebooks, 1 and 8 rows.
//!
//! A frame is 80 ms of audio for every row, so a time below 80 ms is faster than real time.

use std::num::NonZeroUsize;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mimi::{Mimi, MimiConfig};
use moshi_candle::Candle;
use moshi_cpu::Cpu;
use moshi_nn::{Backend, Precision, Rounded};
use moshi_testkit::{RandomWeights, noise};

const CODEBOOKS: usize = 8;

fn frame_steps<B: Backend>(
    criterion: &mut Criterion,
    name: &str,
    (backend, precision): (B, Precision),
    batches: &[usize],
) {
    let weights = RandomWeights::mimi(1);
    let weights = Rounded::new(&weights, precision);
    let Ok(mimi) = Mimi::load(backend, &weights, &MimiConfig::default(), CODEBOOKS) else { return };
    let mut group = criterion.benchmark_group(format!("mimi/{name}"));
    group.sample_size(20);
    for &rows in batches {
        group.throughput(Throughput::Elements(rows as u64));
        let active = vec![true; rows];
        let pcm = noise::signal(2, rows * mimi.frame_size());
        let mut codes = vec![0; rows * CODEBOOKS];
        if let Ok(mut state) = mimi.init_encoder(rows, 1) {
            group.bench_function(BenchmarkId::new("encode", rows), |bench| {
                bench.iter(|| mimi.encode_step(&mut state, &active, 1, &pcm, &mut codes));
            });
        }
        let codes: Vec<i32> = (0..codes.len() as u64).map(|i| (noise::bits(3, i) % 2048) as i32).collect();
        let mut pcm = pcm;
        if let Ok(mut state) = mimi.init_decoder(rows, 1) {
            group.bench_function(BenchmarkId::new("decode", rows), |bench| {
                bench.iter(|| mimi.decode_step(&mut state, &active, 1, &codes, &mut pcm));
            });
        }
    }
    group.finish();
}

fn executors(criterion: &mut Criterion) {
    let cpu = Cpu::new(NonZeroUsize::MIN);
    frame_steps(criterion, "cpu", (cpu.clone(), Precision::Fixed), &[1, 8]);
    frame_steps(criterion, "cpu-exact", (cpu, Precision::Exact), &[1, 8]);
    frame_steps(criterion, "candle-cpu", (Candle::cpu(), Precision::Exact), &[1]);
}

criterion_group!(benches, executors);
criterion_main!(benches);
