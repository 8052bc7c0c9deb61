//! The inner loops of products: a tile of outputs kept in registers while k runs.
#![allow(unsafe_op_in_unsafe_fn)] // every function has the one precondition of `Part`: see `part`
#![allow(clippy::needless_range_loop)] // one index runs over several arrays of constant length

use super::format::{Format, Groups};
use super::part::Part;
use crate::simd::{LANES, Simd};

/// Bytes of weights of one panel group that stay in the second cache while several blocks of vectors pass over them.
const CACHED: usize = 256 << 10;
/// How far ahead weights are asked for, in bytes of each panel.
const AHEAD: usize = 128;
/// Most vectors of a tile: more pointers than this do not fit the general registers.
const MOST_VECTORS: usize = 8;

/// Computes one part of a product.
///
/// # Safety
/// The instruction set of `S` is available; `weights` are `ceil(n / 16) * k * 16` values of `F` with their
/// groups, `bias` and `scales` are null or as many as there are outputs, padded; panels and vectors lie inside of the matrix and of the layout, whose vectors lie
/// inside of `x` and `y`; nobody else uses the outputs.
#[inline(always)]
pub(crate) unsafe fn part<S: Simd, F: Format>(part: &Part<'_>) {
    let vectors = part.vectors.1 - part.vectors.0;
    let mut panel = part.panels.0;
    while panel < part.panels.1 && vectors > 0 {
        let left = part.panels.1 - panel;
        let fits = |p: usize| p <= left && most_vectors::<S>(p) >= vectors.min(6);
        if fits(4) {
            group::<S, F, 4>(part, panel);
            panel += 4;
        } else if fits(2) {
            group::<S, F, 2>(part, panel);
            panel += 2;
        } else {
            group::<S, F, 1>(part, panel);
            panel += 1;
        }
    }
}

/// How many vectors a tile of `p` panels may have.
const fn most_vectors<S: Simd>(p: usize) -> usize {
    let most = if p == 1 { S::SUMS } else { S::SUMS_OF_PANELS / p };
    if most < MOST_VECTORS { most } else { MOST_VECTORS }
}

/// What the sums of a tile start from.
#[derive(Clone, Copy)]
enum Start {
    Zero,
    Bias(*const f32),
    /// What the output holds: the sum over earlier k.
    Output,
}

/// `P` panels side by side.
#[derive(Clone, Copy)]
struct Panels {
    weights: *const u8,
    /// Bytes from one panel to the next.
    distance: usize,
    /// The first input to sum over.
    first: usize,
    /// Inputs to sum over.
    k: usize,
    /// Those of the first panel.
    groups: Groups,
    /// Outputs that exist: the last panel may have fewer than sixteen.
    valid: usize,
    start: Start,
    end: End,
}

/// What becomes of the sums of a tile.
#[derive(Clone, Copy)]
enum End {
    /// The output, or what later k are added to.
    Sum,
    /// The output is this times the sum, plus a bias.
    Scaled { scales: *const f32, bias: *const f32 },
}

/// All vectors of the part with `P` panels from `panel` on.
#[inline(always)]
unsafe fn group<S: Simd, F: Format, const P: usize>(part: &Part<'_>, panel: usize) {
    let most = most_vectors::<S>(P);
    let vectors = part.vectors.1 - part.vectors.0;
    let taps = part.layout.taps;
    let cached = CACHED / (P * F::BYTES);
    let length = if vectors > most { cached } else { taps.len };
    let weights = part.weights.add(panel * F::BYTES * part.k);
    // An offset of null is never followed.
    let bias = part.bias.wrapping_add(panel * LANES);
    let scaled = !part.scales.is_null();
    let mut start = if part.bias.is_null() || scaled { Start::Zero } else { Start::Bias(bias) };
    let bias = if part.bias.is_null() { part.bias } else { bias };
    let valid = (part.n - panel * LANES).min(P * LANES);
    let groups = part.groups.at(panel, 0);
    for tap in 0..taps.count {
        let mut done = 0;
        // An empty sum still writes its start.
        while done < taps.len || (tap == 0 && done == 0 && taps.len == 0) {
            let k = length.min(taps.len - done);
            let first = tap * taps.len + done;
            let weights = weights.add(first * F::BYTES);
            let last = (tap + 1 == taps.count || taps.len == 0) && done + k == taps.len;
            let end = match scaled && last {
                true => End::Scaled { scales: part.scales.add(panel * LANES), bias },
                false => End::Sum,
            };
            let panels = Panels { weights, distance: part.k * F::BYTES, first, k, groups, valid, start, end };
            blocks::<S, F, P>(part, &panels, panel, tap * taps.distance + done);
            start = Start::Output;
            done += k.max(1);
        }
    }
}

/// All vectors of the part, in blocks of nearly equal size.
#[inline(always)]
unsafe fn blocks<S: Simd, F: Format, const P: usize>(part: &Part<'_>, panels: &Panels, panel: usize, x: usize) {
    let most = most_vectors::<S>(P);
    let mut first = part.vectors.0;
    let mut blocks = (part.vectors.1 - first).div_ceil(most);
    while blocks > 0 {
        let size = (part.vectors.1 - first).div_ceil(blocks);
        macro_rules! tile_of {
            ($($m:literal)*) => {
                match size {
                    $($m if $m <= most_vectors::<S>(P) => {
                        let (xs, ys) = vectors::<$m>(part, first, x, panel * LANES);
                        tile::<S, F, $m, P>(panels, xs, ys);
                    })*
                    _ => {}
                }
            };
        }
        tile_of!(1 2 3 4 5 6 7 8);
        first += size;
        blocks -= 1;
    }
}

/// Where the inputs and outputs of `M` vectors from `first` on begin.
#[inline(always)]
unsafe fn vectors<const M: usize>(
    part: &Part<'_>,
    first: usize,
    x: usize,
    y: usize,
) -> ([*const f32; M], [*mut f32; M]) {
    let layout = part.layout;
    let (mut row, mut column) = (first / layout.columns, first % layout.columns);
    let (mut xs, mut ys) = ([part.x; M], [part.y; M]);
    for m in 0..M {
        let session = *layout.rows.get_unchecked(row);
        xs[m] = part.x.add(session * layout.x.row + column * layout.x.column + x);
        ys[m] = part.y.add(session * layout.y.row + column * layout.y.column + y);
        column += 1;
        if column == layout.columns {
            (row, column) = (row + 1, 0);
        }
    }
    (xs, ys)
}

/// `M` vectors times `P` panels.
#[inline(always)]
unsafe fn tile<S: Simd, F: Format, const M: usize, const P: usize>(
    panels: &Panels,
    xs: [*const f32; M],
    ys: [*mut f32; M],
) {
    /// Inputs a turn: hides the loop's own instructions where there are few sums.
    const TURN: usize = 4;
    let mut sums = begin::<S, M, P>(panels.start, panels.valid, ys);
    let mut k = 0;
    if M * P <= 8 {
        while k + TURN <= panels.k {
            for i in 0..TURN {
                add_input::<S, F, M, P>(panels, xs, k + i, M <= 4 && (i * F::BYTES).is_multiple_of(64), &mut sums);
            }
            k += TURN;
        }
    }
    while k < panels.k {
        add_input::<S, F, M, P>(panels, xs, k, M <= 4, &mut sums);
        k += 1;
    }
    if let End::Scaled { scales, bias } = panels.end {
        for p in 0..P {
            let scale = S::load(scales.add(p * LANES));
            let bias = if bias.is_null() { S::splat(0.0) } else { S::load(bias.add(p * LANES)) };
            for m in 0..M {
                sums[m][p] = S::fma(sums[m][p], scale, bias);
            }
        }
    }
    for m in 0..M {
        for p in 0..P {
            put_panel::<S>(ys[m].add(p * LANES), panels.valid.saturating_sub(p * LANES), sums[m][p]);
        }
    }
}

/// Adds input k of every vector to all sums.
#[inline(always)]
unsafe fn add_input<S: Simd, F: Format, const M: usize, const P: usize>(
    panels: &Panels,
    xs: [*const f32; M],
    k: usize,
    ask_ahead: bool,
    sums: &mut [[S::V; P]; M],
) {
    let mut weights = [S::splat(0.0); P];
    for p in 0..P {
        let at = panels.weights.add(p * panels.distance + k * F::BYTES);
        if ask_ahead {
            S::prefetch(at.wrapping_add(AHEAD));
        }
        weights[p] = F::load::<S>(at, panels.groups.at(p, panels.first + k));
    }
    for m in 0..M {
        let x = S::splat(*xs[m].add(k));
        for p in 0..P {
            sums[m][p] = S::fma(x, weights[p], sums[m][p]);
        }
    }
}

#[inline(always)]
unsafe fn begin<S: Simd, const M: usize, const P: usize>(
    start: Start,
    valid: usize,
    ys: [*mut f32; M],
) -> [[S::V; P]; M] {
    let mut sums = [[S::splat(0.0); P]; M];
    match start {
        Start::Zero => {}
        Start::Bias(bias) => {
            for p in 0..P {
                let b = S::load(bias.add(p * LANES));
                for m in 0..M {
                    sums[m][p] = b;
                }
            }
        }
        Start::Output => {
            for m in 0..M {
                for p in 0..P {
                    sums[m][p] = get_panel::<S>(ys[m].add(p * LANES), valid.saturating_sub(p * LANES));
                }
            }
        }
    }
    sums
}

/// Sixteen outputs, of which the first `valid` exist.
#[inline(always)]
unsafe fn get_panel<S: Simd>(y: *const f32, valid: usize) -> S::V {
    if valid >= LANES {
        S::load(y)
    } else {
        let mut lanes = [0.0; LANES];
        for i in 0..valid {
            lanes[i] = *y.add(i);
        }
        S::load(lanes.as_ptr())
    }
}

#[inline(always)]
pub(crate) unsafe fn put_panel<S: Simd>(y: *mut f32, valid: usize, v: S::V) {
    if valid >= LANES {
        S::store(y, v);
    } else {
        let mut lanes = [0.0; LANES];
        S::store(lanes.as_mut_ptr(), v);
        for i in 0..valid {
            *y.add(i) = lanes[i];
        }
    }
}
