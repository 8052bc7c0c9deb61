//! Weights as integers with a scale for each output.

use super::block::{BLOCK, LARGEST};
use super::kernel;
use crate::KernelError;
use crate::cores::{Cores, Shared};
use crate::memory::Block;
use crate::simd::LANES;
use moshi_tensor::weight::HostWeight;

/// How many bits an integer weight has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Eight: a relative error of about 7e-3 of an output's weights.
    Bits8,
    /// Sixteen, of which the bound on sums leaves about fifteen: a relative error of about 1e-4.
    Bits16,
}

#[derive(Debug)]
enum Integers {
    Bits8(Block<i8>),
    Bits16(Block<i16>),
}

/// A weight matrix `[n, k]` of integers with a bias `[n]`, laid out for streaming reads: `[group][k / 2][panel][16][2]`
/// with up to four panels of sixteen outputs in a group, so that a group is one stretch of memory.
#[derive(Debug)]
pub struct FixedMatrix {
    n: usize,
    k: usize,
    integers: Integers,
    /// Padded to whole panels, as is the bias.
    scales: Block<f32>,
    bias: Block<f32>,
}

impl FixedMatrix {
    /// Rounds `weight` to integers of a width with the threads of `cores`; `bias` has a value per row of it.
    ///
    /// # Errors
    /// [`KernelError::Length`] when the bias does not fit, [`KernelError::Unsupported`] when the columns are not whole
    /// blocks of sixteen, [`KernelError::Value`] for weights that are not finite.
    pub fn new(
        cores: &Cores,
        weight: &HostWeight<'_>,
        bias: Option<&[f32]>,
        width: Width,
    ) -> Result<Self, KernelError> {
        let (n, k) = (weight.rows(), weight.cols());
        if !k.is_multiple_of(LANES) {
            let expected = "they are a multiple of 16";
            return Err(KernelError::Unsupported { what: "columns of a fixed-point matrix", found: k, expected });
        }
        let values = weight.to_f32()?;
        if let Some(found) = values.iter().chain(bias.into_iter().flatten()).find(|x| !x.is_finite()) {
            let expected = "a finite number";
            return Err(KernelError::Value { what: "weight of a matrix", found: found.to_string(), expected });
        }
        let padded = n.next_multiple_of(LANES);
        let (mut scales, mut all_bias) = (Block::zeros(padded), Block::zeros(padded));
        if let Some(bias) = bias {
            KernelError::length("bias", n, bias.len())?;
            all_bias[..n].copy_from_slice(bias);
        }
        let integers = match width {
            Width::Bits8 => Integers::Bits8(pack(cores, (n, k), &values, &mut scales)),
            Width::Bits16 => Integers::Bits16(pack(cores, (n, k), &values, &mut scales)),
        };
        Ok(Self { n, k, integers, scales, bias: all_bias })
    }

    /// Number of outputs.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Number of inputs.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Bits of a weight.
    pub fn width(&self) -> Width {
        match self.integers {
            Integers::Bits8(_) => Width::Bits8,
            Integers::Bits16(_) => Width::Bits16,
        }
    }

    /// Bytes that one product reads.
    pub fn bytes(&self) -> usize {
        match &self.integers {
            Integers::Bits8(w) => size_of_val(&**w),
            Integers::Bits16(w) => size_of_val(&**w),
        }
    }

    /// The weight of output `o` for input `i` as it was rounded, if both exist.
    pub fn value(&self, o: usize, i: usize) -> Option<f32> {
        if o >= self.n || i >= self.k {
            return None;
        }
        let at = place(o, i, self.n, self.k);
        let integer = match &self.integers {
            Integers::Bits8(w) => f32::from(w[at]),
            Integers::Bits16(w) => f32::from(w[at]),
        };
        Some(integer * self.scales[o])
    }

    pub(super) fn weights(&self) -> *const u8 {
        match &self.integers {
            Integers::Bits8(w) => w.as_ptr().cast(),
            Integers::Bits16(w) => w.as_ptr().cast(),
        }
    }

    pub(super) fn scales(&self) -> &[f32] {
        &self.scales
    }

    pub(super) fn bias(&self) -> &[f32] {
        &self.bias
    }
}

/// Rounds the rows `values` `[n, k]` to where they belong, group by group, and gives each its scale.
fn pack<T: Integer>(cores: &Cores, (n, k): (usize, usize), values: &[f32], scales: &mut [f32]) -> Block<T> {
    const OUTPUTS: usize = kernel::GROUP * LANES;
    let padded = scales.len();
    let mut packed = Block::streamed(padded * k);
    let (to, scales) = (Shared::new(&mut packed), Shared::new(scales));
    cores.run(n.div_ceil(OUTPUTS), usize::MAX, &|group| {
        let (first, end) = (group * OUTPUTS, ((group + 1) * OUTPUTS).min(padded));
        // SAFETY: every group is one part's alone.
        let (to, scales) = unsafe { (to.range(first * k..end * k), scales.range(first..end)) };
        for o in first..end.min(n) {
            let row = &values[o * k..(o + 1) * k];
            scales[o - first] = round(row, T::LARGEST, |i, q| to[place(o, i, n, k) - first * k] = T::of(q));
        }
    });
    packed
}

/// Integers of a width.
trait Integer: bytemuck::Pod + Send {
    /// The largest that is used, and the negative of the smallest.
    const LARGEST: f64;

    /// From a whole number in that range.
    fn of(q: f64) -> Self;
}

impl Integer for i8 {
    const LARGEST: f64 = 127.0;

    fn of(q: f64) -> Self {
        q as i8
    }
}

impl Integer for i16 {
    const LARGEST: f64 = 32_767.0;

    fn of(q: f64) -> Self {
        q as i16
    }
}

/// Where the weight of output `o` and input `i` lies.
fn place(o: usize, i: usize, n: usize, k: usize) -> usize {
    let (panel, lane) = (o / LANES, o % LANES);
    let group = panel / kernel::GROUP;
    let panels = (n.div_ceil(LANES) - group * kernel::GROUP).min(kernel::GROUP); // of this group
    group * kernel::GROUP * LANES * k + (((i / 2) * panels + panel % kernel::GROUP) * LANES + lane) * 2 + i % 2
}

/// Gives each weight's integer to `put` and returns their scale: the smallest for which all integers are at most `most`
/// and no block's sum of products with activations leaves 32 bits.
fn round(row: &[f32], most: f64, mut put: impl FnMut(usize, f64)) -> f32 {
    let largest = row.iter().fold(0.0, |m: f64, &w| m.max(f64::from(w).abs()));
    let sum = |block: &[f32]| block.iter().map(|&w| f64::from(w).abs()).sum::<f64>();
    let heaviest = row.chunks(BLOCK).map(sum).fold(0.0, f64::max);
    // Rounding adds up to half a unit to each weight, and the scale's own rounding a little more.
    let limit = f64::from(i32::MAX) / f64::from(LARGEST) - BLOCK as f64;
    let scale = (largest / most).max(heaviest / limit) as f32;
    if scale < f32::MIN_POSITIVE {
        return 0.0; // all weights vanish beside any sum
    }
    for (i, &w) in row.iter().enumerate() {
        put(i, (f64::from(w) / f64::from(scale)).round_ties_even().clamp(-most, most));
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_blocks_sum_leaves_32_bits() {
        for row in [vec![1.0f32; 128], vec![-0.3; 64], (0..192).map(|i| (i as f32).sin()).collect(), vec![1e-30; 64]] {
            let mut integers = vec![0i64; row.len()];
            let scale = round(&row, 32_767.0, |i, q| integers[i] = q as i64);
            for (q, w) in integers.iter().zip(&row) {
                assert!((*q as f32 * scale - w).abs() <= 0.51 * scale, "{w} became {q} * {scale}");
            }
            for block in integers.chunks(BLOCK) {
                let most = block.iter().map(|q| q.abs()).sum::<i64>() * i64::from(LARGEST);
                assert!(most <= i64::from(i32::MAX), "{most}");
            }
        }
    }

    #[test]
    fn every_weight_has_a_place_of_its_own() {
        for (n, k) in [(1usize, 16), (16, 32), (40, 16), (64, 16), (150, 48)] {
            let mut seen = vec![false; n.next_multiple_of(LANES) * k];
            for (o, i) in (0..n).flat_map(|o| (0..k).map(move |i| (o, i))) {
                assert!(!std::mem::replace(&mut seen[place(o, i, n, k)], true));
            }
        }
    }
}
