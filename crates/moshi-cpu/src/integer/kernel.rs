//! The inner loops of integer products: a tile of outputs kept in registers while blocks of inputs run.
#![allow(unsafe_op_in_unsafe_fn)] // every function has the one precondition of `part`
#![allow(clippy::needless_range_loop)] // one index runs over several arrays of constant length

use super::format::{Format, Inputs};
use crate::simd::dot::Dot;
use crate::simd::{Element, LANES};

/// One part of a product.
pub(super) struct Part<'a> {
    /// `[panel][block]` in the kernel's format.
    pub weights: *const u8,
    /// Of groups, `[panel][group][16]`; null for a format without.
    pub scales: *const u8,
    /// As `scales`.
    pub biases: *const u8,
    /// Of outputs, padded to whole panels; null for a format with groups.
    pub output_scales: *const f32,
    /// Of outputs, padded to whole panels; null for none.
    pub bias: *const f32,
    pub n: usize,
    /// Blocks of a vector.
    pub blocks: usize,
    /// Logarithm of the blocks of a group.
    pub group_shift: u32,
    /// Quantized inputs, `[vector][block]`.
    pub x: Inputs,
    pub x_scales: *const f32,
    pub x_scaled_sums: *const f32,
    /// Where each vector's outputs go.
    pub y: *mut f32,
    pub outputs: Outputs<'a>,
    /// First and last panel to compute, the last not included.
    pub panels: (usize, usize),
    /// First and last vector to compute, the last not included.
    pub vectors: (usize, usize),
}

/// Where vectors' outputs go: vector i is time step i % t of row `rows[i / t]`.
#[derive(Clone, Copy)]
pub(super) struct Outputs<'a> {
    pub rows: &'a [usize],
    pub t: usize,
}

/// Computes one part of a product.
///
/// # Safety
/// The instruction set of `S` is available; the weights are those of `F` for `n` outputs and `blocks` blocks, inputs
/// and outputs as the fields say; nobody else uses the outputs.
#[inline(always)]
pub(super) unsafe fn part<S: Dot, F: Format>(part: &Part<'_>) {
    let mut panel = part.panels.0;
    let vectors = part.vectors.1 - part.vectors.0;
    let wide = if S::SUMS >= 16 { [4, 2] } else { [2, 2] };
    while panel < part.panels.1 && vectors > 0 {
        let left = part.panels.1 - panel;
        panel += match () {
            () if vectors <= 2 && left >= 4 && wide[0] == 4 => blocks::<S, F, 4>(part, panel),
            () if (vectors <= 4 || S::SUMS >= 16) && left >= 2 => blocks::<S, F, 2>(part, panel),
            () => blocks::<S, F, 1>(part, panel),
        };
    }
}

/// How many vectors a tile of `p` panels may have: sums twice over, as integers and as single precision.
const fn most_vectors<S: Dot>(p: usize) -> usize {
    let most = if S::SUMS >= 16 { 12 / p } else { 4 / p };
    if most > 8 { 8 } else { most }
}

/// All vectors of the part, in tiles of nearly equal size; gives `P`.
#[inline(always)]
unsafe fn blocks<S: Dot, F: Format, const P: usize>(part: &Part<'_>, panel: usize) -> usize {
    let most = most_vectors::<S>(P);
    let mut first = part.vectors.0;
    let mut tiles = (part.vectors.1 - first).div_ceil(most);
    while tiles > 0 {
        let size = (part.vectors.1 - first).div_ceil(tiles);
        macro_rules! tile_of {
            ($($m:literal)*) => {
                match size {
                    $($m if $m <= most_vectors::<S>(P) => tile::<S, F, $m, P>(part, panel, first),)*
                    _ => {}
                }
            };
        }
        tile_of!(1 2 3 4 5 6 7 8);
        first += size;
        tiles -= 1;
    }
    P
}

/// `M` vectors from `first` on times `P` panels from `panel` on.
#[inline(always)]
unsafe fn tile<S: Dot, F: Format, const M: usize, const P: usize>(part: &Part<'_>, panel: usize, first: usize) {
    let distance = part.blocks * F::BYTES;
    let weights = part.weights.add(panel * distance);
    let groups = part.blocks.div_ceil(1 << part.group_shift);
    let mut x = part.x;
    x.values = x.values.add(first * x.distance);
    x.sums = x.sums.add(first * part.blocks);
    let (x_scales, x_scaled_sums) =
        (part.x_scales.add(first * part.blocks), part.x_scaled_sums.add(first * part.blocks));
    let mut sums = begin::<S, F, M, P>(part, panel);
    for block in 0..part.blocks {
        let integers = F::dot::<S, M, P>(weights.add(block * F::BYTES), distance, x);
        x.values = x.values.add(F::WORDS * 4);
        x.sums = x.sums.add(1);
        if !F::GROUPED {
            for m in 0..M {
                let scale = S::splat(*x_scales.add(m * part.blocks + block));
                for p in 0..P {
                    sums[m][p] = S::fma(S::to_f32(integers[m][p]), scale, sums[m][p]);
                }
            }
            continue;
        }
        for p in 0..P {
            let group = ((panel + p) * groups + (block >> part.group_shift)) * LANES;
            let scale = F::Scale::load::<S>(part.scales.cast::<F::Scale>().add(group));
            for m in 0..M {
                let scale = S::mul(scale, S::splat(*x_scales.add(m * part.blocks + block)));
                sums[m][p] = S::fma(S::to_f32(integers[m][p]), scale, sums[m][p]);
            }
            if F::BIASED {
                let bias = F::Scale::load::<S>(part.biases.cast::<F::Scale>().add(group));
                for m in 0..M {
                    let sum = S::splat(*x_scaled_sums.add(m * part.blocks + block));
                    sums[m][p] = S::fma(bias, sum, sums[m][p]);
                }
            }
        }
    }
    finish::<S, F, M, P>(part, panel, first, sums);
}

#[inline(always)]
unsafe fn begin<S: Dot, F: Format, const M: usize, const P: usize>(part: &Part<'_>, panel: usize) -> [[S::V; P]; M] {
    let mut sums = [[S::splat(0.0); P]; M];
    if F::GROUPED && !part.bias.is_null() {
        for p in 0..P {
            let bias = S::load(part.bias.add((panel + p) * LANES));
            for m in 0..M {
                sums[m][p] = bias;
            }
        }
    }
    sums
}

#[inline(always)]
unsafe fn finish<S: Dot, F: Format, const M: usize, const P: usize>(
    part: &Part<'_>,
    panel: usize,
    first: usize,
    mut sums: [[S::V; P]; M],
) {
    let Outputs { rows, t } = part.outputs;
    for p in 0..P {
        let at = (panel + p) * LANES;
        if !F::GROUPED {
            let scale = S::load(part.output_scales.add(at));
            let bias = if part.bias.is_null() { S::splat(0.0) } else { S::load(part.bias.add(at)) };
            for m in 0..M {
                sums[m][p] = S::fma(sums[m][p], scale, bias);
            }
        }
        let valid = part.n - at;
        for m in 0..M {
            let vector = first + m;
            let y = part.y.add((*rows.get_unchecked(vector / t) * t + vector % t) * part.n + at);
            crate::product::tile::put_panel::<S>(y, valid, sums[m][p]);
        }
    }
}
