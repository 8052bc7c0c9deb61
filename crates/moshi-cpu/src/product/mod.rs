//! Products of activations with a weight matrix: linear layers and causal convolutions, for one row or many.
//!
//! A [`Matrix`] is laid out once in panels of sixteen outputs, `[panel][k][16]`, in the number format that the file
//! holds. [`product`] multiplies any set of input vectors with it. The inputs are described by strides ([`Layout`]):
//! the overlapping windows of a convolution are inputs like any other, so that nothing is copied into columns first.
//!
//! Every output is one sum, over k in order, of fused multiply-adds that starts at the bias. So its bits do not depend
//! on tiles, other rows, threads or instruction set, and narrower weights give the bits of their widened values. With
//! integers and a scale for each output, the sum of the integers' products starts at zero, and the scale is multiplied
//! and the bias added at its end, rounded once; activations stay in single precision. Integers in groups are widened to
//! the weights of [`HostWeight::to_f32`] in registers, so that the bits are those of the widened matrix.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use moshi_cpu::{cores::Cores, product::{Layout, Matrix, product}};
//! use moshi_tensor::weight::HostWeight;
//! let w = HostWeight::from_f32(2, 3, vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0])?; // [n, k]
//! let w = Matrix::new(&w, None)?;
//! let mut y = [0.0; 2];
//! product(&Cores::new(NonZeroUsize::MIN), &w, &Layout::linear(&[0], 1, &w), &[3.0, 4.0, 5.0], &mut y)?;
//! assert_eq!(y, [3.0, 12.0]);
//! # Ok::<(), moshi_cpu::KernelError>(())
//! ```

pub(crate) mod format;
mod layout;
mod packed;
mod part;
pub(crate) mod tile;

use std::num::NonZeroUsize;

use crate::KernelError;
use crate::cores::{Address, Cores, Shared};
use crate::memory::Block;
use crate::simd::LANES;
pub use layout::{Layout, Stride, Taps};
use moshi_tensor::weight::HostWeight;
use packed::{Addresses, Packed};
pub(crate) use packed::{each_panel, padded};
pub(crate) use part::Part;

/// A weight matrix `[n, k]` with an optional bias `[n]`, laid out for streaming reads.
#[derive(Debug)]
pub struct Matrix {
    n: usize,
    k: usize,
    packed: Packed,
    /// Padded to whole panels.
    bias: Option<Block<f32>>,
}

impl Matrix {
    /// Lays out `weight`, in its own number format; `bias` has a value per row of it.
    ///
    /// # Errors
    /// [`KernelError::Length`] when the bias does not fit.
    pub fn new(weight: &HostWeight<'_>, bias: Option<&[f32]>) -> Result<Self, KernelError> {
        Self::laid_out_by(&Cores::new(NonZeroUsize::MIN), weight, bias)
    }

    /// As [`Matrix::new`], with the threads of `cores`.
    ///
    /// # Errors
    /// As [`Matrix::new`].
    pub fn laid_out_by(cores: &Cores, weight: &HostWeight<'_>, bias: Option<&[f32]>) -> Result<Self, KernelError> {
        let (n, k) = (weight.rows(), weight.cols());
        let bias = match bias {
            None => None,
            Some(b) => {
                KernelError::length("bias", n, b.len())?;
                Some(padded(b))
            }
        };
        Ok(Self { n, k, packed: Packed::new(cores, weight), bias })
    }

    /// Number of outputs.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Number of inputs.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Bytes that one product reads.
    pub fn bytes(&self) -> usize {
        self.packed.bytes()
    }

    fn panels(&self) -> usize {
        self.n.div_ceil(LANES)
    }
}

impl<'a> Layout<'a> {
    /// `x [b, t, k]` to `y [b, t, n]`, both contiguous.
    pub fn linear(rows: &'a [usize], t: usize, w: &Matrix) -> Self {
        Self {
            rows,
            columns: t,
            x: Stride { row: t * w.k, column: w.k },
            y: Stride { row: t * w.n, column: w.n },
            taps: Taps { count: 1, len: w.k, distance: 0 },
        }
    }

    fn check(&self, w: &Matrix, x: usize, y: usize) -> Result<(), KernelError> {
        KernelError::length("inputs of a product", w.k, self.taps.count.saturating_mul(self.taps.len))?;
        let (Some(&row), Some(column)) = (self.rows.last(), self.columns.checked_sub(1)) else { return Ok(()) };
        if !self.rows.is_sorted_by(|a, b| a < b) {
            return Err(KernelError::Unsupported { what: "rows", found: row, expected: "rows ascend" });
        }
        // The end of the last vector, of which a size too large for the machine falls short as well.
        let end = |stride: Stride, window: usize| {
            row.saturating_mul(stride.row).saturating_add(column.saturating_mul(stride.column)).saturating_add(window)
        };
        let window = (self.taps.count.max(1) - 1).saturating_mul(self.taps.distance).saturating_add(self.taps.len);
        KernelError::at_least("input of a product", end(self.x, window), x)?;
        KernelError::at_least("output of a product", end(self.y, w.n), y)?;
        if columns_overlap(self.y, self.columns, w.n) {
            let expected = "outputs must not overlap";
            return Err(KernelError::Unsupported { what: "output stride", found: self.y.column, expected });
        }
        Ok(())
    }
}

fn columns_overlap(y: Stride, columns: usize, n: usize) -> bool {
    (columns > 1 && y.column < n) || y.row < ((columns - 1) * y.column).saturating_add(n)
}

/// Computes `y = x W^T + bias` for the vectors of `layout`; see the module for its exact definition.
///
/// # Errors
/// [`KernelError`] when the layout reaches past `x` or `y`, or does not fit the matrix.
pub fn product(cores: &Cores, w: &Matrix, layout: &Layout<'_>, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
    layout.check(w, x.len(), y.len())?;
    let vectors = layout.rows.len() * layout.columns;
    let kernel = w.packed.kernel(cores.table());
    let weights = &w.packed.addresses();
    let bias = w.bias.as_ref().map_or(std::ptr::null(), |b| b.as_ptr());
    let cut = Cut::new(cores.threads(), w.panels(), vectors);
    let out = Shared::new(y);
    let addresses = (Address(x.as_ptr()), Address(bias));
    cores.run(cut.parts, vectors * w.panels() * w.k, &|i| {
        let (x, bias) = (addresses.0.get(), addresses.1.get());
        let Addresses { weights, scales, groups } = *weights;
        let (panels, vectors) = cut.part(i);
        let part =
            Part { weights, bias, scales, groups, n: w.n, k: w.k, layout, x, y: out.as_mut_ptr(), panels, vectors };
        // SAFETY: `check` bounds every vector by `x` and `y`, the weights are `panels * k * 16` values of the kernel's
        // format, the kernel's instruction set is available (`Cores`), and parts write different outputs.
        unsafe { kernel(&part) }
    });
    Ok(())
}

/// How a product is cut into parts: by outputs where there are enough panels, else by vectors.
pub(crate) struct Cut {
    parts: usize,
    panels: usize,
    vectors: usize,
    by_panels: bool,
}

impl Cut {
    /// Panels that a kernel reads side by side.
    const GROUP: usize = 4;
    /// Vectors worth a part of their own.
    const VECTORS: usize = 12;

    pub(crate) fn new(threads: usize, panels: usize, vectors: usize) -> Self {
        // Several parts a thread, so that a thread that is held up leaves its share to the others.
        let wanted = if threads == 1 { 1 } else { threads * 4 };
        let groups = panels.div_ceil(Self::GROUP);
        let by_panels = groups >= wanted || vectors < wanted * Self::VECTORS;
        let possible = if by_panels { groups } else { vectors / Self::VECTORS };
        Self { parts: wanted.min(possible).max(1), panels, vectors, by_panels }
    }

    /// How many parts there are.
    pub(crate) fn parts(&self) -> usize {
        self.parts
    }

    /// Panels and vectors of part `i`.
    pub(crate) fn part(&self, i: usize) -> ((usize, usize), (usize, usize)) {
        if self.by_panels {
            let groups = self.panels.div_ceil(Self::GROUP);
            let bound = |i: usize| (i * groups / self.parts * Self::GROUP).min(self.panels);
            ((bound(i), bound(i + 1)), (0, self.vectors))
        } else {
            let bound = |i: usize| i * self.vectors / self.parts;
            ((0, self.panels), (bound(i), bound(i + 1)))
        }
    }
}
