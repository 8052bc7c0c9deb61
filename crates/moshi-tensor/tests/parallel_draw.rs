//! A machine of many threads draws the same tokens, whatever its workgroups' sizes and the shapes of its sums.
//!
//! What follows is written as a kernel would be, from the definition in [`moshi_tensor::sample`]: integers of 32 bits
//! alone, no multiplication wider than 16 by 16 bits, work cut into chunks that are joined in any order.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use moshi_tensor::draw::SampleScratch;
use moshi_tensor::likelihood::{FULL, LOWEST, Scale, likelihood, order_key};
use moshi_tensor::philox::token_word;
use moshi_tensor::sample::{Draw, DrawRule, RowSampler, RowSampling, SamplingParams, SilentTokens};
use proptest::prelude::*;

/// A sum of 64 bits in two words, the lower one first.
type Sum = [u32; 2];

fn add(a: Sum, b: Sum) -> Sum {
    let low = a[0].wrapping_add(b[0]);
    [low, a[1].wrapping_add(b[1]).wrapping_add(u32::from(low < b[0]))]
}

fn less(a: Sum, b: Sum) -> bool {
    a[1] < b[1] || (a[1] == b[1] && a[0] < b[0])
}

/// A product of 32 by 32 bits from four of 16 by 16.
fn product(a: u32, b: u32) -> Sum {
    let (a0, a1, b0, b1) = (a & 0xffff, a >> 16, b & 0xffff, b >> 16);
    let middle = add([a0 * b1, 0], [a1 * b0, 0]);
    add([a0 * b0, a1 * b1], [middle[0] << 16, middle[1] << 16 | middle[0] >> 16])
}

/// The whole part of `total * fraction / 2^32`, and whether something is behind the point.
fn share(total: Sum, fraction: u32) -> (Sum, bool) {
    let low = product(total[0], fraction);
    (add(product(total[1], fraction), [low[1], 0]), low[0] != 0)
}

/// The likelihood of a key: the definition's numbers in 32 bits.
fn likelihood32(key: u32, largest: u32, scale: Scale) -> u32 {
    if key == largest || key == LOWEST {
        return if key == largest { FULL } else { 0 };
    }
    let parts = |key: u32| {
        let bits = if key >> 31 == 0 { !key } else { key ^ FULL };
        let exponent = (bits >> 23) & 255;
        let mantissa = (bits & 0x7f_ffff) | if exponent == 0 { 0 } else { 0x80_0000 };
        (key >> 31 == 0, exponent.max(1), mantissa << 6)
    };
    let ((below_0, e0, m0), (below_1, e1, m1)) = (parts(largest), parts(key));
    let exponent = e0.max(e1);
    let (size_0, size_1) = (m0 >> (exponent - e0).min(31), m1 >> (exponent - e1).min(31));
    let apart = match (below_0, below_1) {
        (false, false) => size_0 - size_1,
        (false, true) => size_0 + size_1,
        _ => size_1 - size_0,
    };
    let zeros = apart.leading_zeros();
    let down = 129 + zeros as i32 - exponent as i32 - scale.exponent;
    let [_, upper] = product(apart << zeros, scale.mantissa);
    let halvings = if down > 31 { 0 } else { upper >> down.max(0) };
    if down < 0 || halvings >> 31 == 1 {
        return 0;
    }
    let (whole, x) = (halvings >> 26, halvings << 6);
    let below = |c: u32, q: u32| c - product(x, q)[1];
    let q = below(41_142_264, below(5_475_002, 468_251));
    let q = below(2_977_043_973, below(1_031_755_804, below(238_330_987, q)));
    (FULL - ((product(x, q)[1] + 1) >> 1)) >> whole
}

/// Threads in workgroups, and in which order groups and pairs are joined.
struct Machine {
    group: usize,
    shuffle: u32,
}

impl Machine {
    /// Joins values in a tree of a shape drawn from the seed.
    fn reduce<T: Copy>(&self, mut values: Vec<T>, join: impl Fn(T, T) -> T) -> T {
        let mut at = self.shuffle;
        while values.len() > 1 {
            at = at.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            let (a, b) = (values.swap_remove(at as usize % values.len()), (at >> 7) as usize);
            let b = b % values.len();
            values[b] = join(a, values[b]);
        }
        values[0]
    }

    /// The sum of every group's own sum.
    fn sum(&self, values: &[Sum]) -> Sum {
        self.reduce(values.chunks(self.group).map(|group| self.reduce(group.to_vec(), add)).collect(), add)
    }

    /// Inclusive sums: groups for themselves, in doubling strides, then shifted by the groups before.
    fn scan(&self, values: &[Sum]) -> Vec<Sum> {
        let (mut sums, mut before) = (Vec::new(), [0, 0]);
        for group in values.chunks(self.group) {
            let (mut own, mut stride) = (group.to_vec(), 1);
            while stride < own.len() {
                own = (0..own.len()).map(|i| if i < stride { own[i] } else { add(own[i], own[i - stride]) }).collect();
                stride *= 2;
            }
            sums.extend(own.iter().map(|&sum| add(sum, before)));
            before = *sums.last().unwrap();
        }
        sums
    }

    /// Which tokens stay when, in the order, the sum of weights reaches `enough`: radix selection by eight bits.
    ///
    /// With every weight 1 and `enough` k, it is `top_k`.
    fn select(&self, keys: &[u32], weights: &[Sum], enough: Sum) -> Vec<bool> {
        let (mut prefix, mut above) = (0u32, [0, 0]);
        for shift in [24, 16, 8, 0] {
            let in_prefix = |key: u32| shift == 24 || key >> (shift + 8) == prefix;
            let bins: Vec<Sum> = (0..256)
                .map(|bin| {
                    let in_bin = |key: u32| in_prefix(key) && (key >> shift) & 255 == bin;
                    let of_bin = |(&key, &weight): (&u32, &Sum)| if in_bin(key) { weight } else { [0, 0] };
                    self.sum(&keys.iter().zip(weights).map(of_bin).collect::<Vec<_>>())
                })
                .collect();
            let mut bin = 255;
            while bin > 0 && less(add(above, bins[bin]), enough) {
                above = add(above, bins[bin]);
                bin -= 1;
            }
            prefix = prefix << 8 | bin as u32;
        }
        // Equals stay while those before them have not reached it.
        let equal = keys.iter().zip(weights).map(|(&key, &weight)| if key == prefix { weight } else { [0, 0] });
        let equal: Vec<Sum> = equal.collect();
        let up_to = self.scan(&equal);
        let stays = |i: usize| {
            let before = if i == 0 { [0, 0] } else { up_to[i - 1] };
            keys[i] > prefix || (keys[i] == prefix && less(add(above, before), enough))
        };
        (0..keys.len()).map(stays).collect()
    }

    fn draw(&self, logits: &[f32], rule: &DrawRule, word: u32) -> usize {
        let keys: Vec<u32> = logits.iter().map(|&logit| order_key(logit)).collect();
        let largest = self.reduce(keys.clone(), u32::max);
        let Some(scale) = rule.scale else { return keys.iter().position(|&key| key == largest).unwrap() };
        let mut stay = vec![true; keys.len()];
        if rule.top_k > 0 && rule.top_k < keys.len() {
            stay = self.select(&keys, &vec![[1, 0]; keys.len()], [rule.top_k as u32, 0]);
        }
        let weights = |stay: &[bool]| -> Vec<Sum> {
            let weight = |(&key, &stays): (&u32, &bool)| [if stays { likelihood32(key, largest, scale) } else { 0 }, 0];
            keys.iter().zip(stay).map(weight).collect()
        };
        if rule.fraction > 0 {
            let (enough, more) = share(self.sum(&weights(&stay)), rule.fraction);
            let reach = self.select(&keys, &weights(&stay), add(enough, [u32::from(more), 0]));
            stay = stay.iter().zip(reach).map(|(&a, b)| a && b).collect();
        }
        let sums = self.scan(&weights(&stay));
        let (target, _) = share(*sums.last().unwrap(), word);
        sums.iter().position(|&sum| less(target, sum)).unwrap()
    }
}

/// Logits with many ties, zeros of both signs, minus infinities, numbers next to each other and far apart.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![
        6 => -12f32..12.0,
        3 => (-8i32..8).prop_map(|x| x as f32 / 2.0),
        1 => Just(-0.0), 1 => Just(f32::NEG_INFINITY), 1 => Just(f32::MIN_POSITIVE / 3.0),
        1 => (0u32..64).prop_map(|ulp| f32::from_bits(2f32.to_bits() + ulp)),
    ];
    prop::collection::vec(logit, 1..400).prop_filter("one is finite", |x| x.iter().any(|x| x.is_finite()))
}

fn stream() -> impl Strategy<Value = SamplingParams> {
    let top_p = prop_oneof![Just(1.0), 0.001f32..1.0, Just(1e-20)];
    (prop_oneof![0.05f32..3.0, Just(0.0), Just(1e-30), Just(1e30)], 0usize..300, top_p)
        .prop_map(|(temperature, top_k, top_p)| SamplingParams { temperature, top_k, top_p })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_shape_of_sums_draws_the_same_token(
        logits in logits(), text in stream(), seed: u64, position: u64, group in 1usize..70, shuffle: u32,
        pad_mult in -3f32..3.0, repetition_penalty in 0.5f32..2.0, spoken in prop::collection::vec(0i32..420, 0..20),
    ) {
        let params = RowSampling { seed, text, audio: text, pad_mult, repetition_penalty, repetition_context: 12 };
        let mut row = RowSampler::new(SilentTokens { padding: 3, end_padding: 0 });
        row.set(&params).unwrap();
        spoken.iter().for_each(|&token| row.remember(token));
        let machine = Machine { group, shuffle };
        let mut scratch = SampleScratch::new(logits.len());
        for stream in [0, 5] {
            let mut weighed = logits.clone();
            let rule = params.rule(stream);
            if stream == 0 {
                for token in row.recent().filter(|&token| token < logits.len()) {
                    let logit = logits[token];
                    weighed[token] = if logit > 0.0 { logit / rule.penalty } else { logit * rule.penalty };
                }
                weighed.iter_mut().skip(row.padding()).take(1).for_each(|padding| *padding += rule.pad);
            }
            let parallel = machine.draw(&weighed, &rule, token_word(seed, position, stream as u32));
            let drawn = row.clone().draw(&logits, Draw { position, stream, forced: None }, &mut scratch).unwrap();
            prop_assert_eq!(drawn as usize, parallel);
        }
    }

    #[test]
    fn likelihoods_need_no_more_than_32_bits(
        bits in prop::array::uniform2(any::<u32>()), near in 0u32..1 << 24, power in -148f32..127.9, usual: bool,
    ) {
        let numbers = bits.map(|bits| if usual { f32::from_bits(bits >> 7 | 0x3e00_0000) } else { f32::from_bits(bits) });
        prop_assume!(numbers.iter().all(|x| !x.is_nan()));
        let mut keys = numbers.map(order_key);
        keys.sort_unstable();
        let scale = Scale::of(power.exp2());
        for key in [keys[0], keys[1].saturating_sub(near).max(LOWEST), keys[1]] {
            prop_assert_eq!(likelihood32(key, keys[1], scale), likelihood(key, keys[1], scale));
        }
    }

    #[test]
    fn products_of_halves_are_products(a: u32, b: u32) {
        let [low, high] = product(a, b);
        prop_assert_eq!(u64::from(high) << 32 | u64::from(low), u64::from(a) * u64::from(b));
    }
}
