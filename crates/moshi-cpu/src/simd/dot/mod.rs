//! Dot products of bytes, sixteen outputs at a time.
//!
//! A *word* is four neighbouring inputs; sixty-four bytes hold one word of sixteen outputs, `[16][4]`. Integer sums are
//! exact, so every instruction set gives the same numbers.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod portable;

use super::Simd;

/// Bytes of one word of sixteen outputs.
pub(crate) const WORD: usize = 64;

/// Dot products of four bytes in each of sixteen lanes.
///
/// # Safety
/// As [`Simd`]; `load` functions read 64 bytes, `dot` functions four bytes of inputs, each in -127..=127.
pub(crate) trait Dot: Simd {
    /// Sixteen sums of 32 bits.
    type I: Copy;
    /// Sixteen sums of products of weights in 0..=15: at least eight words fit.
    type N: Copy;
    /// Sixty-four weights.
    type Q: Copy;
    /// `dot` adds products of `weight - SIGNED_ZERO`: what a sum has to start from, for each unit of the inputs' sum.
    const SIGNED_ZERO: i32;

    unsafe fn splat_i32(x: i32) -> Self::I;
    unsafe fn add_i32(a: Self::I, b: Self::I) -> Self::I;
    /// Signed weights, for [`Dot::dot`].
    unsafe fn load_signed(p: *const u8) -> Self::Q;
    /// Two words of weights of four bits: the lower halves of 64 bytes, then the upper ones.
    unsafe fn load_halves(p: *const u8) -> (Self::Q, Self::Q);
    /// Adds the products of signed weights with the four inputs at `x`, see [`Dot::SIGNED_ZERO`].
    unsafe fn dot(sums: Self::I, w: Self::Q, x: *const i8) -> Self::I;
    unsafe fn narrow_zero() -> Self::N;
    /// Adds the products of weights in 0..=15 with the four inputs at `x`.
    unsafe fn dot_narrow(sums: Self::N, w: Self::Q, x: *const i8) -> Self::N;
    unsafe fn widen(sums: Self::N) -> Self::I;
    /// To single precision; exact below 2^24.
    unsafe fn to_f32(sums: Self::I) -> Self::V;
    /// Stores sixteen whole numbers in -127..=127; anything for other values.
    unsafe fn store_i8(p: *mut i8, v: Self::V);
}
