//! A plain read of memory: what a product of one vector, which reads every weight once, is held against.
//!
//! The read uses the same threads, the same width of loads and the same kind of pages as the kernels do, so that what
//! separates the two is what the kernels do besides reading.

use crate::cores::Cores;
use crate::isa::Isa;
use crate::memory::Block;
use crate::simd::{LANES, Simd, portable::Portable};

/// Bytes that a thread reads before it takes the next part: small enough that threads end together.
const PART: usize = 8 << 20;
/// Stretches that a thread reads side by side: one alone does not fill the memory pipeline of today's processors.
const STREAMS: usize = 4;

/// Reads all of `block` once with the threads of `cores`, and returns a number that depends on all of it.
pub fn read(cores: &Cores, block: &Block<f32>) -> f32 {
    let values: &[f32] = block;
    let parts: Vec<&[f32]> = values.chunks(PART / size_of::<f32>()).collect();
    let kernel: unsafe fn(&[f32]) -> f32 = match cores.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Vnni => x86::avx512,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => x86::avx2,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::NeonDot => sum::<crate::simd::neon::Neon<false>>,
        _ => sum::<Portable>,
    };
    let total = std::sync::Mutex::new(0.0);
    cores.run(parts.len(), values.len() / LANES, &|i| {
        // SAFETY: `Cores` has checked the instruction set.
        let found = unsafe { kernel(parts[i]) };
        *total.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += found;
    });
    total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use crate::simd::{avx2::Avx2, avx512::Avx512};

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    pub(super) unsafe fn avx512(values: &[f32]) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { super::sum::<Avx512>(values) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn avx2(values: &[f32]) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { super::sum::<Avx2>(values) }
    }
}

/// The sum of all values, up to the last few that fill no turn of all streams.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn sum<S: Simd>(values: &[f32]) -> f32 {
    /// Vectors of a stream in a turn: two cache lines.
    const VECTORS: usize = 2;
    const TURN: usize = VECTORS * LANES;
    let turns = values.len() / (STREAMS * TURN);
    // SAFETY: every stream is `turns * TURN` values, all of them inside of `values`; the instruction set is the
    // caller's promise.
    unsafe {
        let streams: [*const f32; STREAMS] = std::array::from_fn(|i| values.as_ptr().add(i * turns * TURN));
        let mut sums = [[S::splat(0.0); VECTORS]; STREAMS];
        for turn in 0..turns {
            for (stream, sums) in streams.iter().zip(&mut sums) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = S::add(*sum, S::load(stream.add(turn * TURN + i * LANES)));
                }
            }
        }
        let all = sums.iter().flatten().fold(S::splat(0.0), |a, &b| S::add(a, b));
        S::sum(all)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[test]
    fn every_value_is_read() {
        let mut block = Block::<f32>::zeros(3 * PART / 4);
        for at in [0, 12_345, PART / 4 - 1, PART / 4, 3 * PART / 4 - 1] {
            block.fill(0.0);
            block[at] = 1.0;
            for isa in Isa::available() {
                for threads in [NonZeroUsize::MIN, NonZeroUsize::MIN.saturating_add(1)] {
                    let cores = Cores::with_isa(isa, threads).unwrap();
                    assert_eq!(read(&cores, &block), 1.0, "value {at}, {isa}");
                }
            }
        }
    }
}
