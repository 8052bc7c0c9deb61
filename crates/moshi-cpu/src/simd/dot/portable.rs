//! Dot products in plain Rust: the scalar twin.

use super::{Dot, WORD};
use crate::simd::portable::Portable;
use crate::simd::{LANES, Simd};

/// Adds to every lane the products of its four weights.
#[inline(always)]
fn dot(mut sums: [i32; LANES], w: [i8; WORD], x: [i8; 4]) -> [i32; LANES] {
    for (sum, w) in sums.iter_mut().zip(w.chunks_exact(4)) {
        for (w, x) in w.iter().zip(x) {
            *sum += i32::from(*w) * i32::from(x);
        }
    }
    sums
}

impl Dot for Portable {
    type I = [i32; LANES];
    type N = [i32; LANES];
    type Q = [i8; WORD];
    const SIGNED_ZERO: i32 = 0;

    #[inline(always)]
    unsafe fn splat_i32(x: i32) -> Self::I {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn add_i32(mut a: Self::I, b: Self::I) -> Self::I {
        for (a, b) in a.iter_mut().zip(b) {
            *a += b;
        }
        a
    }
    #[inline(always)]
    unsafe fn load_signed(p: *const u8) -> Self::Q {
        // SAFETY: valid for 64 bytes, as the trait asks.
        unsafe { p.cast::<[i8; WORD]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_halves(p: *const u8) -> (Self::Q, Self::Q) {
        // SAFETY: valid for 64 bytes, as the trait asks.
        let bytes = unsafe { p.cast::<[u8; WORD]>().read_unaligned() };
        (bytes.map(|b| (b & 15) as i8), bytes.map(|b| (b >> 4) as i8))
    }
    #[inline(always)]
    unsafe fn dot(sums: Self::I, w: Self::Q, x: *const i8) -> Self::I {
        // SAFETY: valid for four bytes, as the trait asks.
        dot(sums, w, unsafe { x.cast::<[i8; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn narrow_zero() -> Self::N {
        [0; LANES]
    }
    #[inline(always)]
    unsafe fn dot_narrow(sums: Self::N, w: Self::Q, x: *const i8) -> Self::N {
        // SAFETY: valid for four bytes, as the trait asks.
        dot(sums, w, unsafe { x.cast::<[i8; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn widen(sums: Self::N) -> Self::I {
        sums
    }
    #[inline(always)]
    unsafe fn to_f32(sums: Self::I) -> Self::V {
        sums.map(|x| x as f32)
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, v: <Self as Simd>::V) {
        // SAFETY: valid for sixteen bytes, as the trait asks.
        unsafe { p.cast::<[i8; LANES]>().write_unaligned(v.map(|x| x as i8)) }
    }
}
