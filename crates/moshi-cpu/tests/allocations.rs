//! After a first call, no kernel asks for memory.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::cell::Cell;
use std::num::NonZeroUsize;

use moshi_cpu::attention::{AttentionShape, Chunk, Ring, RingFormat, attend};
use moshi_cpu::codebook::Codebook;
use moshi_cpu::cores::Cores;
use moshi_cpu::embedding::Embedding;
use moshi_cpu::fixed::{self, Activation, Activations, FixedMatrix, Width};
use moshi_cpu::integer;
use moshi_cpu::product::{Layout, Matrix, product};
use moshi_cpu::rope::{Pairs, Rotations};
use moshi_cpu::rowwise::{self, Vectors};
use moshi_tensor::weight::{HostWeight, WeightData};

/// The system's allocator, counting requests of each thread.
struct Counting;

thread_local! {
    static REQUESTS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Memory) -> *mut u8 {
        let _ = REQUESTS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(memory) }
    }

    unsafe fn dealloc(&self, at: *mut u8, memory: Memory) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, memory) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const C: usize = 64;

/// Everything that a step does, at one position.
struct Step {
    cores: Cores,
    matrix: Matrix,
    integers: integer::Matrix,
    fixed: FixedMatrix,
    rounded: (Vec<i16>, Vec<f32>),
    table: Embedding,
    codebook: Codebook,
    ring: Ring,
    short_ring: Ring,
    rotations: Rotations,
    x: Vec<f32>,
    y: Vec<f32>,
    qkv: Vec<f32>,
}

impl Step {
    fn new(threads: usize) -> Self {
        let wave: Vec<f32> = (0..C * C).map(|i| (i as f32).sin()).collect();
        let weight = HostWeight::from_f32(C, C, wave.clone()).unwrap();
        let bytes = wave.iter().map(|x| (x * 127.0) as i8).collect();
        let bytes = WeightData::Int8 { values: bytes, scales: vec![0.01; C].into() };
        let cores = Cores::new(NonZeroUsize::new(threads).unwrap());
        let shape = AttentionShape { heads: 4, kv_heads: 2, head_dim: 16, context: 300 };
        Self {
            matrix: Matrix::new(&weight, None).unwrap(),
            integers: integer::Matrix::new(&cores, &HostWeight::new(C, C, bytes).unwrap(), None).unwrap().unwrap(),
            fixed: FixedMatrix::new(&cores, &weight, None, Width::Bits16).unwrap(),
            rounded: (vec![0; 4 * C], vec![0.0; 4 * C / 32]),
            table: Embedding::new(&weight).unwrap(),
            codebook: Codebook::new(&cores, &wave, C).unwrap(),
            ring: Ring::new(shape, 2, 2).unwrap(),
            short_ring: Ring::with_format(shape, 2, 2, RingFormat::Bf16).unwrap(),
            rotations: Rotations::new(16, 10_000.0, Pairs::Interleaved),
            x: wave[..4 * C].to_vec(),
            y: vec![0.0; 8 * C],
            qkv: wave[..8 * C].to_vec(),
            cores,
        }
    }

    fn run(&mut self, position: u64) {
        let Self { cores, x, y, .. } = self;
        let (rows, t) = (&[0, 1][..], 2);
        let v = Vectors { rows, t, c: C };
        product(cores, &self.matrix, &Layout::linear(rows, t, &self.matrix), x, y).unwrap();
        integer::product(cores, &self.integers, rows, t, x, y).unwrap();
        let (values, scales) = &mut self.rounded;
        fixed::quantize(cores, x, 32, Activation::Elu, values, scales).unwrap();
        let layout = Layout::linear(rows, t, &self.matrix);
        fixed::product(cores, &self.fixed, &layout, Activations { values, scales, block: 32 }, y).unwrap();
        rowwise::rms_norm(cores, &v, x, &self.qkv, 1e-8, y).unwrap();
        rowwise::layer_norm(cores, &v, x, (&self.qkv, &self.qkv), 1e-5, y).unwrap();
        rowwise::gelu(cores, &v, y).unwrap();
        rowwise::softmax(cores, &v, y).unwrap();
        rowwise::residual_add(cores, &v, x, Some(&self.qkv), y).unwrap();
        self.table.add(cores, 3, &mut y[..C]).unwrap();
        self.codebook.quantize(cores, rows, t, y, |_, _| {}).unwrap();
        self.rotations.prepare([position, position].into_iter(), t);
        let chunk = Chunk { rows, positions: &[position, position], first: 0, t };
        for ring in [&mut self.ring, &mut self.short_ring] {
            attend(cores, &chunk, Some(&self.rotations), &self.qkv, ring, y).unwrap();
        }
    }
}

#[test]
fn no_kernel_allocates_after_its_first_call() {
    for threads in [1, 2] {
        let mut step = Step::new(threads);
        (0..2).for_each(|position| step.run(position));
        let before = REQUESTS.get();
        (2..600).for_each(|position| step.run(position));
        assert_eq!(REQUESTS.get() - before, 0, "{threads} threads");
    }
}
