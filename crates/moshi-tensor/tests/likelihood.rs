//! Likelihoods in whole numbers against the exponential in f64, and the order of logits.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use moshi_tensor::likelihood::{FULL, HIGHEST, LOWEST, Scale, likelihood, order_key, share};
use proptest::prelude::*;

/// By which a distance of 1 is one halving.
const HALVES: Scale = Scale { mantissa: 1 << 31, exponent: 0 };

fn of(logit: f32, largest: f32, scale: Scale) -> u32 {
    likelihood(order_key(logit), order_key(largest), scale)
}

/// Every fraction of a halving: 2^26 distances, each the sum of a logit above and one below 0.
#[test]
fn the_exponential_is_right_and_falls_at_every_step() {
    let mut last = FULL + 1;
    for step in 0..1u32 << 26 {
        let (above, below) = ((step >> 6) as f32 / 1_048_576.0, (step & 63) as f32 / 67_108_864.0);
        let found = of(-below, above, HALVES);
        let exact = f64::from(FULL) * (-f64::from(step) / 67_108_864.0).exp2();
        assert!((f64::from(found) - exact).abs() <= exact / 268_435_456.0, "{found} for {exact} at {step} of 2^26");
        assert!(found < last, "{found} after {last} at {step} of 2^26");
        last = found;
    }
    assert!(last >= FULL / 2, "a whole halving is the next step");
    for halvings in 0..40 {
        assert_eq!(
            of(0.0, halvings as f32, HALVES),
            FULL.checked_shr(halvings).unwrap_or(0),
            "whole halvings are exact"
        );
    }
}

/// Not written down from this code: computed by another program, from the definition.
#[test]
fn known_likelihoods() {
    for (logit, largest, temperature, expected) in [
        (0.0, 0.0, 1.0, 0x8000_0000),
        (0.0, 1.0, 1.0, 0x2f16_ac70),
        (-1.5, 3.25, 0.7, 0x25_0573),
        (17.125, 17.5, 0.8, 0x5019_b0ca),
        (-40.0, -30.0, 2.5, 0x258_2ab7),
        (1e-3, 12.0, 1.0, 0x3397),
        (f32::NEG_INFINITY, -1e30, 1e38, 0),
        (-100.0, 0.0, 1.0, 0),
    ] {
        let found = of(logit, largest, Scale::of(temperature));
        assert_eq!(found, expected, "{found:#x} for {logit} below {largest} at temperature {temperature}");
    }
}

#[test]
fn temperatures_are_scales_from_the_smallest_to_the_largest() {
    for temperature in [f32::from_bits(1), f32::MIN_POSITIVE, 1e-3, 0.7, 1.0, std::f32::consts::LOG2_E, 10.0, f32::MAX]
    {
        let Scale { mantissa, exponent } = Scale::of(temperature);
        let scale = f64::from(mantissa) / f64::from(FULL) * f64::from(exponent).exp2();
        let exact = std::f64::consts::LOG2_E / f64::from(temperature);
        assert!(mantissa >= FULL && scale <= exact && exact - scale < exact / f64::from(FULL), "{temperature}");
    }
}

#[test]
fn keys_are_ordered_as_numbers_are() {
    let inf = f32::INFINITY;
    let ascending =
        [-inf, f32::MIN, -1.0, -f32::MIN_POSITIVE, -f32::from_bits(1), 0.0, f32::from_bits(1), 1.0, 1.5, inf];
    assert!(ascending.is_sorted_by(|&a, &b| order_key(a) < order_key(b)));
    assert_eq!(order_key(-0.0), order_key(0.0));
    assert_eq!((order_key(-inf), order_key(inf)), (LOWEST, HIGHEST));
    assert!(order_key(-f32::NAN) < LOWEST && order_key(f32::NAN) > HIGHEST);
}

/// A logit of any size a model may give, or of any at all.
fn any_logit() -> impl Strategy<Value = f32> {
    prop_oneof![8 => -60f32..60.0, 2 => -1f32..1.0, 1 => any::<f32>().prop_filter("a number", |x| x.is_finite())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn likelihoods_are_the_softmax_of_any_logits(a in any_logit(), b in any_logit(), power in -20f32..8.0) {
        let (logit, largest, temperature) = (a.min(b), a.max(b), power.exp2());
        let found = f64::from(of(logit, largest, Scale::of(temperature)));
        let exact = f64::from(FULL) * ((f64::from(logit) - f64::from(largest)) / f64::from(temperature)).exp();
        prop_assert!((found - exact).abs() <= exact / 8_388_608.0 + 1.0, "{} for {}", found, exact);
    }

    #[test]
    fn a_larger_logit_is_at_least_as_likely(largest in any_logit(), a in any_logit(), b in any_logit(), power in -140f32..127.0) {
        let scale = Scale::of(power.exp2());
        let (low, high) = (a.min(b).min(largest), a.max(b).min(largest));
        prop_assert!(of(low, largest, scale) <= of(high, largest, scale));
        prop_assert!(of(high, largest, scale) <= FULL);
    }

    #[test]
    fn neighbours_are_at_least_as_likely(largest in any_logit(), bits: u32, power in -140f32..127.0) {
        let (a, b) = (f32::from_bits(bits), f32::from_bits(bits.wrapping_add(1)));
        prop_assume!(a.is_finite() && b.is_finite());
        let largest = largest.max(a).max(b);
        let scale = Scale::of(power.exp2());
        prop_assert!(of(a.min(b), largest, scale) <= of(a.max(b), largest, scale));
    }

    #[test]
    fn shares_are_whole_parts_of_a_product(total in 0u64..1 << 63, fraction: u32) {
        let product = u128::from(total) * u128::from(fraction);
        prop_assert_eq!(share(total, fraction), ((product >> 32) as u64, product as u32 != 0));
    }
}
