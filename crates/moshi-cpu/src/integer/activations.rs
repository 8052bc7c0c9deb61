//! Inputs of integer products: bytes with a scale for each block of a vector.
//!
//! A block's scale is its largest magnitude / 127, so that a vector with a few large channels keeps the small ones.
#![allow(unsafe_op_in_unsafe_fn)] // every function has the one precondition that its documentation names

use crate::simd::dot::Dot;
use crate::simd::{LANES, get};

/// Below this magnitude a block counts as zero: its scale's inverse would overflow.
const TINY: f32 = 1e-30;

/// Quantized vectors, one after another.
#[derive(Debug, Default)]
pub(super) struct Activations {
    /// `[vector][k]`, padded to whole blocks.
    pub values: Vec<i8>,
    /// `[vector][block]`.
    pub scales: Vec<f32>,
    /// Of the bytes of a block, `[vector][block]`.
    pub sums: Vec<i32>,
    /// Scale times sum, `[vector][block]`.
    pub scaled_sums: Vec<f32>,
}

impl Activations {
    /// Room for vectors of `blocks` blocks of `block` values.
    pub(super) fn reserve(&mut self, vectors: usize, blocks: usize, block: usize) {
        let count = vectors * blocks;
        if self.scales.len() < count {
            self.scales.resize(count, 0.0);
            self.sums.resize(count, 0);
            self.scaled_sums.resize(count, 0.0);
        }
        if self.values.len() < count * block {
            self.values.resize(count * block, 0);
        }
    }

    /// Where vector `vector` goes.
    pub(super) fn vector(&mut self, vector: usize, blocks: usize, block: usize) -> Vector<'_> {
        let (range, bytes) = (vector * blocks..(vector + 1) * blocks, blocks * block);
        Vector {
            values: &mut self.values[vector * bytes..(vector + 1) * bytes],
            scales: &mut self.scales[range.clone()],
            sums: &mut self.sums[range.clone()],
            scaled_sums: &mut self.scaled_sums[range],
        }
    }
}

/// One quantized vector.
pub(super) struct Vector<'a> {
    pub values: &'a mut [i8],
    pub scales: &'a mut [f32],
    pub sums: &'a mut [i32],
    pub scaled_sums: &'a mut [f32],
}

/// Quantizes `x`; what a block lacks at the end counts as zero. A block with a value that is not finite gets a scale
/// that is not a number, and so does every output that reads it.
///
/// # Safety
/// The instruction set of `S` is available; blocks are 16 or 32 values, and as many in each part of `y`.
#[inline(always)]
pub(super) unsafe fn quantize<S: Dot>(x: &[f32], y: Vector<'_>) {
    let block = y.values.len() / y.scales.len().max(1);
    for (b, bytes) in y.values.chunks_exact_mut(block.max(1)).enumerate() {
        let (scale, sum) = match block {
            32 => quantize_block::<S, 2>(x, b * block, bytes.as_mut_ptr()),
            _ => quantize_block::<S, 1>(x, b * block, bytes.as_mut_ptr()),
        };
        y.scales[b] = scale;
        y.sums[b] = sum as i32;
        y.scaled_sums[b] = scale * sum;
    }
}

/// A block of `N` times sixteen values: its scale and the sum of its bytes.
#[inline(always)]
unsafe fn quantize_block<S: Dot, const N: usize>(x: &[f32], first: usize, bytes: *mut i8) -> (f32, f32) {
    let zero = S::splat(0.0);
    let mut values = [zero; N];
    let (mut largest, mut damage) = (zero, zero);
    for (n, v) in values.iter_mut().enumerate() {
        *v = get::<S>(x, first + n * LANES, 0.0);
        largest = S::max(S::max(*v, S::sub(zero, *v)), largest);
        damage = S::fma(*v, zero, damage); // zero, or not a number
    }
    let largest = S::max_lane(largest);
    let inverse = if largest > TINY { 127.0 / largest } else { 0.0 };
    let mut sum = zero;
    for (n, v) in values.into_iter().enumerate() {
        let whole = S::round(S::mul(v, S::splat(inverse)));
        S::store_i8(bytes.add(n * LANES), whole);
        sum = S::add(sum, whole);
    }
    let scale = if largest > TINY { largest / 127.0 } else { 0.0 };
    (scale + S::sum(damage), S::sum(sum))
}
