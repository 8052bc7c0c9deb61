//! Dot products with AVX-512 VNNI: sixty-four products in one instruction.
#![allow(unsafe_op_in_unsafe_fn)] // every function has the one precondition that the trait names

use std::arch::x86_64::*;

use super::Dot;
use crate::simd::avx512::Avx512;

#[inline(always)]
unsafe fn inputs(x: *const i8) -> __m512i {
    _mm512_set1_epi32(x.cast::<i32>().read_unaligned())
}

impl Dot for Avx512 {
    type I = __m512i;
    type N = __m512i;
    type Q = __m512i;
    /// The instruction takes weights without a sign: 128 is added to each, and 128 times the inputs' sum taken off.
    const SIGNED_ZERO: i32 = -128;

    #[inline(always)]
    unsafe fn splat_i32(x: i32) -> Self::I {
        _mm512_set1_epi32(x)
    }
    #[inline(always)]
    unsafe fn add_i32(a: Self::I, b: Self::I) -> Self::I {
        _mm512_add_epi32(a, b)
    }
    #[inline(always)]
    unsafe fn load_signed(p: *const u8) -> Self::Q {
        _mm512_xor_si512(_mm512_loadu_si512(p.cast()), _mm512_set1_epi8(-128))
    }
    #[inline(always)]
    unsafe fn load_halves(p: *const u8) -> (Self::Q, Self::Q) {
        let (bytes, mask) = (_mm512_loadu_si512(p.cast()), _mm512_set1_epi8(15));
        (_mm512_and_si512(bytes, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask))
    }
    #[inline(always)]
    unsafe fn dot(sums: Self::I, w: Self::Q, x: *const i8) -> Self::I {
        _mm512_dpbusd_epi32(sums, w, inputs(x))
    }
    #[inline(always)]
    unsafe fn narrow_zero() -> Self::N {
        _mm512_setzero_si512()
    }
    #[inline(always)]
    unsafe fn dot_narrow(sums: Self::N, w: Self::Q, x: *const i8) -> Self::N {
        _mm512_dpbusd_epi32(sums, w, inputs(x))
    }
    #[inline(always)]
    unsafe fn widen(sums: Self::N) -> Self::I {
        sums
    }
    #[inline(always)]
    unsafe fn to_f32(sums: Self::I) -> Self::V {
        _mm512_cvtepi32_ps(sums)
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, v: Self::V) {
        _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
    }
}
