//! Integers from zero with a scale and a bias.

use half::bf16;

use super::arithmetic::{LANES, ROUND, extremes, inverse, pack_pairs, sums, whole};
use super::search::Search;

/// Parts of the way from the middle to either end that a group of four bits may reach.
const REACHES: [f32; 3] = [1.0, 0.9, 0.8];

fn rounded((scale, bias): (f32, f32)) -> (f32, f32) {
    (bf16::from_f32(scale).to_f32(), bf16::from_f32(bias).to_f32())
}

/// A group of at most 64 weights; returns its scale and bias in bfloat16 precision.
pub(super) fn group(x: &[f32], bits: usize, search: Search, out: &mut [u8]) -> (f32, f32) {
    let top = ((1u32 << bits) - 1) as f32;
    let (low, high) = extremes(x);
    let range = rounded(((high - low) / top, low));
    let (scale, bias) = match search {
        Search::Range => range,
        Search::Error => {
            // With eight bits, candidates inside of the range gain nothing over the fit to the range's integers.
            let reaches = if bits == 4 { &REACHES[..] } else { &REACHES[..1] };
            let fitted = rounded(fit(x, (low, high), top, reaches));
            if error(x, fitted, top) < error(x, range, top) { fitted } else { range }
        }
    };
    let (inverse, mut integers) = (inverse(scale), [0u8; 8 * LANES]);
    for (&x, integer) in x.iter().zip(&mut integers) {
        *integer = (whole((x - bias) * inverse, 0.0, top) + ROUND).to_bits() as u8;
    }
    let integers = &integers[..x.len().min(8 * LANES)];
    if bits == 4 {
        pack_pairs(integers, out)
    } else {
        out.copy_from_slice(integers)
    }
    (scale, bias)
}

fn error(x: &[f32], (scale, bias): (f32, f32), top: f32) -> f32 {
    let inverse = inverse(scale);
    let [error] = sums(x, |x| {
        let e = x - (whole((x - bias) * inverse, 0.0, top) * scale + bias);
        [e * e]
    });
    error
}

/// The line through (q, x) that fits best among the integers that candidates for the ends give.
fn fit(x: &[f32], (low, high): (f32, f32), top: f32, reaches: &[f32]) -> (f32, f32) {
    let (n, middle, reach) = (x.len() as f32, 0.5 * (low + high), 0.5 * (high - low));
    let [sum] = sums(x, |x| [x - middle]);
    let (mut most, mut best) = (0.0, ((high - low) / top, low));
    for (down, up) in reaches.iter().flat_map(|down| reaches.iter().map(move |up| (down * reach, up * reach))) {
        let inverse = inverse((down + up) / top);
        let [q, qq, qx] = sums(x, |x| {
            let x = x - middle;
            let q = whole((x + down) * inverse, 0.0, top);
            [q, q * q, q * x]
        });
        let (with, spread) = (qx - q * sum / n, qq - q * q / n);
        let explained = with * with / spread;
        if explained > most {
            let scale = with / spread;
            (most, best) = (explained, (scale, middle + (sum - scale * q) / n));
        }
    }
    best
}
