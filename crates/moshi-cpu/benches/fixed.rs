//! Fixed-point products: the codec's convolutions and transformer, beside a core's limit and a plain read of memory.
//!
//! `convolution` is bound by arithmetic where its columns are many: elements a second are multiply-adds, to be compared
//! with `peak`. `transformer` is bound by memory: its bytes a second are to be compared with `read`.

#![allow(missing_docs, clippy::expect_used)]

use std::hint::black_box;
use std::num::NonZeroUsize;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use moshi_cpu::bandwidth;
use moshi_cpu::cores::Cores;
use moshi_cpu::fixed::{Activation, Activations, FixedMatrix, Width, product, quantize};
use moshi_cpu::isa::Isa;
use moshi_cpu::memory::Block;
use moshi_cpu::product::{Layout, Stride, Taps};
use moshi_tensor::weight::HostWeight;

/// A product of the codec at published size: outputs, input channels, kernel, stride, output columns of a frame.
#[derive(Clone, Copy)]
struct Shape(usize, usize, usize, usize, usize);

const CONVOLUTIONS: [Shape; 9] = [
    Shape(32, 64, 3, 1, 1920),
    Shape(64, 32, 1, 1, 1920),
    Shape(128, 64, 8, 4, 480),
    Shape(256, 128, 10, 5, 96),
    Shape(512, 256, 12, 6, 16),
    Shape(1024, 512, 16, 8, 2),
    Shape(4096, 1024, 2, 1, 2), // the decoder's, as a convolution of kernel 2
    Shape(256, 128, 2, 1, 480),
    Shape(1, 64, 3, 1, 1920),
];

/// A layer of the codec's transformers, two steps a frame.
const LINEAR: [Shape; 4] =
    [Shape(1536, 512, 1, 1, 2), Shape(512, 512, 1, 1, 2), Shape(2048, 512, 1, 1, 2), Shape(512, 2048, 1, 1, 2)];

const BLOCK: usize = 32;

fn isas() -> impl Iterator<Item = Cores> {
    Isa::available().filter(|&isa| isa != Isa::Portable).filter_map(|isa| Cores::with_isa(isa, NonZeroUsize::MIN).ok())
}

/// A matrix with its rounded input.
struct Case {
    shape: Shape,
    w: FixedMatrix,
    values: Vec<i16>,
    scales: Vec<f32>,
}

impl Case {
    fn new(cores: &Cores, shape: Shape, width: Width) -> Self {
        let Shape(n, channels, kernel, stride, columns) = shape;
        let weights = (0..n * kernel * channels).map(|i| (i % 251) as f32 / 251.0 - 0.5).collect();
        let weight = HostWeight::from_f32(n, kernel * channels, weights).expect("a whole matrix");
        let len = ((columns - 1) * stride + kernel) * channels;
        let (mut values, mut scales) = (vec![0; len], vec![0.0; len / BLOCK]);
        let x: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin()).collect();
        quantize(cores, &x, BLOCK, Activation::None, &mut values, &mut scales).expect("whole blocks");
        Self { shape, w: FixedMatrix::new(cores, &weight, None, width).expect("finite weights"), values, scales }
    }

    fn run(&self, cores: &Cores, y: &mut [f32]) {
        let Shape(n, channels, kernel, stride, columns) = self.shape;
        let layout = Layout {
            rows: &[0],
            columns,
            x: Stride { row: self.values.len(), column: stride * channels },
            y: Stride { row: columns * n, column: n },
            taps: Taps { count: 1, len: kernel * channels, distance: 0 },
        };
        let x = Activations { values: &self.values, scales: &self.scales, block: BLOCK };
        product(cores, &self.w, &layout, x, y).expect("operands that fit");
    }
}

fn convolution(c: &mut Criterion) {
    let mut group = c.benchmark_group("convolution");
    for shape in CONVOLUTIONS {
        let Shape(n, channels, kernel, stride, columns) = shape;
        group.throughput(Throughput::Elements((n * channels * kernel * columns) as u64));
        for cores in isas() {
            let (case, mut y) = (Case::new(&cores, shape, Width::Bits16), vec![0.0; n * columns]);
            let name = format!("{n}x{channels}x{kernel} by {stride}");
            group.bench_function(BenchmarkId::new(name, cores.isa()), |b| b.iter(|| case.run(&cores, &mut y)));
        }
    }
    group.finish();
}

/// Eight layers one after another.
fn transformer(c: &mut Criterion) {
    let mut group = c.benchmark_group("transformer");
    for (name, width) in [("16 bits", Width::Bits16), ("8 bits", Width::Bits8)] {
        for cores in isas() {
            let layers: Vec<Case> = (0..8).flat_map(|_| LINEAR).map(|shape| Case::new(&cores, shape, width)).collect();
            group.throughput(Throughput::Bytes(layers.iter().map(|case| case.w.bytes() as u64).sum()));
            let (flush, mut y) = (Block::<f32>::zeros(16 << 20), vec![0.0; 2 * 2048]);
            group.bench_function(BenchmarkId::new(name, cores.isa()), |b| {
                b.iter_batched(
                    || black_box(bandwidth::read(&cores, &flush)), // as the rest of a frame does to the caches
                    |_| layers.iter().for_each(|case| case.run(&cores, &mut y)),
                    criterion::BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

fn rounding(c: &mut Criterion) {
    let mut group = c.benchmark_group("rounding");
    let x: Vec<f32> = (0..1920 * 64).map(|i| (i as f32 * 0.37).sin()).collect();
    let (mut values, mut scales) = (vec![0; x.len()], vec![0.0; x.len() / BLOCK]);
    group.throughput(Throughput::Elements(x.len() as u64));
    for cores in isas() {
        for (name, activation) in [("plain", Activation::None), ("elu", Activation::Elu)] {
            group.bench_function(BenchmarkId::new(name, cores.isa()), |b| {
                b.iter(|| quantize(&cores, &x, BLOCK, activation, &mut values, &mut scales));
            });
        }
    }
    group.finish();
}

/// A core's limits: multiply-adds of a matrix that stays in the first cache, and a plain read.
fn limits(c: &mut Criterion) {
    let mut group = c.benchmark_group("limits");
    for cores in isas() {
        let shape = Shape(64, 256, 1, 1, 6);
        let (case, mut y) = (Case::new(&cores, shape, Width::Bits16), vec![0.0; 64 * 6]);
        group.throughput(Throughput::Elements(64 * 256 * 6));
        group.bench_function(BenchmarkId::new("peak", cores.isa()), |b| b.iter(|| case.run(&cores, &mut y)));
        let mut block = Block::<f32>::zeros(32 << 20);
        block.fill(1.0); // untouched pages are all one page of zeros, which stays in the cache
        group.throughput(Throughput::Bytes(128 << 20));
        group.bench_function(BenchmarkId::new("read", cores.isa()), |b| b.iter(|| bandwidth::read(&cores, &block)));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = convolution, transformer, rounding, limits
}
criterion_main!(benches);
