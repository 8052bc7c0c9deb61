//! Logits as integers: their order, and how likely each is beside the largest.
//!
//! Part of the definition in [`crate::sample`]: whoever draws a token follows these functions to the bit. They read the
//! bits of a logit and use 32-bit integers (and the upper half of their products) alone, so there is no rounding mode,
//! no contraction, no flushing to zero and no compiler's fast arithmetic that could make two machines differ.
//!
//! ```
//! use moshi_tensor::likelihood::{FULL, Scale, likelihood, order_key};
//! let scale = Scale::of(1.0);
//! let half = likelihood(order_key(2.0 - 0.693_147_2), order_key(2.0), scale);
//! assert!(half.abs_diff(FULL / 2) < 200);
//! ```

/// The likelihood of the largest logit: 2^31 stands for 1.
pub const FULL: u32 = 1 << 31;

/// The key of minus infinity, the lowest of a logit that is a number.
pub const LOWEST: u32 = !0xff80_0000;
/// The key of plus infinity.
pub const HIGHEST: u32 = 0xff80_0000;

const SIGN: u32 = 1 << 31;
const FRACTION_BITS: u32 = 23;
/// Bits below a logit's own that are kept when another one with a larger exponent is subtracted.
const GUARD_BITS: u32 = 6;
/// Bits behind the point of a distance in halvings.
const HALVING_BITS: u32 = 26;

/// A number that is larger for a larger logit, and equal for equal ones (minus zero equals zero).
///
/// Keys of NaN are below [`LOWEST`] or above [`HIGHEST`].
#[inline]
pub fn order_key(logit: f32) -> u32 {
    let bits = logit.to_bits();
    match bits {
        SIGN => SIGN,
        _ if bits & SIGN != 0 => !bits,
        _ => bits | SIGN,
    }
}

/// log2(e) / temperature, by which distances between logits become halvings of likelihood.
///
/// The host computes it once from the temperature, by one f64 division, and gives machines the two integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// The leading 32 bits: at least 2^31.
    pub mantissa: u32,
    /// The scale is `mantissa * 2^(exponent - 31)`.
    pub exponent: i32,
}

impl Scale {
    /// The scale of a temperature above 0.
    pub fn of(temperature: f32) -> Self {
        // No f32 above 0 is so small or large that the quotient is not a normal f64.
        let bits = (std::f64::consts::LOG2_E / f64::from(temperature)).to_bits();
        let exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
        Self { mantissa: SIGN | ((bits >> 21) as u32 & !SIGN), exponent }
    }
}

/// `2^31 * e^((logit - largest) / temperature)` for two keys, of which `largest` is not the smaller one.
///
/// Off by at most 2^-23 of itself and 1, and never larger for a smaller logit. Minus infinity has 0, unless it is the
/// largest itself; plus infinity (which only weighing can bring) counts as 2^128.
#[inline]
pub fn likelihood(key: u32, largest: u32, scale: Scale) -> u32 {
    match key {
        _ if key == largest => FULL,
        LOWEST => 0,
        _ => halvings(key, largest, scale).map_or(0, halved),
    }
}

/// The distance of two logits in halvings, with [`HALVING_BITS`] bits behind the point; none from 32 halvings on.
///
/// It is `floor(apart * scale.mantissa / 2^right)`. `apart` is the difference of the logits in units of the 30th bit of
/// the one with the larger exponent, to which the other one is cut. A machine without 64 bits shifts it up by its
/// leading zeros, and the upper half of the product down by `right - 32 + zeros`; where that is below 0 there is none.
#[inline]
fn halvings(key: u32, largest: u32, scale: Scale) -> Option<u32> {
    let (above, below) = (Parts::of(largest), Parts::of(key));
    let lift = below.exponent - above.exponent;
    let (above, below, exponent) = if lift <= 0 {
        (above.aligned(0), below.aligned(-lift), above.exponent)
    } else {
        (above.aligned(lift), below.aligned(0), below.exponent)
    };
    // From 1 (different logits are half a unit in the last place apart, if not more) to 2^31.
    let apart = above.wrapping_sub(below) as u32;
    let right = 161 - exponent - scale.exponent;
    let distance = (u64::from(apart) * u64::from(scale.mantissa)) >> right.clamp(0, 63);
    (right > 0 && distance >> (HALVING_BITS + 5) == 0).then_some(distance as u32)
}

/// `2^31 * 2^(-halvings / 2^26)` for less than 32 halvings, a polynomial of degree six for what is behind the point.
///
/// The coefficients are a minimax fit made for this file, relative error 2.1e-9; all is off by at most 2^-28 of itself
/// (before the point's halvings cut bits off).
#[inline]
fn halved(halvings: u32) -> u32 {
    let (whole, x) = (halvings >> HALVING_BITS, halvings << (32 - HALVING_BITS));
    let mut q = 468_251;
    for c in [5_475_002, 41_142_264, 238_330_987, 1_031_755_804, 2_977_043_973u32] {
        q = c - high_product(x, q);
    }
    (FULL - high_product(x, q).div_ceil(2)) >> whole
}

/// The upper 32 bits of a product of 64.
#[inline]
fn high_product(a: u32, b: u32) -> u32 {
    ((u64::from(a) * u64::from(b)) >> 32) as u32
}

/// Sign, exponent and mantissa of a logit: `mantissa * 2^(exponent - 150)`.
struct Parts {
    negative: bool,
    exponent: i32,
    mantissa: u32,
}

impl Parts {
    #[inline]
    fn of(key: u32) -> Self {
        let negative = key & SIGN == 0;
        let bits = if negative { !key } else { key & !SIGN };
        let exponent = (bits >> FRACTION_BITS) & 0xff;
        let (fraction, leading) = (bits & ((1 << FRACTION_BITS) - 1), u32::from(exponent != 0) << FRACTION_BITS);
        Self { negative, exponent: exponent.max(1) as i32, mantissa: leading | fraction }
    }

    /// In units of `2^(exponent + down - 156)`, towards zero; below 2^30.
    #[inline]
    fn aligned(&self, down: i32) -> i32 {
        let size = ((self.mantissa << GUARD_BITS) >> down.min(31)) as i32;
        if self.negative { -size } else { size }
    }
}

/// `floor(total * fraction / 2^32)` and whether that was less than the whole of it.
///
/// With `total` in two words of 32 bits it is two products of 64 bits: the upper half of the lower word's added to the
/// other word's.
#[inline]
pub fn share(total: u64, fraction: u32) -> (u64, bool) {
    let (high, low) = (total >> 32, total & u64::from(u32::MAX));
    let low = low * u64::from(fraction);
    (high * u64::from(fraction) + (low >> 32), low as u32 != 0)
}
