//! How panels hold their weights.

use std::marker::PhantomData;

use crate::simd::{Element, LANES, Simd};

/// Scales and biases of grouped weights, `[panel][group][16]`; null for formats without groups.
#[derive(Clone, Copy)]
pub(crate) struct Groups {
    pub scales: *const f32,
    /// Null for formats without biases.
    pub biases: *const f32,
    /// Groups of a panel.
    pub count: usize,
    /// Logarithm of a group's size.
    pub shift: u32,
}

impl Groups {
    /// For formats without groups.
    pub(crate) const NONE: Self = Self { scales: std::ptr::null(), biases: std::ptr::null(), count: 0, shift: 0 };

    /// Those from panel `panel` and input `k` on; what an address of [`Groups::NONE`] gives is never followed.
    #[inline(always)]
    pub(crate) fn at(self, panel: usize, k: usize) -> Self {
        let offset = (panel * self.count + (k >> self.shift)) * LANES;
        Self { scales: self.scales.wrapping_add(offset), biases: self.biases.wrapping_add(offset), ..self }
    }
}

/// A number format of panels.
pub(crate) trait Format: 'static {
    /// Bytes of the sixteen weights of one input.
    const BYTES: usize;

    /// The sixteen weights at `p`, whose groups begin at `groups`.
    ///
    /// # Safety
    /// As [`Simd`]; `BYTES` lie behind `p`, and sixteen values behind the addresses in `groups` that the format uses.
    unsafe fn load<S: Simd>(p: *const u8, groups: Groups) -> S::V;
}

/// Numbers that are the weights.
pub(crate) struct Plain<E>(PhantomData<E>);

impl<E: Element> Format for Plain<E> {
    const BYTES: usize = LANES * size_of::<E>();

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8, _groups: Groups) -> S::V {
        // SAFETY: as the trait says.
        unsafe { E::load::<S>(p.cast()) }
    }
}

/// Signed bytes with a scale for each group.
pub(crate) struct GroupedI8;

impl Format for GroupedI8 {
    const BYTES: usize = LANES;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8, groups: Groups) -> S::V {
        // SAFETY: as the trait says.
        unsafe { S::mul(S::load_i8(p.cast()), S::load(groups.scales)) }
    }
}

/// Unsigned bytes with a scale and a bias for each group.
pub(crate) struct GroupedU8;

impl Format for GroupedU8 {
    const BYTES: usize = LANES;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8, groups: Groups) -> S::V {
        // SAFETY: as the trait says.
        unsafe { S::add(S::mul(S::load_u8(p), S::load(groups.scales)), S::load(groups.biases)) }
    }
}

/// Four bits with a scale and a bias for each group: lanes 0 to 7 in the lower halves of eight bytes, 8 to 15 in the
/// upper ones.
pub(crate) struct GroupedU4;

impl Format for GroupedU4 {
    const BYTES: usize = LANES / 2;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8, groups: Groups) -> S::V {
        // SAFETY: as the trait says.
        unsafe { S::add(S::mul(S::load_u4(p), S::load(groups.scales)), S::load(groups.biases)) }
    }
}
