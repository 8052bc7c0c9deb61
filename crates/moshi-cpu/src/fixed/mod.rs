//! Products in fixed point: sixteen-bit integers on both sides, for the codec.
//!
//! A processor multiplies and adds twice as many sixteen-bit integers as single-precision numbers in the same time, and
//! such weights are half as many bytes. [`FixedMatrix`] holds each output's weights as integers with one scale,
//! [`quantize`] gives each block of up to 32 activations integers of 14 bits with one scale. Both lose about as much as
//! rounding a weight to half precision would (a relative error of 1e-4 or less of a vector).
//!
//! A block's sum of products is an exact integer: weights are scaled so that no sum leaves 32 bits, whatever the
//! activations. The blocks' sums are converted, multiplied with their block's scale and added in single precision, in
//! order; the result is multiplied with the output's scale and the bias added, rounded once. So the bits do not depend
//! on tiles, other rows, threads or instruction set.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use moshi_cpu::fixed::{Activation, Activations, FixedMatrix, Width, product, quantize};
//! use moshi_cpu::{cores::Cores, product::{Layout, Stride, Taps}};
//! use moshi_tensor::weight::HostWeight;
//! let w = HostWeight::from_f32(1, 16, (0..16).map(|i| i as f32).collect())?; // [n, k]
//! let cores = Cores::new(NonZeroUsize::MIN);
//! let w = FixedMatrix::new(&cores, &w, None, Width::Bits16)?;
//! let (mut values, mut scales, mut y) = ([0; 16], [0.0; 1], [0.0]);
//! quantize(&cores, &[1.0; 16], 16, Activation::None, &mut values, &mut scales)?;
//! let layout = Layout {
//!     rows: &[0],
//!     columns: 1,
//!     x: Stride { row: 16, column: 16 },
//!     y: Stride { row: 1, column: 1 },
//!     taps: Taps { count: 1, len: 16, distance: 0 },
//! };
//! product(&cores, &w, &layout, Activations { values: &values, scales: &scales, block: 16 }, &mut y)?;
//! assert!((y[0] - 120.0).abs() < 0.02);
//! # Ok::<(), moshi_cpu::KernelError>(())
//! ```

mod activations;
mod block;
mod dot;
mod kernel;
mod pack;
mod table;

use crate::KernelError;
use crate::cores::{Cores, Shared};
use crate::product::{Layout, Stride};
use crate::simd::LANES;
pub use activations::{Activation, quantize};
use block::check_block;
pub use block::{BLOCK, block_of};
pub use pack::{FixedMatrix, Width};

/// Activations as integers: value `i` is `values[i] * scales[i / block]`.
#[derive(Debug, Clone, Copy)]
pub struct Activations<'a> {
    /// The integers.
    pub values: &'a [i16],
    /// One for each block.
    pub scales: &'a [f32],
    /// Values of a block: 16 or 32.
    pub block: usize,
}

impl Activations<'_> {
    /// Fails unless the layout keeps to whole blocks and lies inside of the values.
    fn check(&self, layout: &Layout<'_>, (n, k): (usize, usize), y: usize) -> Result<(), KernelError> {
        let Layout { rows, columns, taps, .. } = *layout;
        check_block(self.block)?;
        KernelError::length("inputs of a fixed-point product", k, taps.count.saturating_mul(taps.len))?;
        let parts = [layout.x.row, layout.x.column, taps.len, taps.distance];
        if let Some(&found) = parts.iter().find(|part| !part.is_multiple_of(self.block)) {
            let expected = "distances are multiples of a block";
            return Err(KernelError::Unsupported { what: "layout of fixed-point activations", found, expected });
        }
        let (Some(&row), Some(last)) = (rows.last(), columns.checked_sub(1)) else { return Ok(()) };
        if !rows.is_sorted_by(|a, b| a < b) {
            return Err(KernelError::Unsupported { what: "rows", found: row, expected: "rows ascend" });
        }
        // The end of the last vector, of which a size too large for the machine falls short as well.
        let end = |stride: Stride, window: usize| {
            row.saturating_mul(stride.row).saturating_add(last.saturating_mul(stride.column)).saturating_add(window)
        };
        let window = (taps.count.max(1) - 1).saturating_mul(taps.distance).saturating_add(taps.len);
        KernelError::at_least("input of a fixed-point product", end(layout.x, window), self.values.len())?;
        KernelError::at_least("scales of activations", end(layout.x, window) / self.block, self.scales.len())?;
        KernelError::at_least("output of a fixed-point product", end(layout.y, n), y)?;
        let overlap = columns > 1 && layout.y.column < n || layout.y.row < last * layout.y.column + n;
        if overlap && rows.len() * columns > 1 {
            let expected = "outputs must not overlap";
            return Err(KernelError::Unsupported { what: "output stride", found: layout.y.column, expected });
        }
        Ok(())
    }
}

/// Addresses that parts of a product read.
struct Inputs {
    weights: *const u8,
    scales: *const f32,
    bias: *const f32,
    x: *const i16,
    x_scales: *const f32,
}

// SAFETY: parts only read what lies there, which is alive for the whole operation.
unsafe impl Sync for Inputs {}

/// Computes `y = x W^T + bias` for the vectors of `layout`; see the module for its exact definition.
///
/// # Errors
/// [`KernelError`] when the layout reaches past `x` or `y`, cuts blocks, or does not fit the matrix.
pub fn product(
    cores: &Cores,
    w: &FixedMatrix,
    layout: &Layout<'_>,
    x: Activations<'_>,
    y: &mut [f32],
) -> Result<(), KernelError> {
    x.check(layout, (w.n(), w.k()), y.len())?;
    let vectors = layout.rows.len() * layout.columns;
    if vectors == 0 || w.k() == 0 || w.n() == 0 {
        return Ok(());
    }
    let kernel = table::of(cores.isa()).product(w.width());
    let inputs = Inputs {
        weights: w.weights(),
        scales: w.scales().as_ptr(),
        bias: w.bias().as_ptr(),
        x: x.values.as_ptr(),
        x_scales: x.scales.as_ptr(),
    };
    let cut = Cut::new(cores.threads(), w.n().div_ceil(kernel::GROUP * LANES), vectors);
    let out = Shared::new(y);
    cores.run(cut.parts(), vectors * w.n().div_ceil(LANES) * w.k() / 2, &|i| {
        let inputs = &inputs;
        let (groups, vectors) = cut.part(i);
        let part = kernel::Part {
            weights: inputs.weights,
            scales: inputs.scales,
            bias: inputs.bias,
            n: w.n(),
            k: w.k(),
            layout,
            x: inputs.x,
            x_scales: inputs.x_scales,
            block: x.block,
            y: out.as_mut_ptr(),
            groups,
            vectors,
        };
        // SAFETY: `check` bounds every vector by `x` and `y`, the matrix is packed for this kernel, the instruction set
        // is available (`Cores`, `table::of`), and parts write different outputs.
        unsafe { kernel(&part) }
    });
    Ok(())
}

/// How a product is cut into parts: by outputs, and by vectors where outputs alone are too few.
struct Cut {
    groups: usize,
    vectors: usize,
    by_groups: usize,
    by_vectors: usize,
}

impl Cut {
    /// Vectors worth a part of their own.
    const VECTORS: usize = 24;

    fn new(threads: usize, groups: usize, vectors: usize) -> Self {
        // Several parts a thread, so that a thread that is held up leaves its share to the others.
        let wanted = if threads == 1 { 1 } else { threads * 4 };
        let by_groups = wanted.min(groups);
        let by_vectors = (wanted / by_groups).min(vectors / Self::VECTORS).max(1);
        Self { groups, vectors, by_groups, by_vectors }
    }

    fn parts(&self) -> usize {
        self.by_groups * self.by_vectors
    }

    /// Groups of panels and vectors of part `i`.
    fn part(&self, i: usize) -> ((usize, usize), (usize, usize)) {
        let (group, vector) = (i / self.by_vectors, i % self.by_vectors);
        let bound = |i: usize, of: usize, parts: usize| i * of / parts;
        (
            (bound(group, self.groups, self.by_groups), bound(group + 1, self.groups, self.by_groups)),
            (bound(vector, self.vectors, self.by_vectors), bound(vector + 1, self.vectors, self.by_vectors)),
        )
    }
}
