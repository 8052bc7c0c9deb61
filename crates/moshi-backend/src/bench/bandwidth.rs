//! How fast this machine reads memory: the limit that a step of a large model is held against.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Instant;

/// Far larger than any cache, so that the read comes from memory.
const BYTES: usize = BandwidthProbe::BYTES;
/// Independent sums: enough loads in flight to fill the memory pipeline.
const LANES: usize = 32;

/// A block of memory that is read again and again.
pub struct BandwidthProbe {
    block: Vec<u64>,
    threads: NonZeroUsize,
}

impl BandwidthProbe {
    /// Size of the block.
    pub const BYTES: usize = 1 << 30;

    /// A probe that reads 1 GiB with `threads` threads.
    pub fn new(threads: NonZeroUsize) -> Self {
        // Written, not only reserved: untouched pages would all be one page of zeros.
        Self { block: (0..(BYTES / 8) as u64).collect(), threads }
    }

    /// Gigabytes (1e9 bytes) per second of one read of the whole block.
    pub fn measure(&self) -> f64 {
        let share = self.block.len() / self.threads;
        let start = Instant::now();
        std::thread::scope(|scope| {
            for part in self.block.chunks(share) {
                scope.spawn(move || black_box(sum(part)));
            }
        });
        BYTES as f64 / start.elapsed().as_secs_f64() / 1e9
    }
}

fn sum(part: &[u64]) -> u64 {
    let mut sums = [0u64; LANES];
    for values in part.chunks_exact(LANES) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum = sum.wrapping_add(*value);
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}
