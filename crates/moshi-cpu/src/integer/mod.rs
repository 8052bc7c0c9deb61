//! Products of activations with a matrix of integers, in integer arithmetic: four times as many products in an
//! instruction as in single precision, which is what keeps four-bit weights and several rows at the speed of memory.
//!
//! Inputs are quantized on the way in: each vector is cut into blocks of 32 values (16 where the weights' groups are
//! as small), a block's scale is its largest magnitude / 127, and its values become `round(x * (127 / largest))`. For
//! each block the products of integers are summed exactly; then
//! * with groups, `y += float(sum) * (group's scale * block's scale)`, and for formats with biases
//!   `y += group's bias * (block's scale * sum of the block's bytes)`, from the bias of the output on;
//! * with a scale for each output, `y += float(sum) * block's scale`, and at the end `y * scale + bias`.
//!
//! Blocks come in order, and every `+=` is rounded once. So the bits do not depend on tiles, other rows, threads or
//! instruction set. [`crate::product`] is the exact counterpart, whose inputs stay in single precision.
//!
//! ```
//! use std::{borrow::Cow, num::NonZeroUsize};
//! use moshi_cpu::{cores::Cores, integer::{self, Matrix}};
//! use moshi_tensor::weight::{HostWeight, WeightData};
//! let data = WeightData::Int8 { values: Cow::Owned(vec![1, 0, 0, 1]), scales: Cow::Owned(vec![0.5, 2.0]) };
//! let cores = Cores::new(NonZeroUsize::MIN);
//! let w = Matrix::new(&cores, &HostWeight::new(2, 2, data)?, None)?.expect("integers");
//! let mut y = [0.0; 2];
//! integer::product(&cores, &w, &[0], 1, &[127.0, 64.0], &mut y)?;
//! assert_eq!(y, [63.5, 128.0]);
//! # Ok::<(), moshi_cpu::KernelError>(())
//! ```

mod activations;
mod format;
mod kernel;
mod pack;
pub(crate) mod table;

use std::cell::RefCell;

use crate::KernelError;
use crate::cores::{Address, Cores, Shared};
use crate::memory::Block;
use crate::product::{Cut, padded};
use crate::simd::LANES;
use activations::Activations;
use format::Inputs;
use kernel::{Outputs, Part};
use moshi_tensor::weight::HostWeight;
use pack::Panels;

/// A matrix `[n, k]` of integers with an optional bias `[n]`, laid out for streaming reads.
#[derive(Debug)]
pub struct Matrix {
    n: usize,
    k: usize,
    panels: Panels,
    bias: Option<Block<f32>>,
}

impl Matrix {
    /// Lays out `weight` with the threads of `cores`; nothing when it does not hold integers, or in groups of fewer
    /// than 16 (32 for four bits).
    ///
    /// # Errors
    /// [`KernelError::Length`] when the bias does not fit.
    pub fn new(cores: &Cores, weight: &HostWeight<'_>, bias: Option<&[f32]>) -> Result<Option<Self>, KernelError> {
        let (n, k) = (weight.rows(), weight.cols());
        if let Some(bias) = bias {
            KernelError::length("bias", n, bias.len())?;
        }
        let bias = bias.map(padded);
        Ok(Panels::new(cores, weight).map(|panels| Self { n, k, panels, bias }))
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
        self.panels.bytes()
    }
}

thread_local! {
    /// The quantized inputs of the product at hand.
    static INPUTS: RefCell<Activations> = RefCell::default();
}

/// Computes `y [b, t, n] = x [b, t, k] W^T + bias` for the rows `rows` (ascending); see the module for its exact
/// definition.
///
/// # Errors
/// [`KernelError`] when `x` or `y` is too short, or rows do not ascend.
pub fn product(
    cores: &Cores,
    w: &Matrix,
    rows: &[usize],
    t: usize,
    x: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    let Some(&last) = rows.last() else { return Ok(()) };
    if !rows.is_sorted_by(|a, b| a < b) {
        return Err(KernelError::Unsupported { what: "rows", found: last, expected: "rows ascend" });
    }
    let vectors = (last + 1).saturating_mul(t);
    KernelError::at_least("input of a product", vectors.saturating_mul(w.k), x.len())?;
    KernelError::at_least("output of a product", vectors.saturating_mul(w.n), y.len())?;
    INPUTS.with_borrow_mut(|inputs| {
        quantize(cores, w, rows, t, x, inputs);
        run(cores, w, Outputs { rows, t }, inputs, y);
    });
    Ok(())
}

/// Quantizes the vectors of all rows, one after another. A product waits for it, so it is the caller's thread that does
/// it where vectors are few: 4,096 values take a microsecond.
fn quantize(cores: &Cores, w: &Matrix, rows: &[usize], t: usize, x: &[f32], inputs: &mut Activations) {
    let Panels { blocks, block, .. } = w.panels;
    inputs.reserve(rows.len() * t, blocks, block);
    for (vector, row) in rows.iter().flat_map(|&row| (0..t).map(move |i| row * t + i)).enumerate() {
        let x = &x[row * w.k..(row + 1) * w.k];
        // SAFETY: the instruction set is that of `Cores`; blocks are 16 or 32 values.
        unsafe { (cores.integer_table().quantize)(x, inputs.vector(vector, blocks, block)) };
    }
}

fn run(cores: &Cores, w: &Matrix, outputs: Outputs<'_>, inputs: &Activations, y: &mut [f32]) {
    let panels = &w.panels;
    let vectors = outputs.rows.len() * outputs.t;
    let kernel = cores.integer_table().product[panels.kind as usize];
    let cut = Cut::new(cores.threads(), w.n.div_ceil(LANES), vectors);
    let y = Shared::new(y);
    let (weights, scales, biases) =
        (Address(panels.weights.as_ptr()), Address(panels.scales.as_ptr()), Address(panels.biases.as_ptr()));
    let (output_scales, bias) =
        (Address(panels.output_scales.as_ptr()), Address(w.bias.as_ref().map_or(std::ptr::null(), |b| b.as_ptr())));
    cores.run(cut.parts(), vectors * panels.weights.len() / LANES / 4, &|i| {
        let (panel_range, vector_range) = cut.part(i);
        let x = Inputs {
            values: inputs.values.as_ptr(),
            distance: panels.blocks * panels.block,
            sums: inputs.sums.as_ptr(),
            sums_distance: panels.blocks,
        };
        let part = Part {
            weights: weights.get(),
            scales: scales.get(),
            biases: biases.get(),
            output_scales: output_scales.get().cast(),
            bias: bias.get(),
            n: w.n,
            blocks: panels.blocks,
            group_shift: panels.group_shift,
            x,
            x_scales: inputs.scales.as_ptr(),
            x_scaled_sums: inputs.scaled_sums.as_ptr(),
            y: y.as_mut_ptr(),
            outputs,
            panels: panel_range,
            vectors: vector_range,
        };
        // SAFETY: `product` checked that rows lie inside of `y`, the weights are laid out for this kernel, the inputs
        // for this matrix, the kernel's instruction set is available (`Cores`), and parts write different outputs.
        unsafe { kernel(&part) }
    });
}
