//! The fixed-point kernels of each instruction set.

use super::activations::quantize_blocks;
use super::kernel::{Part, part};
use super::pack::Width;
use crate::isa::Isa;
use crate::simd::portable::Portable;

type Product = unsafe fn(&Part<'_>);
type Quantize = unsafe fn(&[f32], usize, *mut i16, *mut f32);

/// The kernels of one instruction set.
///
/// # Safety
/// All may be called only where the instruction set is available, and ask what their generic definition asks.
pub(super) struct Table {
    product_i8: Product,
    product_i16: Product,
    pub(super) quantize: Quantize,
    pub(super) quantize_elu: Quantize,
}

impl Table {
    /// The product with weights of a width.
    pub(super) fn product(&self, width: Width) -> Product {
        match width {
            Width::Bits8 => self.product_i8,
            Width::Bits16 => self.product_i16,
        }
    }
}

macro_rules! compile {
    ($module:ident, $dot:ty $(, $feature:literal)?) => {
        mod $module {
            use super::*;

            $(#[target_feature(enable = $feature)])?
            unsafe fn product_i8(p: &Part<'_>) {
                // SAFETY: the caller's promise is that of the generic kernel (so for all of these).
                unsafe { part::<$dot, i8>(p) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn product_i16(p: &Part<'_>) {
                // SAFETY: as above.
                unsafe { part::<$dot, i16>(p) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn quantize(x: &[f32], block: usize, values: *mut i16, scales: *mut f32) {
                // SAFETY: as above.
                unsafe { quantize_blocks::<$dot, false>(x, block, values, scales) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn quantize_elu(x: &[f32], block: usize, values: *mut i16, scales: *mut f32) {
                // SAFETY: as above.
                unsafe { quantize_blocks::<$dot, true>(x, block, values, scales) }
            }

            pub(super) static TABLE: Table = Table { product_i8, product_i16, quantize, quantize_elu };
        }
    };
}

compile!(portable, Portable);
#[cfg(target_arch = "x86_64")]
compile!(avx2, crate::simd::avx2::Avx2, "avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
compile!(avx512, crate::simd::avx512::Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
compile!(vnni, super::super::dot::x86_64::Vnni, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c");
#[cfg(target_arch = "aarch64")]
compile!(neon, crate::simd::neon::Neon<false>, "neon");

/// The kernels of an instruction set that the machine has.
pub(super) fn of(isa: Isa) -> &'static Table {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => &avx2::TABLE,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => &vnni::TABLE,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => &avx512::TABLE,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::NeonDot => &neon::TABLE,
        _ => &portable::TABLE,
    }
}
