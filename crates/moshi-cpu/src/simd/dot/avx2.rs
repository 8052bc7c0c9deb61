//! Dot products with AVX2: sixteen-bit sums of pairs, then sums of those.
#![allow(unsafe_op_in_unsafe_fn)] // every function has the one precondition that the trait names

use std::arch::x86_64::*;

use super::Dot;
use crate::simd::avx2::{Avx2, V};

/// Lanes 0..8 and 8..16.
#[derive(Clone, Copy)]
pub(crate) struct Pair(__m256i, __m256i);

#[inline(always)]
unsafe fn inputs(x: *const i8) -> __m256i {
    _mm256_set1_epi32(x.cast::<i32>().read_unaligned())
}

#[inline(always)]
unsafe fn pairs_to_words(pairs: __m256i) -> __m256i {
    _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
}

/// Products of eight outputs. The instruction takes one side without a sign, so the weight's goes to the input; a pair
/// is at most 2 * 128 * 127 = 32,512, which sixteen bits hold.
#[inline(always)]
unsafe fn dot8(sums: __m256i, w: __m256i, x: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    _mm256_add_epi32(sums, pairs_to_words(pairs))
}

impl Dot for Avx2 {
    type I = Pair;
    /// Sums of pairs in sixteen bits: eight words are at most 8 * 2 * 15 * 127 = 30,480.
    type N = Pair;
    type Q = Pair;
    const SIGNED_ZERO: i32 = 0;

    #[inline(always)]
    unsafe fn splat_i32(x: i32) -> Self::I {
        Pair(_mm256_set1_epi32(x), _mm256_set1_epi32(x))
    }
    #[inline(always)]
    unsafe fn add_i32(a: Self::I, b: Self::I) -> Self::I {
        Pair(_mm256_add_epi32(a.0, b.0), _mm256_add_epi32(a.1, b.1))
    }
    #[inline(always)]
    unsafe fn load_signed(p: *const u8) -> Self::Q {
        Pair(_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(32).cast()))
    }
    #[inline(always)]
    unsafe fn load_halves(p: *const u8) -> (Self::Q, Self::Q) {
        let (Pair(a, b), mask) = (Self::load_signed(p), _mm256_set1_epi8(15));
        let upper = |v| _mm256_and_si256(_mm256_srli_epi16::<4>(v), mask);
        (Pair(_mm256_and_si256(a, mask), _mm256_and_si256(b, mask)), Pair(upper(a), upper(b)))
    }
    #[inline(always)]
    unsafe fn dot(sums: Self::I, w: Self::Q, x: *const i8) -> Self::I {
        let x = inputs(x);
        Pair(dot8(sums.0, w.0, x), dot8(sums.1, w.1, x))
    }
    #[inline(always)]
    unsafe fn narrow_zero() -> Self::N {
        Pair(_mm256_setzero_si256(), _mm256_setzero_si256())
    }
    #[inline(always)]
    unsafe fn dot_narrow(sums: Self::N, w: Self::Q, x: *const i8) -> Self::N {
        let x = inputs(x);
        Pair(
            _mm256_add_epi16(sums.0, _mm256_maddubs_epi16(w.0, x)),
            _mm256_add_epi16(sums.1, _mm256_maddubs_epi16(w.1, x)),
        )
    }
    #[inline(always)]
    unsafe fn widen(sums: Self::N) -> Self::I {
        Pair(pairs_to_words(sums.0), pairs_to_words(sums.1))
    }
    #[inline(always)]
    unsafe fn to_f32(sums: Self::I) -> Self::V {
        V(_mm256_cvtepi32_ps(sums.0), _mm256_cvtepi32_ps(sums.1))
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, v: Self::V) {
        // Packing works on halves of the registers: pairs of lanes come out as 0 2 1 3 and are put in order.
        let words = _mm256_packs_epi32(_mm256_cvtps_epi32(v.0), _mm256_cvtps_epi32(v.1));
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
        let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        _mm_storeu_si128(p.cast(), bytes);
    }
}
