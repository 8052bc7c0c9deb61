//! Exponential and error function on sixteen lanes.
//!
//! Coefficients are least-squares and Chebyshev fits made for this file in 40 digits; the errors stated are those of
//! the fits, to which single-precision rounding adds one or two units in the last place.
#![allow(unsafe_op_in_unsafe_fn)] // every function has the one precondition that `Simd` names

use crate::simd::Simd;

/// Below this, e^x is no longer a normal number and is taken as 0.
const EXP_LOWEST: f32 = -87.33;
/// Above this, 2^n would leave the range; e^88.02 is 1.7e38.
const EXP_HIGHEST: f32 = 88.02;
/// ln 2 in two parts: the first has few enough bits that its product with n is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -0.000_212_194_44;

/// x = n ln 2 + r with |r| <= ln 2 / 2: gives 2^n and e^r - 1 (relative error 8e-9).
#[inline(always)]
unsafe fn exp_parts<S: Simd>(x: S::V) -> (S::V, S::V) {
    // The operand order keeps values that are not numbers.
    let x = S::min(S::splat(EXP_HIGHEST), S::max(S::splat(EXP_LOWEST), x));
    let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
    let r = S::fma(n, S::splat(-LN_2_HIGH), x);
    let r = S::fma(n, S::splat(-LN_2_LOW), r);
    let mut q = S::splat(0.001_392_617_6);
    for c in [0.008_363_173, 0.041_666_556, 0.166_665_78, 0.5] {
        q = S::fma(q, r, S::splat(c));
    }
    (S::pow2(n), S::fma(S::mul(q, r), r, r))
}

/// e^x; 0 below -87.33, at most 1.7e38.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    let (power, fraction) = exp_parts::<S>(x);
    let y = S::fma(power, fraction, power);
    S::select_gt(S::splat(EXP_LOWEST), x, S::splat(0.0), y)
}

/// e^x - 1 for x <= 0, without cancellation near 0.
#[inline(always)]
pub(crate) unsafe fn exp_minus_1<S: Simd>(x: S::V) -> S::V {
    let (power, fraction) = exp_parts::<S>(x);
    S::fma(power, fraction, S::sub(power, S::splat(1.0)))
}

/// x / (1 + e^-x).
#[inline(always)]
pub(crate) unsafe fn silu<S: Simd>(x: S::V) -> S::V {
    let e = exp::<S>(S::sub(S::splat(0.0), x));
    S::div(x, S::add(S::splat(1.0), e))
}

/// The error function: a quotient of polynomials in x^2 on |x| <= 4 (relative error 2.6e-8), beyond which it is 1 in
/// single precision.
#[inline(always)]
#[allow(clippy::approx_constant)] // 1.1283791 is a coefficient of the fit, not quite 2 / sqrt(pi)
pub(crate) unsafe fn erf<S: Simd>(x: S::V) -> S::V {
    let x = S::min(S::splat(4.0), S::max(S::splat(-4.0), x));
    let u = S::mul(x, x);
    let mut p = S::splat(1.988_963e-6);
    for c in [2.840_922e-4, 3.865_223_4e-3, 5.304_480_3e-2, 1.931_321_9e-1, 1.128_379_1] {
        p = S::fma(p, u, S::splat(c));
    }
    let mut q = S::splat(3.741_824e-5);
    for c in [1.181_071e-3, 1.517_071_9e-2, 1.151_772_9e-1, 5.044_915_7e-1, 1.0] {
        q = S::fma(q, u, S::splat(c));
    }
    // Rounding may step past 1, which would show where 1 + erf(x) should vanish.
    S::min(S::splat(1.0), S::max(S::splat(-1.0), S::div(S::mul(x, p), q)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::portable::Portable;

    /// Largest error of `f` against `exact`, relative to `exact` plus `floor`.
    fn error(
        range: std::ops::Range<f64>,
        floor: f64,
        f: unsafe fn([f32; 16]) -> [f32; 16],
        exact: fn(f64) -> f64,
    ) -> f64 {
        let steps = 200_000;
        (0..steps).fold(0.0, |worst: f64, i| {
            let x = (range.start + (range.end - range.start) * f64::from(i) / f64::from(steps)) as f32;
            // SAFETY: the portable lanes ask for nothing.
            let y = f64::from(unsafe { f([x; 16]) }[0]);
            let expected = exact(f64::from(x));
            worst.max((y - expected).abs() / (expected.abs() + floor))
        })
    }

    /// erf by its series (below 3) and continued fraction.
    fn erf_exact(x: f64) -> f64 {
        if x < 0.0 {
            return -erf_exact(-x);
        }
        if x > 3.0 {
            let fraction = (1..60).rev().fold(x, |f, k| x + f64::from(k) / 2.0 / f);
            return 1.0 - (-x * x).exp() / fraction / std::f64::consts::PI.sqrt();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..100 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn exponentials_are_right_to_two_units_in_the_last_place() {
        assert!(error(-87.0..88.0, 0.0, exp::<Portable>, f64::exp) < 2.0 * 1.2e-7);
        assert!(error(-20.0..0.0, 0.0, exp_minus_1::<Portable>, f64::exp_m1) < 2.0 * 1.2e-7);
    }

    #[test]
    fn silu_and_erf_are_right_to_four_units_in_the_last_place() {
        assert!(error(-80.0..80.0, 1e-30, silu::<Portable>, |x| x / (1.0 + (-x).exp())) < 4.0 * 1.2e-7);
        assert!(error(-6.0..6.0, 1e-30, erf::<Portable>, erf_exact) < 4.0 * 1.2e-7);
    }

    #[test]
    fn infinities_and_not_a_number_pass_as_they_should() {
        // SAFETY: the portable lanes ask for nothing.
        unsafe {
            assert_eq!(exp::<Portable>([f32::NEG_INFINITY; 16])[0], 0.0);
            assert!(exp::<Portable>([f32::INFINITY; 16])[0] > 1e38);
            assert!(exp::<Portable>([f32::NAN; 16])[0].is_nan());
            assert_eq!(exp_minus_1::<Portable>([f32::NEG_INFINITY; 16])[0], -1.0);
            assert_eq!(erf::<Portable>([f32::INFINITY; 16])[0], 1.0);
        }
    }
}
