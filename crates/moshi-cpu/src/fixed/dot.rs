//! Products of pairs of sixteen-bit integers with 32-bit sums, on every instruction set.
#![allow(unsafe_op_in_unsafe_fn)] // every function has the one precondition that the trait names
#![allow(clippy::needless_range_loop)] // one index runs over several arrays of constant length

use crate::simd::portable::Portable;
use crate::simd::{LANES, Simd};

/// Sixteen 32-bit sums, and sixteen pairs of 16-bit integers to multiply and add to them.
///
/// # Safety
/// Every function may be called only where the implementation's instruction set is available; pointers must be valid
/// for what is read or written (alignment is not needed).
pub(super) trait Dot: Copy + 'static {
    /// Its single-precision lanes.
    type S: Simd;
    /// Sixteen sums.
    type I: Copy;
    /// Sixteen pairs.
    type W: Copy;
    /// Most panels of a tile.
    const PANELS: usize;
    /// How many sums a product may keep in registers.
    const SUMS: usize;

    unsafe fn zero() -> Self::I;
    /// Thirty-two integers.
    unsafe fn load_i16(p: *const i16) -> Self::W;
    /// Thirty-two bytes, widened.
    unsafe fn load_i8(p: *const i8) -> Self::W;
    /// The two integers at `p`, sixteen times.
    unsafe fn pair(p: *const i16) -> Self::W;
    /// `sums + w.0 * x.0 + w.1 * x.1` in each lane; the caller sees to it that nothing overflows.
    unsafe fn add_products(sums: Self::I, w: Self::W, x: Self::W) -> Self::I;
    /// To single precision, rounded to nearest.
    unsafe fn to_float(sums: Self::I) -> <Self::S as Simd>::V;
    /// Stores sixteen whole numbers that fit sixteen bits.
    unsafe fn store_i16(p: *mut i16, v: <Self::S as Simd>::V);
}

/// A width of weights.
pub(super) trait Weights: 'static {
    /// Bytes of a weight.
    const BYTES: usize;

    /// Thirty-two weights.
    ///
    /// # Safety
    /// As [`Dot`].
    unsafe fn load<D: Dot>(p: *const u8) -> D::W;
}

impl Weights for i8 {
    const BYTES: usize = 1;

    #[inline(always)]
    unsafe fn load<D: Dot>(p: *const u8) -> D::W {
        D::load_i8(p.cast())
    }
}

impl Weights for i16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load<D: Dot>(p: *const u8) -> D::W {
        D::load_i16(p.cast())
    }
}

impl Dot for Portable {
    type S = Portable;
    type I = [i32; LANES];
    type W = [i16; 2 * LANES];
    const PANELS: usize = 2;
    const SUMS: usize = 6;

    #[inline(always)]
    unsafe fn zero() -> Self::I {
        [0; LANES]
    }
    #[inline(always)]
    unsafe fn load_i16(p: *const i16) -> Self::W {
        p.cast::<Self::W>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self::W {
        p.cast::<[i8; 2 * LANES]>().read_unaligned().map(i16::from)
    }
    #[inline(always)]
    unsafe fn pair(p: *const i16) -> Self::W {
        let pair = p.cast::<[i16; 2]>().read_unaligned();
        std::array::from_fn(|i| pair[i % 2])
    }
    #[inline(always)]
    unsafe fn add_products(mut sums: Self::I, w: Self::W, x: Self::W) -> Self::I {
        for i in 0..LANES {
            let products = [0, 1].map(|j| i32::from(w[2 * i + j]) * i32::from(x[2 * i + j]));
            sums[i] = sums[i].wrapping_add(products[0].wrapping_add(products[1]));
        }
        sums
    }
    #[inline(always)]
    unsafe fn to_float(sums: Self::I) -> [f32; LANES] {
        sums.map(|sum| sum as f32)
    }
    #[inline(always)]
    unsafe fn store_i16(p: *mut i16, v: [f32; LANES]) {
        p.cast::<[i16; LANES]>().write_unaligned(v.map(|x| x as i16))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86_64 {
    //! AVX2, and AVX-512 with and without the instruction that multiplies and adds at once.

    use std::arch::x86_64::*;

    use super::Dot;
    use crate::simd::avx2::Avx2;
    use crate::simd::avx512::Avx512;

    impl Dot for Avx2 {
        type S = Avx2;
        type I = (__m256i, __m256i);
        type W = (__m256i, __m256i);
        const PANELS: usize = 2;
        const SUMS: usize = 6;

        #[inline(always)]
        unsafe fn zero() -> Self::I {
            (_mm256_setzero_si256(), _mm256_setzero_si256())
        }
        #[inline(always)]
        unsafe fn load_i16(p: *const i16) -> Self::W {
            (_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(16).cast()))
        }
        #[inline(always)]
        unsafe fn load_i8(p: *const i8) -> Self::W {
            (_mm256_cvtepi8_epi16(_mm_loadu_si128(p.cast())), _mm256_cvtepi8_epi16(_mm_loadu_si128(p.add(16).cast())))
        }
        #[inline(always)]
        unsafe fn pair(p: *const i16) -> Self::W {
            let x = _mm256_set1_epi32(p.cast::<i32>().read_unaligned());
            (x, x)
        }
        #[inline(always)]
        unsafe fn add_products(sums: Self::I, w: Self::W, x: Self::W) -> Self::I {
            (
                _mm256_add_epi32(sums.0, _mm256_madd_epi16(w.0, x.0)),
                _mm256_add_epi32(sums.1, _mm256_madd_epi16(w.1, x.1)),
            )
        }
        #[inline(always)]
        unsafe fn to_float(sums: Self::I) -> <Avx2 as crate::simd::Simd>::V {
            Avx2::join(_mm256_cvtepi32_ps(sums.0), _mm256_cvtepi32_ps(sums.1))
        }
        #[inline(always)]
        unsafe fn store_i16(p: *mut i16, v: <Avx2 as crate::simd::Simd>::V) {
            let (low, high) = Avx2::halves(v);
            let packed = _mm256_packs_epi32(_mm256_cvtps_epi32(low), _mm256_cvtps_epi32(high));
            _mm256_storeu_si256(p.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
        }
    }

    macro_rules! avx512_dot {
        ($name:ident, $add_products:expr) => {
            impl Dot for $name {
                type S = Avx512;
                type I = __m512i;
                type W = __m512i;
                const PANELS: usize = 4;
                const SUMS: usize = 24;

                #[inline(always)]
                unsafe fn zero() -> Self::I {
                    _mm512_setzero_si512()
                }
                #[inline(always)]
                unsafe fn load_i16(p: *const i16) -> Self::W {
                    _mm512_loadu_si512(p.cast())
                }
                #[inline(always)]
                unsafe fn load_i8(p: *const i8) -> Self::W {
                    _mm512_cvtepi8_epi16(_mm256_loadu_si256(p.cast()))
                }
                #[inline(always)]
                unsafe fn pair(p: *const i16) -> Self::W {
                    _mm512_set1_epi32(p.cast::<i32>().read_unaligned())
                }
                #[inline(always)]
                unsafe fn add_products(sums: Self::I, w: Self::W, x: Self::W) -> Self::I {
                    $add_products(sums, w, x)
                }
                #[inline(always)]
                unsafe fn to_float(sums: Self::I) -> __m512 {
                    _mm512_cvtepi32_ps(sums)
                }
                #[inline(always)]
                unsafe fn store_i16(p: *mut i16, v: __m512) {
                    _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(v)));
                }
            }
        };
    }

    /// AVX-512 with the VNNI part.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Vnni;

    avx512_dot!(Avx512, |sums, w, x| _mm512_add_epi32(sums, _mm512_madd_epi16(w, x)));
    avx512_dot!(Vnni, _mm512_dpwssd_epi32);
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    //! Advanced SIMD.

    use std::arch::aarch64::*;

    use super::Dot;
    use crate::simd::neon::Neon;

    impl<const DOT: bool> Dot for Neon<DOT> {
        type S = Neon<DOT>;
        type I = [int32x4_t; 4];
        type W = [int16x8_t; 4];
        const PANELS: usize = 2;
        const SUMS: usize = 6;

        #[inline(always)]
        unsafe fn zero() -> Self::I {
            [vdupq_n_s32(0); 4]
        }
        #[inline(always)]
        unsafe fn load_i16(p: *const i16) -> Self::W {
            [vld1q_s16(p), vld1q_s16(p.add(8)), vld1q_s16(p.add(16)), vld1q_s16(p.add(24))]
        }
        #[inline(always)]
        unsafe fn load_i8(p: *const i8) -> Self::W {
            [0, 8, 16, 24].map(|i| vmovl_s8(vld1_s8(p.add(i))))
        }
        #[inline(always)]
        unsafe fn pair(p: *const i16) -> Self::W {
            [vreinterpretq_s16_s32(vdupq_n_s32(p.cast::<i32>().read_unaligned())); 4]
        }
        #[inline(always)]
        unsafe fn add_products(mut sums: Self::I, w: Self::W, x: Self::W) -> Self::I {
            for i in 0..4 {
                let low = vmull_s16(vget_low_s16(w[i]), vget_low_s16(x[i]));
                let high = vmull_high_s16(w[i], x[i]);
                sums[i] = vaddq_s32(sums[i], vpaddq_s32(low, high));
            }
            sums
        }
        #[inline(always)]
        unsafe fn to_float(sums: Self::I) -> <Neon<DOT> as crate::simd::Simd>::V {
            Neon::<DOT>::join(sums.map(|sum| vcvtq_f32_s32(sum)))
        }
        #[inline(always)]
        unsafe fn store_i16(p: *mut i16, v: <Neon<DOT> as crate::simd::Simd>::V) {
            let v = Neon::<DOT>::quarters(v).map(|v| vmovn_s32(vcvtq_s32_f32(v)));
            vst1q_s16(p, vcombine_s16(v[0], v[1]));
            vst1q_s16(p.add(8), vcombine_s16(v[2], v[3]));
        }
    }
}
