//! One table of integer kernels for each instruction set, as [`crate::table`] has them for single precision.

use half::{bf16, f16};

use super::activations::{self, Vector};
use super::format::{Bytes, Halves};
use super::kernel::{self, Part};
use crate::isa::Isa;
use crate::simd;
use moshi_tensor::weight::Quants;

/// What a kernel exists for: integers, groups, and the format of their scales and biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Kind {
    /// Signed bytes with a scale for each output.
    Rows,
    /// Signed bytes in groups.
    I8F16,
    I8F32,
    /// Unsigned bytes in groups with biases, stored minus 128.
    U8Bf16,
    U8F32,
    /// Four bits around eight, in groups.
    S4F16,
    S4F32,
    /// Four bits in groups with biases.
    U4Bf16,
    U4F32,
    /// Groups of sixteen.
    SmallI8,
    SmallU8,
}

impl Kind {
    const COUNT: usize = Self::SmallU8 as usize + 1;

    /// The kernel for groups: `block` is 16 or 32, `narrow` says that scales (and biases) fit half the width.
    pub(super) fn grouped(quants: Quants, block: usize, symmetric: bool, narrow: bool) -> Self {
        match (quants, block, narrow) {
            (Quants::I8, 16, _) => Self::SmallI8,
            (_, 16, _) => Self::SmallU8,
            (Quants::I8, _, true) => Self::I8F16,
            (Quants::I8, _, false) => Self::I8F32,
            (Quants::U8, _, true) => Self::U8Bf16,
            (Quants::U8, _, false) => Self::U8F32,
            (Quants::U4, _, true) if symmetric => Self::S4F16,
            (Quants::U4, _, false) if symmetric => Self::S4F32,
            (Quants::U4, _, true) => Self::U4Bf16,
            (Quants::U4, _, false) => Self::U4F32,
        }
    }
}

/// The kernels of one instruction set.
///
/// # Safety
/// As [`crate::table::Table`].
pub(crate) struct Table {
    pub(super) product: [unsafe fn(&Part<'_>); Kind::COUNT],
    pub(super) quantize: unsafe fn(&[f32], Vector<'_>),
}

macro_rules! compile {
    ($module:ident, $simd:ty $(, $feature:literal)?) => {
        mod $module {
            use super::*;

            $(#[target_feature(enable = $feature)])?
            unsafe fn quantize(x: &[f32], y: Vector<'_>) {
                // SAFETY: the caller's promise is that of the generic kernel.
                unsafe { activations::quantize::<$simd>(x, y) }
            }

            compile!([$($feature)?] $simd;
                rows = Bytes<f32, 8, 0, false, false>,
                i8_f16 = Bytes<f16, 8, 0, true, false>,
                i8_f32 = Bytes<f32, 8, 0, true, false>,
                u8_bf16 = Bytes<bf16, 8, 128, true, true>,
                u8_f32 = Bytes<f32, 8, 128, true, true>,
                s4_f16 = Halves<f16, -8, false>,
                s4_f32 = Halves<f32, -8, false>,
                u4_bf16 = Halves<bf16, 0, true>,
                u4_f32 = Halves<f32, 0, true>,
                small_i8 = Bytes<f32, 4, 0, true, false>,
                small_u8 = Bytes<f32, 4, 128, true, true>,
            );
        }
    };
    // In the order of `Kind`.
    ([$($feature:literal)?] $simd:ty; $($name:ident = $format:ty,)*) => {
        compile!(@each [$($feature)?] $simd; $($name = $format,)*);
        pub(super) static TABLE: Table = Table { product: [$($name),*], quantize };
    };
    (@each [] $simd:ty; $($name:ident = $format:ty,)*) => {
        $(unsafe fn $name(part: &Part<'_>) {
            // SAFETY: the caller's promise is that of the generic kernel.
            unsafe { kernel::part::<$simd, $format>(part) }
        })*
    };
    (@each [$feature:literal] $simd:ty; $($name:ident = $format:ty,)*) => {
        $(#[target_feature(enable = $feature)]
        unsafe fn $name(part: &Part<'_>) {
            // SAFETY: the caller's promise is that of the generic kernel.
            unsafe { kernel::part::<$simd, $format>(part) }
        })*
    };
}

compile!(portable, simd::portable::Portable);
#[cfg(target_arch = "x86_64")]
compile!(avx2, simd::avx2::Avx2, "avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
compile!(vnni, simd::avx512::Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c");
#[cfg(target_arch = "aarch64")]
compile!(neon, simd::neon::Neon<false>, "neon");
#[cfg(target_arch = "aarch64")]
compile!(neon_dot, simd::neon::Neon<true>, "neon,dotprod");

/// The kernels of an instruction set. AVX-512 without dot products gains nothing here over AVX2.
pub(crate) fn of(isa: Isa) -> &'static Table {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => &avx2::TABLE,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => &vnni::TABLE,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => &neon::TABLE,
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDot => &neon_dot::TABLE,
        _ => &portable::TABLE,
    }
}
