//! Products beside a plain read of as many bytes, on every instruction set of the machine.
//!
//! `gemv` is bound by memory where the matrix is larger than the caches: its bytes a second are to be compared with
//! `read` of the same size. `gemm` is bound by multiply-adds: elements a second are multiply-adds.

#![allow(missing_docs, clippy::expect_used)]

use std::borrow::Cow;
use std::hint::black_box;
use std::num::NonZeroUsize;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use half::bf16;
use moshi_cpu::cores::Cores;
use moshi_cpu::isa::Isa;
use moshi_cpu::memory::Block;
use moshi_cpu::product::{Layout, Matrix, Stride, Taps, product};
use moshi_tensor::weight::{Grouped, HostWeight, Quants, WeightData};

fn matrix_bf16(n: usize, k: usize) -> Matrix {
    let values = (0..n * k).map(|i| bf16::from_f32((i % 251) as f32 / 251.0 - 0.5)).collect();
    let weight = HostWeight::new(n, k, WeightData::Bf16(Cow::Owned(values)));
    Matrix::new(&weight.expect("a whole matrix"), None).expect("no bias to fit")
}

fn matrix_f32(n: usize, k: usize) -> Matrix {
    let values = (0..n * k).map(|i| (i % 251) as f32 / 251.0 - 0.5).collect();
    Matrix::new(&HostWeight::from_f32(n, k, values).expect("a whole matrix"), None).expect("no bias to fit")
}

fn matrix_int8(n: usize, k: usize) -> Matrix {
    let values = (0..n * k).map(|i| (i % 251) as i8).collect();
    let data = WeightData::Int8 { values: Cow::Owned(values), scales: Cow::Owned(vec![0.01; n]) };
    Matrix::new(&HostWeight::new(n, k, data).expect("a whole matrix"), None).expect("no bias to fit")
}

fn matrix_grouped(quants: Quants, n: usize, k: usize) -> Matrix {
    let packed = (0..n * k * quants.bits() / 8).map(|i| (i % 251) as u8).collect();
    let groups = n * k / 32;
    let biases = Cow::Owned(vec![-0.5; if quants.has_biases() { groups } else { 0 }]);
    let scales = Cow::Owned(vec![0.01; groups]);
    let data = WeightData::Grouped(Grouped { quants, group: 32, packed: Cow::Owned(packed), scales, biases });
    Matrix::new(&HostWeight::new(n, k, data).expect("a whole matrix"), None).expect("no bias to fit")
}

fn isas() -> impl Iterator<Item = Cores> {
    Isa::available().filter(|&isa| isa != Isa::Portable).filter_map(|isa| Cores::with_isa(isa, NonZeroUsize::MIN).ok())
}

/// A plain sum over memory.
fn read(c: &mut Criterion) {
    let mut block = Block::<u64>::zeros(96 << 17);
    block.fill(3); // untouched pages are all one page of zeros, which stays in the cache
    let mut group = c.benchmark_group("read");
    group.throughput(Throughput::Bytes(96 << 20));
    group.bench_function("96MiB", |b| {
        b.iter(|| {
            let mut sums = [0u64; 32];
            for chunk in black_box(&block[..]).chunks_exact(32) {
                for (sum, x) in sums.iter_mut().zip(chunk) {
                    *sum = sum.wrapping_add(*x);
                }
            }
            sums
        });
    });
    group.finish();
}

fn gemv(c: &mut Criterion) {
    let mut group = c.benchmark_group("gemv");
    for (name, w) in [
        ("f32", matrix_f32(6144, 4096)),
        ("bf16", matrix_bf16(12288, 4096)),
        ("int8", matrix_int8(24576, 4096)),
        ("q8_0", matrix_grouped(Quants::I8, 24576, 4096)),
        ("mlx q8", matrix_grouped(Quants::U8, 24576, 4096)),
        ("mlx q4", matrix_grouped(Quants::U4, 24576, 4096)),
    ] {
        group.throughput(Throughput::Bytes(w.bytes() as u64));
        let (x, mut y) = (vec![0.5; w.k()], vec![0.0; w.n()]);
        for cores in isas() {
            group.bench_function(BenchmarkId::new(name, cores.isa()), |b| {
                b.iter(|| product(&cores, &w, &Layout::linear(&[0], 1, &w), &x, &mut y));
            });
        }
    }
    group.finish();
}

fn gemm(c: &mut Criterion) {
    let mut group = c.benchmark_group("gemm");
    for (name, w) in [
        ("f32", matrix_f32(2048, 512)),
        ("bf16", matrix_bf16(2048, 512)),
        ("int8", matrix_int8(2048, 512)),
        ("mlx q4", matrix_grouped(Quants::U4, 2048, 512)),
    ] {
        for t in [2, 8, 32] {
            group.throughput(Throughput::Elements((t * w.n() * w.k()) as u64));
            let (x, mut y) = (vec![0.5; t * w.k()], vec![0.0; t * w.n()]);
            for cores in isas() {
                group.bench_function(BenchmarkId::new(format!("{name} {t}"), cores.isa()), |b| {
                    b.iter(|| product(&cores, &w, &Layout::linear(&[0], t, &w), &x, &mut y));
                });
            }
        }
    }
    group.finish();
}

/// Mimi's convolutions at published size, one frame: (inputs, taps, stride, outputs, output columns).
const CONVS: [(usize, usize, usize, usize, usize); 8] = [
    (1, 7, 1, 64, 1920),
    (64, 3, 1, 32, 1920),
    (32, 1, 1, 64, 1920),
    (64, 8, 4, 128, 480),
    (128, 10, 5, 256, 96),
    (256, 12, 6, 512, 16),
    (512, 16, 8, 1024, 2),
    (64, 3, 1, 1, 1920),
];

fn conv(c: &mut Criterion) {
    let mut group = c.benchmark_group("conv");
    for (inputs, taps, stride, outputs, columns) in CONVS {
        let w = matrix_f32(outputs, taps * inputs);
        let x = vec![0.5; (columns * stride + taps) * inputs];
        let mut y = vec![0.0; columns * outputs];
        let layout = Layout {
            rows: &[0],
            columns,
            x: Stride { row: x.len(), column: stride * inputs },
            y: Stride { row: y.len(), column: outputs },
            taps: Taps { count: 1, len: w.k(), distance: 0 },
        };
        group.throughput(Throughput::Elements((columns * w.n() * w.k()) as u64));
        for cores in isas() {
            let name = format!("{inputs}x{taps}/{stride} to {outputs}");
            group.bench_function(BenchmarkId::new(name, cores.isa()), |b| {
                b.iter(|| product(&cores, &w, &layout, &x, &mut y));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, read, gemv, gemm, conv);
criterion_main!(benches);
