//! How fast this machine reads memory and multiplies: the limits that a step of a large model is held against.

use std::hint::black_box;
use std::time::Instant;

use moshi_cpu::arithmetic::{self, Operands};
use moshi_cpu::bandwidth;
use moshi_cpu::cores::Cores;
use moshi_cpu::memory::Block;

/// Repetitions of one measurement, of which the fastest counts: whatever disturbs one makes it slower.
const TIMES: usize = 3;
/// Parts of one measurement of arithmetic on each thread: some milliseconds together.
const PARTS: usize = 512;

/// A block of memory, far larger than any cache, that is read again and again, and the threads that read.
pub struct MachineProbe {
    block: Block<f32>,
    cores: Cores,
    operands: Operands,
}

/// What a machine reached, in 1e9 a second.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Bytes of a plain read of memory.
    pub gbps: f64,
    /// Multiply-adds on registers.
    pub gmacs: f64,
}

impl MachineProbe {
    /// Size of the block.
    pub const BYTES: usize = 2_000_000_000;

    /// A probe that reads 2 GB as the kernels of `cores` read weights: with its threads, its width of loads, and from
    /// huge pages; and multiplies as they do.
    pub fn new(cores: &Cores, operands: Operands) -> Self {
        let mut block = Block::zeros(Self::BYTES / size_of::<f32>());
        // Written, not only reserved: untouched pages would all be one page of zeros.
        block.fill(1.0);
        Self { block, cores: cores.clone(), operands }
    }

    /// The fastest of three reads of the whole block, and of three rounds of arithmetic.
    pub fn measure(&self) -> Machine {
        let bytes = || {
            black_box(bandwidth::read(&self.cores, black_box(&self.block)));
            Self::BYTES as f64
        };
        let products = || arithmetic::multiply_adds(&self.cores, self.operands, PARTS * self.cores.threads()) as f64;
        Machine { gbps: fastest(bytes) / 1e9, gmacs: fastest(products) / 1e9 }
    }
}

/// The best of some calls of `work`, which gives how much it did, per second.
fn fastest(work: impl Fn() -> f64) -> f64 {
    let once = |_| {
        let start = Instant::now();
        work() / start.elapsed().as_secs_f64()
    };
    (0..TIMES).map(once).fold(0.0, f64::max)
}
