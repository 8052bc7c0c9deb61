//! Integers around zero with a scale alone.

use half::f16;

use super::arithmetic::{LANES, ROUND, extremes, inverse, pack_pairs, sums, whole};
use super::search::Search;

/// What the largest weight of a group of bytes may be divided by: at most half a step from 127.
const Q8_DIVISORS: [f32; 5] = [127.0, 126.5, 126.75, 127.25, 127.5];
/// What the largest weight of a group of four bits may be divided by. Its own sign is the side that reaches to -8.
const Q4_DIVISORS: [f32; 6] = [-8.0, -10.0, -9.0, -8.5, -7.5, -7.0];

fn half(scale: f32) -> f32 {
    f16::from_f32(scale).to_f32()
}

/// Squared error of `x` as multiples of `scale` from `low` to `high`.
fn error(x: &[f32], scale: f32, low: f32, high: f32) -> f32 {
    let inverse = inverse(scale);
    let [error] = sums(x, |x| {
        let e = x - whole(x * inverse, low, high) * scale;
        [e * e]
    });
    error
}

fn signed(x: &[f32], scale: f32, out: &mut [u8]) {
    let inverse = inverse(scale);
    for (&x, out) in x.iter().zip(out) {
        let y = x * inverse;
        let y = if y > -127.0 { y } else { -127.0 };
        // The lowest byte of a sum with `ROUND` is the whole number itself.
        *out = ((if y < 127.0 { y } else { 127.0 }) + ROUND).to_bits() as u8;
    }
}

/// A row of bytes; returns its scale.
pub(super) fn row(x: &[f32], out: &mut [u8]) -> f32 {
    let (low, high) = extremes(x);
    let scale = high.max(-low) / 127.0;
    signed(x, scale, out);
    scale
}

/// A group of bytes; returns its half-precision scale.
pub(super) fn q8(x: &[f32], search: Search, out: &mut [u8]) -> f32 {
    let (low, high) = extremes(x);
    let largest = high.max(-low);
    let mut best = half(largest / Q8_DIVISORS[0]);
    if search == Search::Error {
        let mut least = error(x, best, -127.0, 127.0);
        for divisor in &Q8_DIVISORS[1..] {
            let scale = half(largest / divisor);
            let error = error(x, scale, -127.0, 127.0);
            (best, least) = if error < least { (scale, error) } else { (best, least) };
        }
    }
    signed(x, best, out);
    best
}

/// A group of at most 64 weights of four bits; returns its half-precision scale.
pub(super) fn q4(x: &[f32], search: Search, out: &mut [u8]) -> f32 {
    let (low, high) = extremes(x);
    let extreme = if high > -low { high } else { low };
    let range = half(extreme / Q4_DIVISORS[0]);
    let scale = match search {
        Search::Range => range,
        Search::Error => {
            let fitted = half(fit(x, extreme));
            if error(x, fitted, -8.0, 7.0) < error(x, range, -8.0, 7.0) { fitted } else { range }
        }
    };
    let (inverse, mut integers) = (inverse(scale), [0u8; 8 * LANES]);
    for (&x, integer) in x.iter().zip(&mut integers) {
        *integer = (whole(x * inverse, -8.0, 7.0) + (8.0 + ROUND)).to_bits() as u8;
    }
    pack_pairs(&integers[..x.len().min(8 * LANES)], out);
    scale
}

/// The scale that fits best one of the candidates' integers: sum(q x) / sum(q q), whose error is
/// sum(x x) - sum(q x)^2 / sum(q q).
fn fit(x: &[f32], extreme: f32) -> f32 {
    let (mut most, mut best) = (0.0, 0.0);
    for divisor in Q4_DIVISORS {
        let inverse = inverse(extreme / divisor);
        let [qx, qq] = sums(x, |x| {
            let q = whole(x * inverse, -8.0, 7.0);
            [q * x, q * q]
        });
        let explained = qx * qx / qq;
        (most, best) = if explained > most { (explained, qx / qq) } else { (most, best) };
    }
    best
}
