//! Sixteen lanes in two AVX2 registers.
#![allow(unsafe_op_in_unsafe_fn)] // every function has the one precondition that the trait names

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::Simd;

/// Two `ymm` registers: lanes 0..8 and 8..16.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// Two registers.
#[derive(Clone, Copy)]
pub(crate) struct V(pub(super) __m256, pub(super) __m256);

impl Avx2 {
    /// Lanes 0..8 and 8..16.
    #[inline(always)]
    pub(crate) fn join(low: __m256, high: __m256) -> V {
        V(low, high)
    }

    /// Lanes 0..8 and 8..16.
    #[inline(always)]
    pub(crate) fn halves(v: V) -> (__m256, __m256) {
        (v.0, v.1)
    }
}

/// Sum of eight lanes in the tree of [`Simd::sum`].
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(super) unsafe fn sum8(v: __m256) -> f32 {
    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
}

/// Largest of eight lanes.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(super) unsafe fn max8(v: __m256) -> f32 {
    let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_max_ss(v, _mm_shuffle_ps::<1>(v, v)))
}

#[inline(always)]
unsafe fn widen(half: __m128i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(half)))
}

#[inline(always)]
unsafe fn pow2_8(n: __m256) -> __m256 {
    let biased = _mm256_add_epi32(_mm256_cvttps_epi32(n), _mm256_set1_epi32(127));
    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
}

#[inline(always)]
unsafe fn select8(a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
    _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b))
}

impl Simd for Avx2 {
    type V = V;
    const SUMS: usize = 6;
    const SUMS_OF_PANELS: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> V {
        V(_mm256_set1_ps(x), _mm256_set1_ps(x))
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> V {
        V(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8)))
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const bf16) -> V {
        V(widen(_mm_loadu_si128(p.cast())), widen(_mm_loadu_si128(p.add(8).cast())))
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const f16) -> V {
        V(_mm256_cvtph_ps(_mm_loadu_si128(p.cast())), _mm256_cvtph_ps(_mm_loadu_si128(p.add(8).cast())))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> V {
        let bytes = _mm_loadu_si128(p.cast());
        V(
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128::<8>(bytes))),
        )
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> V {
        let bytes = _mm_loadu_si128(p.cast());
        V(
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128::<8>(bytes))),
        )
    }
    #[inline(always)]
    unsafe fn load_u4(p: *const u8) -> V {
        let bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()));
        V(
            _mm256_cvtepi32_ps(_mm256_and_si256(bytes, _mm256_set1_epi32(15))),
            _mm256_cvtepi32_ps(_mm256_srli_epi32::<4>(bytes)),
        )
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: V) {
        _mm256_storeu_ps(p, v.0);
        _mm256_storeu_ps(p.add(8), v.1);
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        V(_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1))
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        V(_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1))
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        V(_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1))
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        V(_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1))
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        V(_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1))
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        V(_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1))
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        V(_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1))
    }
    #[inline(always)]
    unsafe fn select_gt(a: V, b: V, x: V, y: V) -> V {
        V(select8(a.0, b.0, x.0, y.0), select8(a.1, b.1, x.1, y.1))
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        V(_mm256_round_ps::<NEAREST>(a.0), _mm256_round_ps::<NEAREST>(a.1))
    }
    #[inline(always)]
    unsafe fn pow2(n: V) -> V {
        V(pow2_8(n.0), pow2_8(n.1))
    }
    #[inline(always)]
    unsafe fn sum(v: V) -> f32 {
        sum8(_mm256_add_ps(v.0, v.1))
    }
    #[inline(always)]
    unsafe fn max_lane(v: V) -> f32 {
        max8(_mm256_max_ps(v.0, v.1))
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(p.cast())
    }
}
