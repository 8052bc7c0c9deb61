//! Sixteen lanes in plain Rust: the scalar twin.
#![allow(clippy::needless_range_loop)] // one index runs over several arrays of constant length

use half::{bf16, f16};

use super::{LANES, Simd};

/// Lanes as an array.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[inline(always)]
fn map(mut a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    for (a, b) in a.iter_mut().zip(b) {
        *a = f(*a, b);
    }
    a
}

/// Folds the upper half of `n` lanes onto the lower, until one is left.
#[inline(always)]
fn fold(mut v: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            v[i] = f(v[i], v[i + half]);
        }
        half /= 2;
    }
    v[0]
}

impl Simd for Portable {
    type V = [f32; LANES];
    const SUMS: usize = 6;
    const SUMS_OF_PANELS: usize = 6;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: valid for sixteen values, as the trait asks.
        unsafe { p.cast::<[f32; LANES]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const bf16) -> Self::V {
        // SAFETY: valid for sixteen values, as the trait asks.
        unsafe { p.cast::<[bf16; LANES]>().read_unaligned() }.map(bf16::to_f32)
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const f16) -> Self::V {
        // SAFETY: valid for sixteen values, as the trait asks.
        unsafe { p.cast::<[f16; LANES]>().read_unaligned() }.map(f16::to_f32)
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self::V {
        // SAFETY: valid for sixteen values, as the trait asks.
        unsafe { p.cast::<[i8; LANES]>().read_unaligned() }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> Self::V {
        // SAFETY: valid for sixteen values, as the trait asks.
        unsafe { p.cast::<[u8; LANES]>().read_unaligned() }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn load_u4(p: *const u8) -> Self::V {
        // SAFETY: valid for sixteen values in eight bytes, as the trait asks.
        let bytes = unsafe { p.cast::<[u8; LANES / 2]>().read_unaligned() };
        std::array::from_fn(|i| f32::from(if i < LANES / 2 { bytes[i] & 15 } else { bytes[i - LANES / 2] >> 4 }))
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: valid for sixteen values, as the trait asks.
        unsafe { p.cast::<[f32; LANES]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        map(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        map(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        map(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        map(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, mut c: Self::V) -> Self::V {
        for i in 0..LANES {
            c[i] = a[i].mul_add(b[i], c[i]);
        }
        c
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        map(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        map(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn select_gt(a: Self::V, b: Self::V, x: Self::V, mut y: Self::V) -> Self::V {
        for i in 0..LANES {
            y[i] = if a[i] > b[i] { x[i] } else { y[i] };
        }
        y
    }
    #[inline(always)]
    unsafe fn round(a: Self::V) -> Self::V {
        a.map(f32::round_ties_even)
    }
    #[inline(always)]
    unsafe fn pow2(n: Self::V) -> Self::V {
        n.map(|n| f32::from_bits(((n as i32).wrapping_add(127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        fold(v, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn max_lane(v: Self::V) -> f32 {
        fold(v, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn prefetch(_p: *const u8) {}
}
