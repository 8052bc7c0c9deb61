//! Activations as integers with a scale for each block.
#![allow(unsafe_op_in_unsafe_fn)] // the kernel has the one precondition of `Simd`
#![allow(clippy::needless_range_loop)] // one index runs over several arrays of constant length

use super::block::{BLOCK, LARGEST, check_block};
use super::dot::Dot;
use super::table;
use crate::KernelError;
use crate::cores::Cores;
use crate::math;
use crate::simd::{LANES, Simd};

/// What is applied to activations before they are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// ELU with alpha 1.
    Elu,
}

/// Below this, a block counts as zero: its inverse would leave the range.
const TINY: f32 = 1e-30;

/// Gives each block of `x` integers up to 16,383 and their scale, after an activation. A value that is not a number
/// counts as the lowest.
///
/// # Errors
/// [`KernelError`] when `x` is not whole blocks, or `values` and `scales` do not fit it.
pub fn quantize(
    cores: &Cores,
    x: &[f32],
    block: usize,
    activation: Activation,
    values: &mut [i16],
    scales: &mut [f32],
) -> Result<(), KernelError> {
    check_block(block)?;
    let blocks = x.len() / block;
    KernelError::length("activations to round, in whole blocks", blocks * block, x.len())?;
    KernelError::length("rounded activations", x.len(), values.len())?;
    KernelError::length("scales of activations", blocks, scales.len())?;
    let table = table::of(cores.isa());
    let kernel = match activation {
        Activation::None => table.quantize,
        Activation::Elu => table.quantize_elu,
    };
    let parts = if cores.threads() == 1 { 1 } else { (x.len() / 4096).clamp(1, cores.threads() * 4) };
    let out = (Out(values.as_mut_ptr()), Out(scales.as_mut_ptr()));
    cores.run(parts, x.len() / LANES * 8, &|i| {
        let (first, last) = (i * blocks / parts, (i + 1) * blocks / parts);
        let (values, scales) = (out.0.get(), out.1.get());
        // SAFETY: `first..last` are blocks of all three slices, no other part has them, and the instruction set is
        // available (`Cores`, `table::of`).
        unsafe {
            let x = &x[first * block..last * block];
            kernel(x, block, values.add(first * block), scales.add(first));
        }
    });
    Ok(())
}

/// A slice of which each part writes its own range.
struct Out<T>(*mut T);

// SAFETY: parts write different ranges.
unsafe impl<T> Sync for Out<T> {}

impl<T> Out<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// Rounds all blocks of `x`.
///
/// # Safety
/// The instruction set of `D` is available; `block` is 16 or 32; `values` has room for as many values as `x`,
/// `scales` for as many as there are blocks.
#[inline(always)]
pub(super) unsafe fn quantize_blocks<D: Dot, const ELU: bool>(
    x: &[f32],
    block: usize,
    values: *mut i16,
    scales: *mut f32,
) {
    match block {
        16 => rounded::<D, ELU, 1>(x, values, scales),
        _ => rounded::<D, ELU, { BLOCK / LANES }>(x, values, scales),
    }
}

/// Blocks of `V` vectors.
#[inline(always)]
unsafe fn rounded<D: Dot, const ELU: bool, const V: usize>(x: &[f32], values: *mut i16, scales: *mut f32) {
    let zero = <D::S as Simd>::splat(0.0);
    let most = <D::S as Simd>::splat(LARGEST as f32);
    let least = <D::S as Simd>::splat(-LARGEST as f32);
    for (b, x) in x.chunks_exact(V * LANES).enumerate() {
        let mut v = [zero; V];
        let mut largest = zero;
        for i in 0..V {
            v[i] = D::S::load(x.as_ptr().add(i * LANES));
            if ELU {
                v[i] = D::S::select_gt(v[i], zero, v[i], math::exp_minus_1::<D::S>(v[i]));
            }
            largest = D::S::max(D::S::max(v[i], D::S::sub(zero, v[i])), largest);
        }
        let largest = D::S::max_lane(largest);
        let (inverse, scale) =
            if largest > TINY { (LARGEST as f32 / largest, largest / LARGEST as f32) } else { (0.0, 0.0) };
        let inverse = <D::S as Simd>::splat(inverse);
        for i in 0..V {
            // The order of operands makes what is not a number the lowest value.
            let scaled = D::S::min(D::S::max(D::S::mul(v[i], inverse), least), most);
            D::store_i16(values.add((b * V + i) * LANES), D::S::round(scaled));
        }
        *scales.add(b) = scale;
    }
}
