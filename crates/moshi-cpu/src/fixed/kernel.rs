//! The inner loops of fixed-point products: a tile of integer sums kept in registers while a block runs.
#![allow(unsafe_op_in_unsafe_fn)] // every function has the one precondition of `Part`: see `part`
#![allow(clippy::needless_range_loop)] // one index runs over several arrays of constant length

use super::dot::{Dot, Weights};
use crate::product::Layout;
use crate::simd::{LANES, Simd};

/// Panels that lie interleaved.
pub(super) const GROUP: usize = 4;
/// Bytes of a group's weights that stay in the second cache while several tiles pass over them.
const CACHED: usize = 256 << 10;
/// Most vectors of a tile.
const MOST_VECTORS: usize = 6;
/// How far ahead weights are asked for, in bytes.
const AHEAD: usize = 2 << 10;
/// With more vectors than this, weights are read once for several tiles, or arithmetic takes longer than reading.
const ASK_UP_TO: usize = 4;
/// Bytes that one request brings.
const LINE: usize = 64;

/// One part of a product, for the kernel of one instruction set and width.
pub(super) struct Part<'a> {
    /// As [`super::FixedMatrix`] says.
    pub weights: *const u8,
    /// Padded to whole panels, as is the bias.
    pub scales: *const f32,
    pub bias: *const f32,
    pub n: usize,
    pub k: usize,
    /// Strides in values, multiples of `block`.
    pub layout: &'a Layout<'a>,
    pub x: *const i16,
    pub x_scales: *const f32,
    pub block: usize,
    pub y: *mut f32,
    /// First and last group of panels to compute, the last not included.
    pub groups: (usize, usize),
    /// First and last vector (row index * columns + column) to compute, the last not included.
    pub vectors: (usize, usize),
}

/// Computes one part of a product.
///
/// # Safety
/// The instruction set of `D` is available; weights are packed with the width of `W`, `scales` and `bias` are as many
/// as there are outputs, padded; groups and vectors lie inside of the matrix and of the layout, whose vectors are whole
/// blocks inside of `x`, `x_scales` and `y`; nobody else uses the outputs.
#[inline(always)]
pub(super) unsafe fn part<D: Dot, W: Weights>(part: &Part<'_>) {
    let panels = part.n.div_ceil(LANES);
    for group in part.groups.0..part.groups.1 {
        let width = (panels - group * GROUP).min(GROUP);
        let mut done = 0;
        while done < width {
            let (first, left) = (group * GROUP + done, width - done);
            if left >= 4 && D::PANELS >= 4 {
                stripe::<D, W, 4>(part, first, width);
                done += 4;
            } else if left >= 2 {
                stripe::<D, W, 2>(part, first, width);
                done += 2;
            } else {
                stripe::<D, W, 1>(part, first, width);
                done += 1;
            }
        }
    }
}

/// How many vectors a tile of `p` panels may have.
const fn most_vectors<D: Dot>(p: usize) -> usize {
    let most = D::SUMS / p;
    if most < MOST_VECTORS { most } else { MOST_VECTORS }
}

/// `P` panels of a group, and which inputs to sum over.
#[derive(Clone, Copy)]
struct Panels {
    /// Those of the first input and panel.
    weights: *const u8,
    /// Bytes from one pair of inputs to the next.
    pitch: usize,
    /// Blocks to sum over.
    blocks: usize,
    /// Pairs of inputs in a block.
    pairs: usize,
    /// Outputs that exist: the last panel may have fewer than sixteen.
    valid: usize,
    scales: *const f32,
    bias: *const f32,
    /// Nothing has been summed yet: else the output holds the sum over earlier inputs.
    first: bool,
    /// After this, everything has been summed.
    last: bool,
}

/// All vectors of the part with `P` panels from `panel` on, of a group of `width`.
#[inline(always)]
unsafe fn stripe<D: Dot, W: Weights, const P: usize>(part: &Part<'_>, panel: usize, width: usize) {
    let taps = part.layout.taps;
    let pitch = width * 2 * LANES * W::BYTES;
    let group = panel / GROUP * GROUP;
    let weights = part.weights.add(group * LANES * part.k * W::BYTES + (panel - group) * 2 * LANES * W::BYTES);
    let blocks = taps.len / part.block;
    let most = (CACHED / (pitch * part.block / 2)).max(1);
    let length = if part.vectors.1 - part.vectors.0 > most_vectors::<D>(P) { most } else { blocks };
    for tap in 0..taps.count {
        let mut done = 0;
        while done < blocks {
            let count = length.min(blocks - done);
            let panels = Panels {
                weights: weights.add((tap * taps.len + done * part.block) / 2 * pitch),
                pitch,
                blocks: count,
                pairs: part.block / 2,
                valid: (part.n - panel * LANES).min(P * LANES),
                scales: part.scales.add(panel * LANES),
                bias: part.bias.add(panel * LANES),
                first: tap == 0 && done == 0,
                last: tap + 1 == taps.count && done + count == blocks,
            };
            tiles::<D, W, P>(part, &panels, tap * taps.distance + done * part.block, panel * LANES);
            done += count;
        }
    }
}

/// All vectors of the part, in tiles of nearly equal size.
#[inline(always)]
unsafe fn tiles<D: Dot, W: Weights, const P: usize>(part: &Part<'_>, panels: &Panels, x: usize, y: usize) {
    let mut first = part.vectors.0;
    let mut tiles = (part.vectors.1 - first).div_ceil(most_vectors::<D>(P));
    while tiles > 0 {
        let size = (part.vectors.1 - first).div_ceil(tiles);
        macro_rules! tile_of {
            ($($m:literal)*) => {
                match size {
                    $($m if $m <= most_vectors::<D>(P) => tile::<D, W, $m, P>(panels, &vectors::<$m>(part, first, x, y)),)*
                    _ => {}
                }
            };
        }
        tile_of!(1 2 3 4 5 6);
        first += size;
        tiles -= 1;
    }
}

/// Where the inputs, their scales and the outputs of `M` vectors begin.
struct Vectors<const M: usize> {
    x: [*const i16; M],
    scales: [*const f32; M],
    y: [*mut f32; M],
}

#[inline(always)]
unsafe fn vectors<const M: usize>(part: &Part<'_>, first: usize, x: usize, y: usize) -> Vectors<M> {
    let layout = part.layout;
    let (mut row, mut column) = (first / layout.columns, first % layout.columns);
    let mut vectors = Vectors { x: [part.x; M], scales: [part.x_scales; M], y: [part.y; M] };
    for m in 0..M {
        let session = *layout.rows.get_unchecked(row);
        let from = session * layout.x.row + column * layout.x.column + x;
        vectors.x[m] = part.x.add(from);
        vectors.scales[m] = part.x_scales.add(from / part.block);
        vectors.y[m] = part.y.add(session * layout.y.row + column * layout.y.column + y);
        column += 1;
        if column == layout.columns {
            (row, column) = (row + 1, 0);
        }
    }
    vectors
}

/// `M` vectors times `P` panels.
#[inline(always)]
unsafe fn tile<D: Dot, W: Weights, const M: usize, const P: usize>(panels: &Panels, vectors: &Vectors<M>) {
    let zero = <D::S as Simd>::splat(0.0);
    let mut sums = [[zero; P]; M];
    if !panels.first {
        for m in 0..M {
            for p in 0..P {
                sums[m][p] = get_panel::<D::S>(vectors.y[m].add(p * LANES), panels.valid.saturating_sub(p * LANES));
            }
        }
    }
    for block in 0..panels.blocks {
        let integers = block_sums::<D, W, M, P>(panels, vectors, block);
        for m in 0..M {
            let scale = <D::S as Simd>::splat(*vectors.scales[m].add(block));
            for p in 0..P {
                sums[m][p] = D::S::fma(D::to_float(integers[m][p]), scale, sums[m][p]);
            }
        }
    }
    for p in 0..P {
        let (scale, bias) = (D::S::load(panels.scales.add(p * LANES)), D::S::load(panels.bias.add(p * LANES)));
        for m in 0..M {
            let sum = if panels.last { D::S::fma(sums[m][p], scale, bias) } else { sums[m][p] };
            put_panel::<D::S>(vectors.y[m].add(p * LANES), panels.valid.saturating_sub(p * LANES), sum);
        }
    }
}

/// The exact sums of products over one block.
#[inline(always)]
unsafe fn block_sums<D: Dot, W: Weights, const M: usize, const P: usize>(
    panels: &Panels,
    vectors: &Vectors<M>,
    block: usize,
) -> [[D::I; P]; M] {
    let first = block * panels.pairs;
    let mut sums = [[D::zero(); P]; M];
    for pair in first..first + panels.pairs {
        let at = panels.weights.add(pair * panels.pitch);
        if M <= ASK_UP_TO {
            for line in (0..P * 2 * LANES * W::BYTES).step_by(LINE) {
                D::S::prefetch(at.wrapping_add(AHEAD + line));
            }
        }
        let mut weights = [D::pair(vectors.x[0]); P];
        for p in 0..P {
            weights[p] = W::load::<D>(at.add(p * 2 * LANES * W::BYTES));
        }
        for m in 0..M {
            let x = D::pair(vectors.x[m].add(2 * pair));
            for p in 0..P {
                sums[m][p] = D::add_products(sums[m][p], weights[p], x);
            }
        }
    }
    sums
}

/// Sixteen outputs, of which the first `valid` exist.
#[inline(always)]
unsafe fn get_panel<S: Simd>(y: *const f32, valid: usize) -> S::V {
    if valid >= LANES {
        return S::load(y);
    }
    let mut lanes = [0.0; LANES];
    for i in 0..valid {
        lanes[i] = *y.add(i);
    }
    S::load(lanes.as_ptr())
}

#[inline(always)]
unsafe fn put_panel<S: Simd>(y: *mut f32, valid: usize, v: S::V) {
    if valid >= LANES {
        return S::store(y, v);
    }
    let mut lanes = [0.0; LANES];
    S::store(lanes.as_mut_ptr(), v);
    for i in 0..valid {
        *y.add(i) = lanes[i];
    }
}
