//! The most multiply-adds that the threads can do when nothing is read from memory: what a product of many vectors,
//! which uses every weight often, is held against.
//!
//! The loops keep weights, inputs and as many sums as the kernels do in registers, and use the kernels' own
//! instructions.

#![allow(clippy::needless_range_loop)] // one index runs over several arrays of constant length

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cores::Cores;
use crate::isa::Isa;
use crate::simd::dot::{Dot, WORD};
use crate::simd::{LANES, Simd};

/// What is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operands {
    /// Single precision by single precision, fused.
    Singles,
    /// Signed bytes by signed bytes, sums of 32 bits.
    Bytes,
    /// Weights of four bits by signed bytes, in sums as narrow as they may be.
    Halves,
}

/// Turns that a thread makes before it takes the next part.
const TURNS: usize = 4_096;
/// The largest tile.
const MOST: usize = 4;

/// Does `parts` rounds of up to four million multiply-adds, some microseconds each, on the threads of `cores`; returns
/// how many multiply-adds that were.
pub fn multiply_adds(cores: &Cores, operands: Operands, parts: usize) -> u64 {
    let (kernel, tile) = kernel(cores.isa(), operands);
    let per_product = if operands == Operands::Singles { 1 } else { 4 };
    let seen = AtomicU32::new(0);
    cores.run(parts, parts * TURNS, &|_| {
        // SAFETY: `Cores` has checked the instruction set.
        let found = unsafe { kernel() };
        seen.fetch_xor(found.to_bits(), Ordering::Relaxed);
    });
    black_box(seen);
    (parts * TURNS * tile * tile * LANES * per_product) as u64
}

/// A loop, and how many weights a turn multiplies with as many inputs.
type Kernel = (unsafe fn() -> f32, usize);

macro_rules! compile {
    ($module:ident, $simd:ty, $tile:literal $(, $feature:literal)?) => {
        mod $module {
            pub(super) const TILE: usize = $tile;

            $(#[target_feature(enable = $feature)])?
            pub(super) unsafe fn singles() -> f32 {
                // SAFETY: the caller's promise.
                unsafe { super::singles::<$simd, $tile>() }
            }

            $(#[target_feature(enable = $feature)])?
            pub(super) unsafe fn bytes() -> f32 {
                // SAFETY: the caller's promise.
                unsafe { super::bytes::<$simd, $tile>() }
            }

            $(#[target_feature(enable = $feature)])?
            pub(super) unsafe fn halves() -> f32 {
                // SAFETY: the caller's promise.
                unsafe { super::halves::<$simd, $tile>() }
            }
        }
    };
}

compile!(portable, crate::simd::portable::Portable, 2);
#[cfg(target_arch = "x86_64")]
compile!(avx2, crate::simd::avx2::Avx2, 2, "avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
compile!(vnni, crate::simd::avx512::Avx512, 4, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c");
#[cfg(target_arch = "aarch64")]
compile!(neon, crate::simd::neon::Neon<false>, 2, "neon");
#[cfg(target_arch = "aarch64")]
compile!(neon_dot, crate::simd::neon::Neon<true>, 2, "neon,dotprod");

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn avx512_singles() -> f32 {
    // SAFETY: the caller's promise.
    unsafe { singles::<crate::simd::avx512::Avx512, 4>() }
}

/// The loop of an instruction set. As the kernels have it, AVX-512 without dot products is AVX2 where bytes are
/// concerned.
fn kernel(isa: Isa, operands: Operands) -> Kernel {
    macro_rules! of {
        ($module:ident) => {
            match operands {
                Operands::Singles => ($module::singles, $module::TILE),
                Operands::Bytes => ($module::bytes, $module::TILE),
                Operands::Halves => ($module::halves, $module::TILE),
            }
        };
    }
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if operands == Operands::Singles => (avx512_singles, 4),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => of!(avx2),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => of!(vnni),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => of!(neon),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDot => of!(neon_dot),
        _ => of!(portable),
    }
}

/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn singles<S: Simd, const TILE: usize>() -> f32 {
    // SAFETY: the caller's promise; nothing is read but the arrays.
    unsafe {
        let (w, x) =
            (black_box([0.5_f32; TILE]).map(|w| S::splat(w)), black_box([0.25_f32; TILE]).map(|x| S::splat(x)));
        let mut sums = [[S::splat(0.0); TILE]; TILE];
        for _ in 0..TURNS {
            for (sums, w) in sums.iter_mut().zip(w) {
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = S::fma(w, x, *sum);
                }
            }
        }
        S::sum(sums.into_iter().flatten().fold(S::splat(0.0), |a, b| S::add(a, b)))
    }
}

/// Weights and inputs of the loops over bytes. Inputs are read turn by turn as the kernels read them; what stays the same
/// would be multiplied once for all turns.
struct Small {
    weights: [u8; MOST * WORD],
    inputs: [i8; Self::INPUTS],
}

impl Small {
    const INPUTS: usize = 256;

    fn new(weight: u8) -> Self {
        Self { weights: black_box([weight; MOST * WORD]), inputs: black_box([1; Self::INPUTS]) }
    }

    /// Four inputs.
    #[inline(always)]
    fn input(&self, turn: usize, i: usize) -> *const i8 {
        self.inputs[(turn * 16 + 4 * i) % Self::INPUTS..].as_ptr()
    }
}

/// # Safety
/// As [`Dot`].
#[inline(always)]
unsafe fn bytes<S: Dot, const TILE: usize>() -> f32 {
    let small = Small::new(1);
    // SAFETY: the caller's promise; weights and inputs are as long as the functions read.
    unsafe {
        let w: [S::Q; TILE] = std::array::from_fn(|i| S::load_signed(small.weights.as_ptr().add(i * WORD)));
        let mut sums = [[S::splat_i32(0); TILE]; TILE];
        for turn in 0..TURNS {
            for i in 0..TILE {
                for j in 0..TILE {
                    sums[i][j] = S::dot(sums[i][j], w[j], small.input(turn, i));
                }
            }
        }
        let all = sums.into_iter().flatten().fold(S::splat_i32(0), |a, b| S::add_i32(a, b));
        S::sum(S::to_f32(all))
    }
}

/// # Safety
/// As [`Dot`].
#[inline(always)]
unsafe fn halves<S: Dot, const TILE: usize>() -> f32 {
    /// Words after which narrow sums are full.
    const WORDS: usize = 8;
    let small = Small::new(0x11);
    // SAFETY: the caller's promise; weights and inputs are as long as the functions read.
    unsafe {
        let w: [S::Q; TILE] = std::array::from_fn(|i| {
            let (low, high) = S::load_halves(small.weights.as_ptr().add(i / 2 * WORD));
            if i % 2 == 0 { low } else { high }
        });
        let mut all = S::splat_i32(0);
        let mut sums = [[S::narrow_zero(); TILE]; TILE];
        for turn in 0..TURNS {
            for i in 0..TILE {
                for j in 0..TILE {
                    sums[i][j] = S::dot_narrow(sums[i][j], w[j], small.input(turn, i));
                }
            }
            if turn % WORDS == WORDS - 1 {
                for i in 0..TILE {
                    for j in 0..TILE {
                        all = S::add_i32(all, S::widen(sums[i][j]));
                        sums[i][j] = S::narrow_zero();
                    }
                }
            }
        }
        S::sum(S::to_f32(all))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[test]
    fn every_instruction_set_multiplies_and_adds_as_often_as_it_says() {
        for isa in Isa::available() {
            let run = |operands| {
                let (kernel, tile) = kernel(isa, operands);
                // SAFETY: the instruction set is there.
                (unsafe { kernel() }, (TURNS * tile * tile * LANES) as f32)
            };
            let (sum, products) = run(Operands::Singles);
            assert_eq!(sum, products / 8.0, "{isa}");
            let (sum, products) = run(Operands::Halves);
            assert_eq!(sum, products * 4.0, "{isa}");
            // Signed weights may be kept with 128 added, see `Dot::SIGNED_ZERO`.
            let (sum, products) = run(Operands::Bytes);
            assert!([1.0, 129.0].map(|w| w * products * 4.0).contains(&sum), "{isa}: {sum}");
            let cores = Cores::with_isa(isa, NonZeroUsize::MIN).unwrap();
            assert_eq!(multiply_adds(&cores, Operands::Bytes, 3), 3 * 4 * products as u64);
        }
    }
}
