//! Sixteen lanes of single precision, on every instruction set.
//!
//! Kernels are written once on [`Simd`] and compiled for each instruction set (see `table.rs`). A vector has sixteen
//! lanes everywhere (one register with AVX-512, two with AVX2, four with NEON), every operation is an IEEE operation
//! rounded once, and sums over lanes follow one tree: so a kernel gives the same bits on every instruction set, and
//! its [`portable::Portable`] compilation is its scalar twin.

pub(crate) mod dot;
pub(crate) mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;

use half::{bf16, f16};

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// The operations of sixteen lanes.
///
/// # Safety
/// Every function may be called only where the implementation's instruction set is available, and its pointers must
/// be valid for sixteen values (alignment is not needed). `prefetch` takes any address.
pub(crate) trait Simd: Copy + 'static {
    /// Sixteen lanes.
    type V: Copy;
    /// How many sums a product may keep in registers, one panel of weights beside them.
    const SUMS: usize;
    /// As `SUMS`, with several panels beside them.
    const SUMS_OF_PANELS: usize;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn load_bf16(p: *const bf16) -> Self::V;
    unsafe fn load_f16(p: *const f16) -> Self::V;
    unsafe fn load_i8(p: *const i8) -> Self::V;
    unsafe fn load_u8(p: *const u8) -> Self::V;
    /// The lower halves of eight bytes, then the upper ones.
    unsafe fn load_u4(p: *const u8) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// a * b + c, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// a > b ? a : b; b where either is not a number.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// a < b ? a : b; b where either is not a number.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// a > b ? x : y; y where a or b is not a number.
    unsafe fn select_gt(a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// To the nearest whole number, halves to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// 2^n for whole n in -126..=127.
    unsafe fn pow2(n: Self::V) -> Self::V;
    /// Sum of the lanes: i + (i + 8), then i + (i + 4), i + (i + 2), i + (i + 1).
    unsafe fn sum(v: Self::V) -> f32;
    /// Largest lane.
    unsafe fn max_lane(v: Self::V) -> f32;
    /// Asks for the cache line at any address.
    unsafe fn prefetch(p: *const u8);
}

/// A number format of weights that widens to single precision without loss.
pub(crate) trait Element: Copy + 'static {
    /// Zero.
    const ZERO: Self;

    /// Sixteen of them, widened.
    ///
    /// # Safety
    /// As [`Simd`].
    unsafe fn load<S: Simd>(p: *const Self) -> S::V;
}

impl Element for f32 {
    const ZERO: Self = 0.0;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Self) -> S::V {
        // SAFETY: as the trait says.
        unsafe { S::load(p) }
    }
}

impl Element for i8 {
    const ZERO: Self = 0;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Self) -> S::V {
        // SAFETY: as the trait says.
        unsafe { S::load_i8(p) }
    }
}

impl Element for bf16 {
    const ZERO: Self = bf16::ZERO;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Self) -> S::V {
        // SAFETY: as the trait says.
        unsafe { S::load_bf16(p) }
    }
}

impl Element for f16 {
    const ZERO: Self = f16::ZERO;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Self) -> S::V {
        // SAFETY: as the trait says.
        unsafe { S::load_f16(p) }
    }
}

/// Sixteen values of `x` from `i` on; lanes past the end hold `fill`.
///
/// # Safety
/// As [`Simd`]; `i` may be anything.
#[inline(always)]
pub(crate) unsafe fn get<S: Simd>(x: &[f32], i: usize, fill: f32) -> S::V {
    if i + LANES <= x.len() {
        // SAFETY: sixteen values lie before the end of `x`.
        unsafe { S::load(x.as_ptr().add(i)) }
    } else {
        let mut lanes = [fill; LANES];
        for (lane, &value) in lanes.iter_mut().zip(x.iter().skip(i)) {
            *lane = value;
        }
        // SAFETY: an array of sixteen.
        unsafe { S::load(lanes.as_ptr()) }
    }
}

/// Stores sixteen lanes at `y[i..]`, as many as fit.
///
/// # Safety
/// As [`Simd`]; `i` may be anything.
#[inline(always)]
pub(crate) unsafe fn put<S: Simd>(y: &mut [f32], i: usize, v: S::V) {
    if i + LANES <= y.len() {
        // SAFETY: sixteen values lie before the end of `y`.
        unsafe { S::store(y.as_mut_ptr().add(i), v) }
    } else {
        let mut lanes = [0.0; LANES];
        // SAFETY: an array of sixteen.
        unsafe { S::store(lanes.as_mut_ptr(), v) }
        for (value, &lane) in y.iter_mut().skip(i).zip(&lanes) {
            *value = lane;
        }
    }
}
