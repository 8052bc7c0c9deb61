//! One query over the keys and values of its head, on any instruction set.
#![allow(unsafe_op_in_unsafe_fn)] // every function has the one precondition of `attend`
#![allow(clippy::needless_range_loop)] // one index runs over several arrays of constant length

use crate::rowwise::kernel::exp_weights;
use crate::simd::{Element, LANES, Simd, put};

/// Keys of a head that are scored side by side, for as many independent sums.
const SIDE_BY_SIDE: usize = 4;

/// A query and what it sees.
pub(crate) struct Head<'a, E> {
    /// The query, scaled, padded with zeros to `width`.
    pub q: &'a [f32],
    /// `[slot][width]`.
    pub keys: &'a [E],
    /// `[slot][width]`.
    pub values: &'a [E],
    /// Channels of a head, padded to whole vectors.
    pub width: usize,
    /// First slot and number of the keys seen, oldest first: two runs, because the ring wraps.
    pub runs: [(usize, usize); 2],
}

/// `y = softmax(q K^T) V` over the head's runs. The order of all sums depends on the keys' age alone, not on where in
/// the ring they lie.
///
/// # Safety
/// The instruction set of `S` is available; runs lie inside of `keys` and `values`, which are as long as each other;
/// `q` has `width` values; `scores` has one value a key; `y` has at most `width` values.
#[inline(always)]
pub(crate) unsafe fn attend<S: Simd, E: Element>(head: &Head<'_, E>, scores: &mut [f32], y: &mut [f32]) {
    let mut filled = 0;
    for (first, count) in head.runs {
        score::<S, E>(head, first, &mut scores[filled..filled + count]);
        filled += count;
    }
    let scores = &mut scores[..filled];
    let scale = S::splat(1.0 / exp_weights::<S>(scores));
    let mut channel = 0;
    while channel < y.len() {
        let left = (y.len() - channel).div_ceil(LANES);
        let most = if S::SUMS >= 8 { 8 } else { 4 };
        channel += LANES
            * match left.min(most) {
                8.. => mix::<S, E, 8>(head, scores, channel, scale, y),
                4.. => mix::<S, E, 4>(head, scores, channel, scale, y),
                2.. => mix::<S, E, 2>(head, scores, channel, scale, y),
                _ => mix::<S, E, 1>(head, scores, channel, scale, y),
            };
    }
}

/// Products of the query with the keys of one run.
#[inline(always)]
unsafe fn score<S: Simd, E: Element>(head: &Head<'_, E>, first: usize, scores: &mut [f32]) {
    let mut done = 0;
    while done + SIDE_BY_SIDE <= scores.len() {
        let sums = dots::<S, E, SIDE_BY_SIDE>(head, first + done);
        scores[done..done + SIDE_BY_SIDE].copy_from_slice(&sums);
        done += SIDE_BY_SIDE;
    }
    while done < scores.len() {
        [scores[done]] = dots::<S, E, 1>(head, first + done);
        done += 1;
    }
}

#[inline(always)]
unsafe fn dots<S: Simd, E: Element, const N: usize>(head: &Head<'_, E>, first: usize) -> [f32; N] {
    let mut sums = [S::splat(0.0); N];
    let keys = head.keys.as_ptr().add(first * head.width);
    for c in (0..head.width).step_by(LANES) {
        let q = S::load(head.q.as_ptr().add(c));
        for n in 0..N {
            sums[n] = S::fma(q, E::load::<S>(keys.add(n * head.width + c)), sums[n]);
        }
    }
    let mut dots = [0.0; N];
    for n in 0..N {
        dots[n] = S::sum(sums[n]);
    }
    dots
}

/// The weighted sum of `N` vectors' worth of channels; gives `N`.
#[inline(always)]
unsafe fn mix<S: Simd, E: Element, const N: usize>(
    head: &Head<'_, E>,
    weights: &[f32],
    channel: usize,
    scale: S::V,
    y: &mut [f32],
) -> usize {
    let mut sums = [S::splat(0.0); N];
    let mut weights = weights.iter();
    for (first, count) in head.runs {
        let values = head.values.as_ptr().add(first * head.width + channel);
        for (slot, &weight) in weights.by_ref().take(count).enumerate() {
            let weight = S::splat(weight);
            for n in 0..N {
                sums[n] = S::fma(weight, E::load::<S>(values.add(slot * head.width + n * LANES)), sums[n]);
            }
        }
    }
    for n in 0..N {
        put::<S>(y, channel + n * LANES, S::mul(sums[n], scale));
    }
    N
}
