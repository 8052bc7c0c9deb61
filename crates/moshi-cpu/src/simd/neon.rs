//! Sixteen lanes in four NEON registers.
#![allow(unsafe_op_in_unsafe_fn)] // every function has the one precondition that the trait names

use std::arch::aarch64::*;

use half::{bf16, f16};

use super::{LANES, Simd};

/// Four `q` registers: lanes 0..4, 4..8, 8..12, 12..16. `DOT` is whether there is the dot-product instruction.
#[derive(Clone, Copy)]
pub(crate) struct Neon<const DOT: bool>;

/// Four registers.
#[derive(Clone, Copy)]
pub(crate) struct V(pub(super) [float32x4_t; 4]);

impl<const DOT: bool> Neon<DOT> {
    /// Four registers of four lanes.
    #[inline(always)]
    pub(crate) fn join(quarters: [float32x4_t; 4]) -> V {
        V(quarters)
    }

    /// Four registers of four lanes.
    #[inline(always)]
    pub(crate) fn quarters(v: V) -> [float32x4_t; 4] {
        v.0
    }
}

macro_rules! lanewise {
    ($f:ident, $a:expr, $b:expr) => {
        V([$f($a.0[0], $b.0[0]), $f($a.0[1], $b.0[1]), $f($a.0[2], $b.0[2]), $f($a.0[3], $b.0[3])])
    };
}

#[inline(always)]
unsafe fn select4(a: float32x4_t, b: float32x4_t, x: float32x4_t, y: float32x4_t) -> float32x4_t {
    vbslq_f32(vcgtq_f32(a, b), x, y)
}

#[inline(always)]
unsafe fn greater(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    select4(a, b, a, b)
}

#[inline(always)]
unsafe fn smaller(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    select4(b, a, a, b)
}

#[inline(always)]
unsafe fn widen(p: *const u16) -> float32x4_t {
    vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(p)))
}

#[inline(always)]
unsafe fn widen_u8(low: uint8x8_t, high: uint8x8_t) -> V {
    let (low, high) = (vmovl_u8(low), vmovl_u8(high));
    V([
        vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))),
        vcvtq_f32_u32(vmovl_u16(vget_high_u16(low))),
        vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))),
        vcvtq_f32_u32(vmovl_u16(vget_high_u16(high))),
    ])
}

#[inline(always)]
unsafe fn pow2_4(n: float32x4_t) -> float32x4_t {
    vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127))))
}

impl<const DOT: bool> Simd for Neon<DOT> {
    type V = V;
    const SUMS: usize = 6;
    const SUMS_OF_PANELS: usize = 6;

    #[inline(always)]
    unsafe fn splat(x: f32) -> V {
        V([vdupq_n_f32(x); 4])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> V {
        V([vld1q_f32(p), vld1q_f32(p.add(4)), vld1q_f32(p.add(8)), vld1q_f32(p.add(12))])
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const bf16) -> V {
        let p: *const u16 = p.cast();
        V([widen(p), widen(p.add(4)), widen(p.add(8)), widen(p.add(12))])
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const f16) -> V {
        let lanes = p.cast::<[f16; LANES]>().read_unaligned().map(f16::to_f32);
        Self::load(lanes.as_ptr())
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> V {
        let (low, high) = (vmovl_s8(vld1_s8(p)), vmovl_s8(vld1_s8(p.add(8))));
        V([
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
            vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
            vcvtq_f32_s32(vmovl_s16(vget_high_s16(high))),
        ])
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> V {
        widen_u8(vld1_u8(p), vld1_u8(p.add(8)))
    }
    #[inline(always)]
    unsafe fn load_u4(p: *const u8) -> V {
        let bytes = vld1_u8(p);
        widen_u8(vand_u8(bytes, vdup_n_u8(15)), vshr_n_u8::<4>(bytes))
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: V) {
        vst1q_f32(p, v.0[0]);
        vst1q_f32(p.add(4), v.0[1]);
        vst1q_f32(p.add(8), v.0[2]);
        vst1q_f32(p.add(12), v.0[3]);
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        lanewise!(vaddq_f32, a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        lanewise!(vsubq_f32, a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        lanewise!(vmulq_f32, a, b)
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        lanewise!(vdivq_f32, a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        V([
            vfmaq_f32(c.0[0], a.0[0], b.0[0]),
            vfmaq_f32(c.0[1], a.0[1], b.0[1]),
            vfmaq_f32(c.0[2], a.0[2], b.0[2]),
            vfmaq_f32(c.0[3], a.0[3], b.0[3]),
        ])
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        lanewise!(greater, a, b)
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        lanewise!(smaller, a, b)
    }
    #[inline(always)]
    unsafe fn select_gt(a: V, b: V, x: V, y: V) -> V {
        V([
            select4(a.0[0], b.0[0], x.0[0], y.0[0]),
            select4(a.0[1], b.0[1], x.0[1], y.0[1]),
            select4(a.0[2], b.0[2], x.0[2], y.0[2]),
            select4(a.0[3], b.0[3], x.0[3], y.0[3]),
        ])
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        V([vrndnq_f32(a.0[0]), vrndnq_f32(a.0[1]), vrndnq_f32(a.0[2]), vrndnq_f32(a.0[3])])
    }
    #[inline(always)]
    unsafe fn pow2(n: V) -> V {
        V([pow2_4(n.0[0]), pow2_4(n.0[1]), pow2_4(n.0[2]), pow2_4(n.0[3])])
    }
    #[inline(always)]
    unsafe fn sum(v: V) -> f32 {
        let v = vaddq_f32(vaddq_f32(v.0[0], v.0[2]), vaddq_f32(v.0[1], v.0[3]));
        let v = vadd_f32(vget_low_f32(v), vget_high_f32(v));
        vget_lane_f32::<0>(v) + vget_lane_f32::<1>(v)
    }
    #[inline(always)]
    unsafe fn max_lane(v: V) -> f32 {
        let v = greater(greater(v.0[0], v.0[2]), greater(v.0[1], v.0[3]));
        let (low, high) = (vget_low_f32(v), vget_high_f32(v));
        let v = vbsl_f32(vcgt_f32(low, high), low, high);
        let (a, b) = (vget_lane_f32::<0>(v), vget_lane_f32::<1>(v));
        if a > b { a } else { b }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // The stable toolchain has no prefetch intrinsic for this architecture; the instruction touches no state.
        std::arch::asm!("prfm pldl1keep, [{p}]", p = in(reg) p, options(nostack, readonly, preserves_flags));
    }
}
