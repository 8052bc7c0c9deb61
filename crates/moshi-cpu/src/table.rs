//! One table of kernels for each instruction set.
//!
//! The kernels themselves are written once, on [`crate::simd::Simd`], and inlined into functions that are compiled for
//! an instruction set here. A table exists only as the choice of [`crate::cores::Cores`], which looks at the machine.

use half::{bf16, f16};

use crate::attention::kernel::{self as attention, Head};
use crate::codebook::kernel::{self as codebook, Slack};
use crate::embedding::kernel as embedding;
use crate::isa::Isa;
use crate::product::format::{GroupedI8, GroupedU4, GroupedU8, Plain};
use crate::product::{Part, tile};
use crate::rowwise::kernel as rowwise;
use crate::simd;

/// Two operands that belong together.
pub(crate) type Pair<'a> = (&'a [f32], &'a [f32]);

/// The kernels of one instruction set.
///
/// # Safety
/// All may be called only where the instruction set is available; those that take slices check nothing but their own
/// bounds, the others ask what their generic definition asks.
pub(crate) struct Table {
    pub product_f32: unsafe fn(&Part<'_>),
    pub product_bf16: unsafe fn(&Part<'_>),
    pub product_f16: unsafe fn(&Part<'_>),
    pub product_i8: unsafe fn(&Part<'_>),
    pub product_grouped_i8: unsafe fn(&Part<'_>),
    pub product_grouped_u8: unsafe fn(&Part<'_>),
    pub product_grouped_u4: unsafe fn(&Part<'_>),
    pub attend_f32: unsafe fn(&Head<'_, f32>, &mut [f32], &mut [f32]),
    pub attend_bf16: unsafe fn(&Head<'_, bf16>, &mut [f32], &mut [f32]),
    pub rms_norm: unsafe fn(&[f32], &[f32], f32, &mut [f32]),
    pub layer_norm: unsafe fn(&[f32], Pair<'_>, f32, &mut [f32]),
    pub softmax: unsafe fn(&mut [f32]),
    pub silu_gate: unsafe fn(&[f32], &[f32], &mut [f32]),
    pub gelu: unsafe fn(&mut [f32]),
    pub elu: unsafe fn(&[f32], &mut [f32]),
    pub add_scaled: unsafe fn(&[f32], &[f32], &mut [f32]),
    pub blend: unsafe fn(Pair<'_>, Pair<'_>, &mut [f32]),
    pub within: unsafe fn(&mut [f32], &Slack, (f32, f32)) -> f32,
    pub add_f32: unsafe fn(&[f32], &mut [f32]),
    pub add_bf16: unsafe fn(&[bf16], &mut [f32]),
    pub add_f16: unsafe fn(&[f16], &mut [f32]),
}

/// Compiles a generic kernel for an instruction set.
macro_rules! kernel {
    ([$($feature:literal)?] $name:ident = $generic:expr, ($($arg:ident: $ty:ty),*) $ret:ty) => {
        $(#[target_feature(enable = $feature)])?
        unsafe fn $name($($arg: $ty),*) -> $ret {
            // SAFETY: the caller's promise is that of the generic kernel.
            unsafe { $generic($($arg),*) }
        }
    };
}

macro_rules! compile {
    ($module:ident, $simd:ty $(, $feature:literal)?) => {
        mod $module {
            use super::*;

            kernel!([$($feature)?] product_f32 = tile::part::<$simd, Plain<f32>>, (part: &Part<'_>) ());
            kernel!([$($feature)?] product_bf16 = tile::part::<$simd, Plain<bf16>>, (part: &Part<'_>) ());
            kernel!([$($feature)?] product_f16 = tile::part::<$simd, Plain<f16>>, (part: &Part<'_>) ());
            kernel!([$($feature)?] product_i8 = tile::part::<$simd, Plain<i8>>, (part: &Part<'_>) ());
            kernel!([$($feature)?] product_grouped_i8 = tile::part::<$simd, GroupedI8>, (part: &Part<'_>) ());
            kernel!([$($feature)?] product_grouped_u8 = tile::part::<$simd, GroupedU8>, (part: &Part<'_>) ());
            kernel!([$($feature)?] product_grouped_u4 = tile::part::<$simd, GroupedU4>, (part: &Part<'_>) ());
            kernel!([$($feature)?] attend_f32 = attention::attend::<$simd, f32>,
                (head: &Head<'_, f32>, scores: &mut [f32], y: &mut [f32]) ());
            kernel!([$($feature)?] attend_bf16 = attention::attend::<$simd, bf16>,
                (head: &Head<'_, bf16>, scores: &mut [f32], y: &mut [f32]) ());
            kernel!([$($feature)?] rms_norm = rowwise::rms_norm::<$simd>,
                (x: &[f32], alpha: &[f32], eps: f32, y: &mut [f32]) ());
            kernel!([$($feature)?] layer_norm = rowwise::layer_norm::<$simd>,
                (x: &[f32], affine: Pair<'_>, eps: f32, y: &mut [f32]) ());
            kernel!([$($feature)?] softmax = rowwise::softmax::<$simd>, (x: &mut [f32]) ());
            kernel!([$($feature)?] silu_gate = rowwise::silu_gate::<$simd>, (a: &[f32], b: &[f32], y: &mut [f32]) ());
            kernel!([$($feature)?] gelu = rowwise::gelu::<$simd>, (x: &mut [f32]) ());
            kernel!([$($feature)?] elu = rowwise::elu::<$simd>, (x: &[f32], y: &mut [f32]) ());
            kernel!([$($feature)?] add_scaled = rowwise::add_scaled::<$simd>,
                (y: &[f32], scale: &[f32], x: &mut [f32]) ());
            kernel!([$($feature)?] blend = rowwise::blend::<$simd>,
                (a: Pair<'_>, b: Pair<'_>, y: &mut [f32]) ());
            kernel!([$($feature)?] within = codebook::within::<$simd>,
                (scores: &mut [f32], slack: &Slack, lengths: (f32, f32)) f32);
            kernel!([$($feature)?] add_f32 = embedding::add::<$simd, f32>, (x: &[f32], y: &mut [f32]) ());
            kernel!([$($feature)?] add_bf16 = embedding::add::<$simd, bf16>, (x: &[bf16], y: &mut [f32]) ());
            kernel!([$($feature)?] add_f16 = embedding::add::<$simd, f16>, (x: &[f16], y: &mut [f32]) ());

            pub(super) static TABLE: Table = Table {
                product_f32,
                product_bf16,
                product_f16,
                product_i8,
                product_grouped_i8,
                product_grouped_u8,
                product_grouped_u4,
                attend_f32,
                attend_bf16,
                rms_norm,
                layer_norm,
                softmax,
                silu_gate,
                gelu,
                elu,
                add_scaled,
                blend,
                within,
                add_f32,
                add_bf16,
                add_f16,
            };
        }
    };
}

compile!(portable, simd::portable::Portable);
#[cfg(target_arch = "x86_64")]
compile!(avx2, simd::avx2::Avx2, "avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
compile!(avx512, simd::avx512::Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c");
#[cfg(target_arch = "aarch64")]
compile!(neon, simd::neon::Neon<false>, "neon");

/// The kernels of an instruction set that was asked for at build time; those of an absent one are the portable ones.
pub(crate) fn of(isa: Isa) -> &'static Table {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => &avx2::TABLE,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Vnni => &avx512::TABLE,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::NeonDot => &neon::TABLE,
        _ => &portable::TABLE,
    }
}
