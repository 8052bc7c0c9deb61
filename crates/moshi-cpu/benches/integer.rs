//! Integer products beside a plain read of memory and a core's own limit of byte products.
//!
//! `gemv` is bound by memory: its bytes a second are to be compared with `read`. `gemm` is bound by arithmetic: its
//! elements a second are multiply-adds, to be compared with `peak`.

#![allow(missing_docs, clippy::expect_used)]

use std::borrow::Cow;
use std::hint::black_box;
use std::num::NonZeroUsize;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use moshi_cpu::arithmetic::{Operands, multiply_adds};
use moshi_cpu::cores::Cores;
use moshi_cpu::integer::{self, Matrix};
use moshi_cpu::isa::Isa;
use moshi_cpu::memory::Block;
use moshi_tensor::weight::{Grouped, HostWeight, Quants, WeightData};

#[derive(Clone, Copy)]
enum Format {
    Rows,
    Grouped(Quants, usize),
    Symmetric,
}

const FORMATS: [(&str, Format); 5] = [
    ("int8 rows", Format::Rows),
    ("q8_0", Format::Grouped(Quants::I8, 32)),
    ("q4_0", Format::Symmetric),
    ("mlx q8", Format::Grouped(Quants::U8, 64)),
    ("mlx q4", Format::Grouped(Quants::U4, 64)),
];

fn matrix(cores: &Cores, format: Format, n: usize, k: usize) -> Matrix {
    let bytes = |bits: usize| (0..n * k * bits / 8).map(|i| (i % 251) as u8).collect::<Vec<_>>();
    let grouped = |quants: Quants, group: usize, bias: f32| {
        let groups = n * k / group;
        let biases = Cow::Owned(vec![bias; if quants.has_biases() { groups } else { 0 }]);
        let (packed, scales) = (Cow::Owned(bytes(quants.bits())), Cow::Owned(vec![0.25; groups]));
        WeightData::Grouped(Grouped { quants, group, packed, scales, biases })
    };
    let data = match format {
        Format::Rows => {
            WeightData::Int8 { values: bytes(8).iter().map(|&b| b as i8).collect(), scales: Cow::Owned(vec![0.01; n]) }
        }
        Format::Grouped(quants, group) => grouped(quants, group, -0.5),
        Format::Symmetric => grouped(Quants::U4, 32, -2.0),
    };
    let weight = HostWeight::new(n, k, data).expect("a whole matrix");
    Matrix::new(cores, &weight, None).expect("no bias to fit").expect("integers")
}

fn isas(threads: usize) -> impl Iterator<Item = Cores> {
    let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
    Isa::available().filter(|&isa| isa != Isa::Portable).filter_map(move |isa| Cores::with_isa(isa, threads).ok())
}

/// A plain sum over memory, on one thread and on two at once.
fn read(c: &mut Criterion) {
    let mut block = Block::<u64>::zeros(192 << 17);
    block.fill(3); // untouched pages are all one page of zeros, which stays in the cache
    let sum = |part: &[u64]| {
        let mut sums = [0u64; 32];
        for chunk in black_box(part).chunks_exact(32) {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *sum = sum.wrapping_add(*x);
            }
        }
        black_box(sums);
    };
    let mut group = c.benchmark_group("read");
    group.throughput(Throughput::Bytes(192 << 20));
    group.bench_function("1 thread", |b| b.iter(|| sum(&block)));
    group.bench_function("2 threads", |b| {
        let (first, second) = block.split_at(block.len() / 2);
        b.iter(|| std::thread::scope(|s| (s.spawn(|| sum(first)), sum(second)).1));
    });
    group.finish();
}

fn gemv(c: &mut Criterion) {
    let mut group = c.benchmark_group("gemv");
    for threads in [1, 2] {
        for (name, format) in FORMATS {
            for cores in isas(threads) {
                let w = matrix(&cores, format, 49_152, 4096);
                group.throughput(Throughput::Bytes(w.bytes() as u64));
                let (x, mut y) = (vec![0.5; w.k()], vec![0.0; w.n()]);
                group.bench_function(BenchmarkId::new(format!("{name} {threads}"), cores.isa()), |b| {
                    b.iter(|| integer::product(&cores, &w, &[0], 1, &x, &mut y));
                });
            }
        }
    }
    group.finish();
}

fn gemm(c: &mut Criterion) {
    let mut group = c.benchmark_group("gemm");
    for (name, format) in FORMATS {
        for cores in isas(1) {
            let w = matrix(&cores, format, 4096, 4096);
            for rows in [2, 4, 8, 16, 32] {
                group.throughput(Throughput::Elements((rows * w.n() * w.k()) as u64));
                let (x, mut y) = (vec![0.5; rows * w.k()], vec![0.0; rows * w.n()]);
                let all: Vec<usize> = (0..rows).collect();
                group.bench_function(BenchmarkId::new(format!("{name} {rows}"), cores.isa()), |b| {
                    b.iter(|| integer::product(&cores, &w, &all, 1, &x, &mut y));
                });
            }
        }
    }
    group.finish();
}

/// A core's limit, on registers alone.
fn peak(c: &mut Criterion) {
    let mut group = c.benchmark_group("peak");
    for (name, operands) in [("int8 rows", Operands::Bytes), ("q4_0", Operands::Halves)] {
        for cores in isas(1) {
            const PARTS: usize = 16;
            group.throughput(Throughput::Elements(multiply_adds(&cores, operands, PARTS)));
            group.bench_function(BenchmarkId::new(name, cores.isa()), |b| {
                b.iter(|| multiply_adds(&cores, operands, PARTS));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = read, gemv, gemm, peak
}
criterion_main!(benches);
