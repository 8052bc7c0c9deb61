//! Operations on each vector of a batch: norms, activations, softmax, residual sums, upsampling.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use moshi_cpu::{cores::Cores, rowwise::{Vectors, softmax}};
//! let mut x = [0.0, 0.0, 7.0, 7.0]; // [b 2, t 1, c 2], of which only row 1 is active
//! softmax(&Cores::new(NonZeroUsize::MIN), &Vectors { rows: &[1], t: 1, c: 2 }, &mut x)?;
//! assert_eq!(x, [0.0, 0.0, 0.5, 0.5]);
//! # Ok::<(), moshi_cpu::KernelError>(())
//! ```

pub(crate) mod kernel;

use crate::KernelError;
use crate::cores::{Cores, Shared};

/// The vectors `[c]` of active rows in `[b, t, c]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vectors<'a> {
    /// The rows to compute, ascending.
    pub rows: &'a [usize],
    /// Vectors of each row.
    pub t: usize,
    /// Values of a vector.
    pub c: usize,
}

impl Vectors<'_> {
    /// Values that a buffer must hold to have these vectors with `c` values each.
    fn needs(&self, c: usize) -> usize {
        self.rows.last().map_or(0, |row| row.saturating_add(1).saturating_mul(self.t).saturating_mul(c))
    }

    fn check(&self, what: &'static str, c: usize, len: usize) -> Result<(), KernelError> {
        KernelError::at_least(what, self.needs(c), len)
    }

    /// Calls `work` with the index of every vector and its `width` values of `y`.
    fn each(
        &self,
        cores: &Cores,
        width: usize,
        y: &mut [f32],
        work: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) -> Result<(), KernelError> {
        if !self.rows.is_sorted_by(|a, b| a < b) {
            let found = self.rows.len();
            return Err(KernelError::Unsupported { what: "rows", found, expected: "rows ascend" });
        }
        self.check("output of an operation", width, y.len())?;
        let count = self.rows.len() * self.t;
        let parts = if cores.threads() == 1 { 1 } else { count.min(cores.threads() * 2) };
        let out = Shared::new(y);
        cores.run(parts, count * width, &|part| {
            for i in part * count / parts..(part + 1) * count / parts {
                let index = self.rows[i / self.t] * self.t + i % self.t;
                // SAFETY: rows are distinct, so indices are, and their ranges do not overlap.
                let y = unsafe { out.range(index * width..(index + 1) * width) };
                work(index, y);
            }
        });
        Ok(())
    }
}

/// The vector at `index` of `x` with `c` values each. `Vectors::check` has been called for `x`.
fn at(x: &[f32], index: usize, c: usize) -> &[f32] {
    &x[index * c..(index + 1) * c]
}

/// `y = x / sqrt(mean(x^2) + eps) * alpha` for each vector.
///
/// # Errors
/// [`KernelError::Length`] when an operand is too short.
pub fn rms_norm(
    cores: &Cores,
    vectors: &Vectors<'_>,
    x: &[f32],
    alpha: &[f32],
    eps: f32,
    y: &mut [f32],
) -> Result<(), KernelError> {
    let c = vectors.c;
    vectors.check("input of rms_norm", c, x.len())?;
    KernelError::at_least("alpha of rms_norm", c, alpha.len())?;
    // SAFETY: `Cores` has checked the instruction set; slices carry their bounds (so in all functions of this file).
    vectors.each(cores, c, y, &|i, y| unsafe { (cores.table().rms_norm)(at(x, i, c), &alpha[..c], eps, y) })
}

/// `y = (x - mean) / sqrt(var + eps) * weight + bias` for each vector; `affine` is weight and bias.
///
/// # Errors
/// [`KernelError::Length`] when an operand is too short.
pub fn layer_norm(
    cores: &Cores,
    vectors: &Vectors<'_>,
    x: &[f32],
    affine: (&[f32], &[f32]),
    eps: f32,
    y: &mut [f32],
) -> Result<(), KernelError> {
    let c = vectors.c;
    vectors.check("input of layer_norm", c, x.len())?;
    KernelError::at_least("weight of layer_norm", c, affine.0.len())?;
    KernelError::at_least("bias of layer_norm", c, affine.1.len())?;
    let affine = (&affine.0[..c], &affine.1[..c]);
    // SAFETY: as above.
    vectors.each(cores, c, y, &|i, y| unsafe { (cores.table().layer_norm)(at(x, i, c), affine, eps, y) })
}

/// Softmax of each vector, in place.
///
/// # Errors
/// [`KernelError::Length`] when `x` is too short.
pub fn softmax(cores: &Cores, vectors: &Vectors<'_>, x: &mut [f32]) -> Result<(), KernelError> {
    // SAFETY: as above.
    vectors.each(cores, vectors.c, x, &|_, x| unsafe { (cores.table().softmax)(x) })
}

/// `y [c] = silu(x[..c]) * x[c..]` for each vector `x [2c]`.
///
/// # Errors
/// [`KernelError::Length`] when an operand is too short.
pub fn silu_gate(cores: &Cores, vectors: &Vectors<'_>, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
    let c = vectors.c;
    vectors.check("input of silu_gate", 2 * c, x.len())?;
    vectors.each(cores, c, y, &|i, y| {
        let (a, b) = at(x, i, 2 * c).split_at(c);
        // SAFETY: as above.
        unsafe { (cores.table().silu_gate)(a, b, y) }
    })
}

/// Exact (erf) GELU of each vector, in place.
///
/// # Errors
/// [`KernelError::Length`] when `x` is too short.
pub fn gelu(cores: &Cores, vectors: &Vectors<'_>, x: &mut [f32]) -> Result<(), KernelError> {
    // SAFETY: as above.
    vectors.each(cores, vectors.c, x, &|_, x| unsafe { (cores.table().gelu)(x) })
}

/// `y = elu(x)` with alpha 1, over as many values as both have.
pub fn elu(cores: &Cores, x: &[f32], y: &mut [f32]) {
    let len = x.len().min(y.len());
    // SAFETY: as above.
    unsafe { (cores.table().elu)(&x[..len], &mut y[..len]) }
}

/// `x += scale * y` for each vector; a plain sum without a scale.
///
/// # Errors
/// [`KernelError::Length`] when an operand is too short.
pub fn residual_add(
    cores: &Cores,
    vectors: &Vectors<'_>,
    y: &[f32],
    scale: Option<&[f32]>,
    x: &mut [f32],
) -> Result<(), KernelError> {
    let c = vectors.c;
    vectors.check("addend of residual_add", c, y.len())?;
    match scale {
        // SAFETY: as above.
        None => vectors.each(cores, c, x, &|i, x| unsafe { (cores.table().add_f32)(at(y, i, c), x) }),
        Some(scale) => {
            KernelError::at_least("scale of residual_add", c, scale.len())?;
            let scale = &scale[..c];
            // SAFETY: as above.
            vectors.each(cores, c, x, &|i, x| unsafe { (cores.table().add_scaled)(at(y, i, c), scale, x) })
        }
    }
}

/// One row of a depthwise causal transposed convolution with kernel 2 * stride: `x [t, c]` and the column before it
/// to `y [t * stride, c]`; `weight [2 * stride, c]`, tap-major.
///
/// # Errors
/// [`KernelError::Length`] when an operand is too short or the column before has not `c` values.
pub fn upsample(
    cores: &Cores,
    (t, stride): (usize, usize),
    x: &[f32],
    before: &[f32],
    weight: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    let c = before.len();
    KernelError::at_least("input of upsample", t * c, x.len())?;
    KernelError::at_least("weight of upsample", 2 * stride * c, weight.len())?;
    KernelError::at_least("output of upsample", t * stride * c, y.len())?;
    for column in 0..t {
        let last = if column == 0 { before } else { at(x, column - 1, c) };
        for tap in 0..stride {
            let out = column * stride + tap;
            let new = (at(weight, tap, c), at(x, column, c));
            let old = (at(weight, stride + tap, c), last);
            // SAFETY: as above.
            unsafe { (cores.table().blend)(new, old, &mut y[out * c..(out + 1) * c]) }
        }
    }
    Ok(())
}
