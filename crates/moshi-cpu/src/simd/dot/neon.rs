//! Dot products with Advanced SIMD, with and without its dot-product instruction.
#![allow(unsafe_op_in_unsafe_fn)] // every function has the one precondition that the trait names

use std::arch::aarch64::*;
use std::arch::asm;

use super::Dot;
use crate::simd::neon::{Neon, V};

/// Lanes 0..4, 4..8, 8..12, 12..16.
#[derive(Clone, Copy)]
pub(crate) struct Words([int32x4_t; 4]);

/// Weights of lanes 0..4, 4..8, 8..12, 12..16.
#[derive(Clone, Copy)]
pub(crate) struct Weights([int8x16_t; 4]);

/// Adds the products of four outputs.
#[inline(always)]
unsafe fn dot4<const INSTRUCTION: bool>(mut sums: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    if INSTRUCTION {
        // The intrinsic of this instruction is not stable yet.
        asm!(
            ".arch_extension dotprod",
            "sdot {sums:v}.4s, {w:v}.16b, {x:v}.16b",
            sums = inout(vreg) sums, w = in(vreg) w, x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags)
        );
        return sums;
    }
    let low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x)));
    let high = vpaddlq_s16(vmull_high_s8(w, x));
    vaddq_s32(sums, vpaddq_s32(low, high))
}

#[inline(always)]
unsafe fn dot16<const INSTRUCTION: bool>(mut sums: Words, w: Weights, x: *const i8) -> Words {
    let x = vreinterpretq_s8_s32(vdupq_n_s32(x.cast::<i32>().read_unaligned()));
    for i in 0..4 {
        sums.0[i] = dot4::<INSTRUCTION>(sums.0[i], w.0[i], x);
    }
    sums
}

impl<const INSTRUCTION: bool> Dot for Neon<INSTRUCTION> {
    type I = Words;
    type N = Words;
    type Q = Weights;
    const SIGNED_ZERO: i32 = 0;

    #[inline(always)]
    unsafe fn splat_i32(x: i32) -> Self::I {
        Words([vdupq_n_s32(x); 4])
    }
    #[inline(always)]
    unsafe fn add_i32(mut a: Self::I, b: Self::I) -> Self::I {
        for i in 0..4 {
            a.0[i] = vaddq_s32(a.0[i], b.0[i]);
        }
        a
    }
    #[inline(always)]
    unsafe fn load_signed(p: *const u8) -> Self::Q {
        let p: *const i8 = p.cast();
        Weights([vld1q_s8(p), vld1q_s8(p.add(16)), vld1q_s8(p.add(32)), vld1q_s8(p.add(48))])
    }
    #[inline(always)]
    unsafe fn load_halves(p: *const u8) -> (Self::Q, Self::Q) {
        let (mut low, mut high) = (Self::load_signed(p), Self::load_signed(p));
        for i in 0..4 {
            let bytes = vreinterpretq_u8_s8(low.0[i]);
            low.0[i] = vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15)));
            high.0[i] = vreinterpretq_s8_u8(vshrq_n_u8::<4>(bytes));
        }
        (low, high)
    }
    #[inline(always)]
    unsafe fn dot(sums: Self::I, w: Self::Q, x: *const i8) -> Self::I {
        dot16::<INSTRUCTION>(sums, w, x)
    }
    #[inline(always)]
    unsafe fn narrow_zero() -> Self::N {
        Self::splat_i32(0)
    }
    #[inline(always)]
    unsafe fn dot_narrow(sums: Self::N, w: Self::Q, x: *const i8) -> Self::N {
        dot16::<INSTRUCTION>(sums, w, x)
    }
    #[inline(always)]
    unsafe fn widen(sums: Self::N) -> Self::I {
        sums
    }
    #[inline(always)]
    unsafe fn to_f32(sums: Self::I) -> Self::V {
        V(sums.0.map(|words| vcvtq_f32_s32(words)))
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, v: Self::V) {
        let words = v.0.map(|lanes| vqmovn_s32(vcvtnq_s32_f32(lanes)));
        vst1_s8(p, vqmovn_s16(vcombine_s16(words[0], words[1])));
        vst1_s8(p.add(8), vqmovn_s16(vcombine_s16(words[2], words[3])));
    }
}
