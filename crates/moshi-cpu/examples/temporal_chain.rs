//! The temporal transformer's matrices of Moshi 7B as a chain of products of one vector: our side of
//! `benches/ggml/run.py`.
//!
//! `temporal_chain q8|q8_0|q4_0|bf16 THREADS` lays out 32 layers, says `ready GBPS BYTES`, then for each line on standard
//! input takes one pass over all layers and answers its milliseconds and the GB/s of a plain read of memory after it.

#![allow(missing_docs, clippy::print_stdout, clippy::expect_used, clippy::panic)]

use std::borrow::Cow;
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::Instant;

use moshi_cpu::bandwidth;
use moshi_cpu::cores::Cores;
use moshi_cpu::integer;
use moshi_cpu::memory::Block;
use moshi_cpu::product::{self, Layout};
use moshi_tensor::weight::{Grouped, HostWeight, Quants, WeightData};

const WIDTH: usize = 4096;
const HIDDEN: usize = 11_264;
const LAYERS: usize = 32;
const SHAPES: [(usize, usize); 4] = [(12_288, WIDTH), (WIDTH, WIDTH), (22_528, WIDTH), (WIDTH, HIDDEN)];

/// A matrix in either arithmetic.
enum Matrix {
    Integers(integer::Matrix),
    Floats(product::Matrix),
}

impl Matrix {
    fn bytes(&self) -> usize {
        match self {
            Self::Integers(w) => w.bytes(),
            Self::Floats(w) => w.bytes(),
        }
    }

    fn product(&self, cores: &Cores, x: &[f32], y: &mut [f32]) {
        match self {
            Self::Integers(w) => integer::product(cores, w, &[0], 1, &x[..w.k()], &mut y[..w.n()]),
            Self::Floats(w) => product::product(cores, w, &Layout::linear(&[0], 1, w), &x[..w.k()], &mut y[..w.n()]),
        }
        .expect("sizes that fit");
    }
}

fn matrix(cores: &Cores, format: &str, noise: &[u8], (n, k): (usize, usize)) -> Matrix {
    let bytes = |bits: usize| Cow::Borrowed(&noise[..n * k * bits / 8]);
    let size = 1.0 / (k as f32).sqrt();
    let half = |x: f32| half::f16::from_f32(x).to_f32();
    let grouped = |quants, packed, scale: f32, bias: f32| {
        let groups = n * k / 32;
        let biases = Cow::Owned(vec![bias; if bias == 0.0 { 0 } else { groups }]);
        WeightData::Grouped(Grouped { quants, group: 32, packed, scales: Cow::Owned(vec![scale; groups]), biases })
    };
    let data = match format {
        "q8" => {
            let values = bytes(8).iter().map(|&b| (b as i8).max(-127)).collect();
            WeightData::Int8 { values, scales: Cow::Owned(vec![size / 73.9; n]) }
        }
        "q8_0" => grouped(Quants::I8, bytes(8), half(size / 73.9), 0.0),
        "q4_0" => grouped(Quants::U4, bytes(4), half(size / 4.61), -8.0 * half(size / 4.61)),
        "bf16" => {
            let bytes = bytes(16);
            let values = bytes.chunks_exact(2).map(|b| f32::from(b[0]) * f32::from(b[1] as i8) / 65_536.0 * size);
            WeightData::Bf16(Cow::Owned(values.map(half::bf16::from_f32).collect()))
        }
        other => panic!("{other}: known are q8, q8_0, q4_0 and bf16"),
    };
    let weight = HostWeight::new(n, k, data).expect("a whole matrix");
    match integer::Matrix::new(cores, &weight, None).expect("no bias to fit") {
        Some(integers) => Matrix::Integers(integers),
        None => Matrix::Floats(product::Matrix::laid_out_by(cores, &weight, None).expect("no bias to fit")),
    }
}

fn pass(cores: &Cores, layers: &[[Matrix; 4]], x: &mut [f32], y: &mut [f32]) {
    for [qkv, out, gates, down] in layers {
        qkv.product(cores, x, y);
        out.product(cores, y, x);
        gates.product(cores, x, y);
        down.product(cores, y, x);
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, format, threads] = &args[..] else { panic!("usage: temporal_chain q8|q8_0|q4_0|bf16 THREADS") };
    let cores = Cores::new(threads.parse().expect("a number of threads"));
    let mut state = 1u64;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u8
    });
    let noise: Vec<u8> = bytes.take(2 * 22_528 * WIDTH).collect();
    let layer = |_| SHAPES.map(|shape| matrix(&cores, format, &noise, shape));
    let layers: Vec<[Matrix; 4]> = (0..LAYERS).map(layer).collect();
    let mut memory = Block::<f32>::zeros(250_000_000);
    memory.fill(1.0);
    let read = || {
        let start = Instant::now();
        black_box(bandwidth::read(&cores, black_box(&memory)));
        1.0 / start.elapsed().as_secs_f64()
    };
    let (mut x, mut y) = (vec![0.5; WIDTH], vec![0.0; 22_528]);
    let bytes: usize = layers.iter().flatten().map(Matrix::bytes).sum();
    println!("ready {:.2} {bytes}", read());
    for line in std::io::stdin().lock().lines() {
        line.expect("a line");
        x.fill(0.5);
        let start = Instant::now();
        pass(&cores, &layers, &mut x, &mut y);
        println!("{:.3} {:.2}", 1e3 * start.elapsed().as_secs_f64(), read());
        std::io::stdout().flush().expect("somebody listens");
    }
}
