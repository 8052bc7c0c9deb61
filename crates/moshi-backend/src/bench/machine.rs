//! How fast this machine reads memory: the limit that a step of a large model is held against.

use std::hint::black_box;
use std::time::Instant;

use moshi_kernels::bandwidth;
use moshi_kernels::cores::Cores;
use moshi_kernels::memory::Block;

/// Reads of one measurement, of which the fastest counts: whatever disturbs a read makes it slower.
const READS: usize = 3;

/// A block of memory, far larger than any cache, that is read again and again.
pub struct BandwidthProbe {
    block: Block<f32>,
    cores: Cores,
}

impl BandwidthProbe {
    /// Size of the block.
    pub const BYTES: usize = 2_000_000_000;

    /// A probe that reads 2 GB as the kernels of `cores` read weights: with its threads, its width of loads, and from
    /// huge pages.
    pub fn new(cores: &Cores) -> Self {
        let mut block = Block::zeros(Self::BYTES / size_of::<f32>());
        // Written, not only reserved: untouched pages would all be one page of zeros.
        block.fill(1.0);
        Self { block, cores: cores.clone() }
    }

    /// Gigabytes (1e9 bytes) per second of the fastest of three reads of the whole block.
    pub fn measure(&self) -> f64 {
        let read = |_| {
            let start = Instant::now();
            black_box(bandwidth::read(&self.cores, black_box(&self.block)));
            start.elapsed().as_secs_f64()
        };
        let seconds = (0..READS).map(read).fold(f64::INFINITY, f64::min);
        Self::BYTES as f64 / seconds / 1e9
    }
}
