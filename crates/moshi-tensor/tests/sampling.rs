//! What draws are made of: their statistics, and what each parameter does to them.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use moshi_tensor::draw::SampleScratch;
use moshi_tensor::sample::{Draw, MAX_PENALTY_CONTEXT, RowSampler, RowSampling, SamplingParams, SilentTokens};
use proptest::prelude::*;

const SILENT: SilentTokens = SilentTokens { padding: 3, end_padding: 0 };

fn params(temperature: f32, top_k: usize, top_p: f32) -> RowSampling {
    let stream = SamplingParams { temperature, top_k, top_p };
    RowSampling { seed: 11, text: stream, audio: stream, ..RowSampling::GREEDY }
}

fn row(params: &RowSampling) -> RowSampler {
    let mut row = RowSampler::new(SILENT);
    row.set(params).unwrap();
    row
}

fn draw(position: u64, stream: usize) -> Draw {
    Draw { position, stream, forced: None }
}

fn counts(params: &RowSampling, logits: &[f32], draws: u64, stream: usize) -> Vec<u64> {
    let mut row = row(params);
    let mut scratch = SampleScratch::new(logits.len());
    let mut counts = vec![0; logits.len()];
    for position in 0..draws {
        counts[row.draw(logits, draw(position, stream), &mut scratch).unwrap() as usize] += 1;
    }
    counts
}

/// Pearson's statistic against `softmax(logits / temperature)`.
fn chi2(counts: &[u64], weights: &[f64]) -> f64 {
    let total: u64 = counts.iter().sum();
    let sum: f64 = weights.iter().sum();
    let expected = weights.iter().map(|w| w / sum * total as f64);
    counts.iter().zip(expected).filter(|(_, e)| *e > 0.0).map(|(&n, e)| (n as f64 - e).powi(2) / e).sum()
}

fn weights(logits: &[f32], temperature: f32) -> Vec<f64> {
    logits.iter().map(|&x| f64::from(x / temperature).exp()).collect()
}

const LOGITS: [f32; 8] = [0.3, -1.0, 1.7, 0.0, 2.1, -0.4, 1.1, 0.9];

#[test]
fn draws_follow_the_softmax_at_every_temperature() {
    for temperature in [0.5, 0.8, 1.0, 2.0] {
        let n = counts(&params(temperature, 0, 1.0), &LOGITS, 50_000, 1);
        let chi2 = chi2(&n, &weights(&LOGITS, temperature));
        assert!(chi2 < 24.3, "7 degrees of freedom at 0.001: {chi2} at temperature {temperature}");
    }
}

#[test]
fn top_k_and_top_p_draw_from_what_they_keep_alone() {
    let kept = |ids: &[usize]| {
        let all = weights(&LOGITS, 1.0);
        (0..8).map(|i| if ids.contains(&i) { all[i] } else { 0.0 }).collect::<Vec<_>>()
    };
    for (params, ids) in [
        (params(1.0, 3, 1.0), vec![4, 2, 6]),
        // Probabilities, largest first: 4 0.37, 2 0.25, 6 0.14, ...
        (params(1.0, 0, 0.5), vec![4, 2]),
        (params(1.0, 0, 0.7), vec![4, 2, 6]),
        (params(1.0, 4, 0.999), vec![4, 2, 6, 7]),
    ] {
        let n = counts(&params, &LOGITS, 20_000, 2);
        for (i, &n) in n.iter().enumerate() {
            assert_eq!(n > 0, ids.contains(&i), "token {i} with {params:?}");
        }
        assert!(chi2(&n, &kept(&ids)) < 16.3, "{params:?}");
    }
}

/// Penalty first, then temperature, padding, the four largest, and of these what makes up eight tenths.
#[test]
fn all_parameters_together_follow_the_softmax_of_what_they_leave() {
    let params = RowSampling { pad_mult: 0.6, repetition_penalty: 1.25, repetition_context: 2, ..params(0.8, 4, 0.8) };
    let mut spoken = row(&params);
    let mut scratch = SampleScratch::new(8);
    for token in [4, 6, 4] {
        spoken.draw(&LOGITS, Draw { position: 0, stream: 0, forced: Some(token) }, &mut scratch).unwrap();
    }
    let mut counts = [0; 8];
    for position in 0..50_000 {
        counts[spoken.clone().draw(&LOGITS, draw(position, 0), &mut scratch).unwrap() as usize] += 1;
    }
    let mut expected = LOGITS.map(f64::from);
    (expected[4], expected[6]) = (expected[4] / 1.25, expected[6] / 1.25);
    expected = expected.map(|logit| (logit / 0.8).exp());
    expected[3] *= 0.6f64.exp();
    // By likelihood: 2, 4, 7, 6, 3, ...; of the first four, the first two are 0.73 of all and the first three 0.87.
    for out in [0, 1, 3, 5, 6] {
        expected[out] = 0.0;
        assert_eq!(counts[out], 0, "token {out}");
    }
    assert!(chi2(&counts, &expected) < 13.8, "2 degrees of freedom at 0.001: {counts:?}");
}

#[test]
fn the_coldest_draw_is_greedy_and_the_hottest_is_even() {
    let coldest = counts(&params(f32::from_bits(1), 0, 1.0), &LOGITS, 200, 1);
    assert_eq!(coldest[4], 200);
    let near = [1.0, 1.0 + f32::EPSILON, 1.0];
    assert_eq!(counts(&params(f32::MIN_POSITIVE, 0, 1.0), &near, 200, 1), [0, 200, 0]);
    let mut logits = LOGITS;
    logits[5] = f32::NEG_INFINITY;
    let hottest = counts(&params(f32::MAX, 0, 1.0), &logits, 50_000, 1);
    let even: Vec<f64> = (0..8).map(|i| if i == 5 { 0.0 } else { 1.0 }).collect();
    assert_eq!(hottest[5], 0, "minus infinity is never drawn");
    assert!(chi2(&hottest, &even) < 22.5, "6 degrees of freedom at 0.001: {hottest:?}");
    let widest = [f32::MAX, f32::MIN, f32::MAX];
    assert_eq!(counts(&params(1.0, 0, 1.0), &widest, 200, 1)[1], 0);
    assert!(counts(&params(f32::MAX, 0, 1.0), &widest, 200, 1)[1] > 0, "e^-2 of the others");
}

#[test]
fn the_smallest_top_p_leaves_one_token_and_k_may_exceed_their_number() {
    for top_p in [f32::from_bits(1), 1e-30, 1e-9, 0.3] {
        assert_eq!(counts(&params(1.0, 0, top_p), &LOGITS, 200, 1)[4], 200, "{top_p}");
    }
    let ties = [1.0, 2.0, 2.0, 0.0];
    assert_eq!(counts(&params(1.0, 0, 1e-9), &ties, 200, 1), [0, 200, 0, 0], "the first of equals");
    assert_eq!(counts(&params(1.0, 1, 1.0), &ties, 200, 1), [0, 200, 0, 0]);
    assert_eq!(counts(&params(1.0, 0, 0.5), &[3.0, 3.0], 200, 1), [200, 0], "half is reached by half");
    let all = counts(&params(1.0, 0, 1.0), &LOGITS, 2_000, 1);
    for k in [8, 9, usize::MAX] {
        assert_eq!(counts(&params(1.0, k, 1.0), &LOGITS, 2_000, 1), all);
    }
    for logit in [-3e38, -0.0, 7.0] {
        assert_eq!(counts(&params(0.7, 5, 0.9), &[logit], 20, 0), [20]);
    }
}

#[test]
fn equal_logits_of_a_large_vocabulary_are_drawn_evenly() {
    let v = 48_000;
    for (stream, logits) in [(0, vec![1.5; v]), (1, (0..v).map(|i| if i % 2 == 0 { 0.0 } else { -0.0 }).collect())] {
        let params = params(0.9, 0, 1.0);
        let mut row = row(&params);
        let mut scratch = SampleScratch::new(v);
        let mut bins = [0; 24];
        for position in 0..4_800 {
            bins[row.draw(&logits, draw(position, stream), &mut scratch).unwrap() as usize / 2_000] += 1;
        }
        assert!(chi2(&bins, &[1.0; 24]) < 49.7, "23 degrees of freedom at 0.001: {bins:?}");
    }
}

/// What every machine must draw. Not written down from this code: computed by another program, from the definition.
#[test]
fn known_tokens() {
    let logits: Vec<f32> = (0..64).map(|i| ((i * 37) % 64) as f32 / 16.0 - 2.0).collect();
    let tokens = |params: &RowSampling, stream| -> Vec<i32> {
        let mut row = row(params);
        let mut scratch = SampleScratch::new(64);
        (0..12).map(|position| row.draw(&logits, draw(position << 30, stream), &mut scratch).unwrap()).collect()
    };
    assert_eq!(tokens(&params(1.0, 0, 1.0), 1), [50, 48, 3, 56, 12, 12, 24, 24, 62, 1, 12, 5]);
    assert_eq!(tokens(&params(0.8, 25, 1.0), 7), [8, 5, 31, 38, 57, 50, 15, 17, 57, 12, 57, 57]);
    assert_eq!(tokens(&params(0.5, 0, 0.75), 2), [43, 50, 24, 50, 57, 43, 38, 24, 38, 50, 43, 19]);
    let text = RowSampling {
        seed: u64::MAX,
        pad_mult: 4.0,
        repetition_penalty: 1.5,
        repetition_context: 8,
        ..params(0.7, 40, 0.9)
    };
    assert_eq!(tokens(&text, 0), [3, 10, 24, 3, 3, 19, 31, 29, 3, 3, 57, 3]);
}

#[test]
fn pad_mult_weighs_the_padding_token_of_text_only() {
    let params = RowSampling { pad_mult: 1.5, ..params(0.7, 0, 1.0) };
    let plain = weights(&LOGITS, 0.7);
    let mut padded = plain.clone();
    padded[3] *= 1.5f64.exp();
    assert!(chi2(&counts(&params, &LOGITS, 50_000, 0), &padded) < 24.3);
    assert!(chi2(&counts(&params, &LOGITS, 50_000, 1), &plain) < 24.3);
    let greedy = RowSampling { pad_mult: 2.2, ..RowSampling::GREEDY };
    assert_eq!(counts(&greedy, &LOGITS, 1, 0)[3], 1);
}

#[test]
fn spoken_words_are_penalised_once_silent_ones_never() {
    let spoken = RowSampling { repetition_penalty: 2.0, repetition_context: 2, ..RowSampling::GREEDY };
    let mut row = row(&spoken);
    let mut scratch = SampleScratch::new(8);
    let mut say = |row: &mut RowSampler, token: Option<i32>| {
        row.draw(
            &[3.0, 2.0, 2.5, 0.0, 1.9, 0.0, 0.0, 0.0],
            Draw { position: 0, stream: 0, forced: token },
            &mut scratch,
        )
    };
    assert_eq!(say(&mut row, None), Ok(0), "silent tokens are not remembered");
    assert_eq!(say(&mut row, Some(-1)), Ok(-1), "nothing is not remembered");
    assert_eq!(say(&mut row, None), Ok(0));
    let mut logits = [0.0, 2.0, 2.5, 0.0, 1.9, 0.0, 0.0, 0.0];
    let mut pick = |row: &mut RowSampler, logits: &[f32]| row.draw(logits, draw(0, 0), &mut scratch).unwrap();
    assert_eq!(pick(&mut row, &logits), 2);
    assert_eq!(pick(&mut row, &logits), 1, "2 was just said");
    assert_eq!(pick(&mut row, &logits), 4, "2 and 1 were just said");
    assert_eq!(pick(&mut row, &logits), 2, "only two are remembered");
    logits[2] = -0.1;
    logits[1] = -0.15;
    logits[4] = -0.25;
    for i in [0, 3, 5, 6, 7] {
        logits[i] = -9.0;
    }
    assert_eq!(pick(&mut row, &logits), 1, "2 falls to -0.2: negative logits are multiplied");
    let copy = row.clone();
    row.set(&spoken).unwrap();
    assert_eq!(pick(&mut row, &logits), 2, "setting parameters forgets");
    assert_eq!(pick(&mut copy.clone(), &logits), pick(&mut copy.clone(), &logits), "a copy remembers the same");
}

#[test]
fn the_penalty_memory_is_a_ring() {
    let all = RowSampling { repetition_penalty: 100.0, repetition_context: MAX_PENALTY_CONTEXT, ..RowSampling::GREEDY };
    let mut row = row(&all);
    let v = 600;
    let mut scratch = SampleScratch::new(v);
    let logits: Vec<f32> = (0..v).map(|i| if i < 4 { 0.0 } else { (v - i) as f32 + 1000.0 }).collect();
    let said: Vec<i32> =
        (0..1000).map(|position| row.draw(&logits, draw(position, 0), &mut scratch).unwrap()).collect();
    let cycle: Vec<i32> = (0..1000).map(|i| 4 + i % (MAX_PENALTY_CONTEXT as i32 + 1)).collect();
    assert_eq!(said, cycle, "a token comes back when exactly 256 others were said since");
}

#[test]
fn damaged_logits_are_refused_and_name_the_token() {
    let mut scratch = SampleScratch::new(4);
    for params in [RowSampling::GREEDY, params(0.8, 2, 1.0)] {
        let mut row = row(&params);
        let mut message = |logits: &[f32]| row.draw(logits, draw(0, 1), &mut scratch).unwrap_err().to_string();
        assert!(message(&[0.0, f32::NAN, 1.0, 2.0]).contains("NaN at token 1"));
        assert!(message(&[f32::INFINITY, 0.0]).contains("inf at token 0"));
        assert!(message(&[f32::NEG_INFINITY; 3]).contains("minus infinity for all of 3 tokens"));
        assert!(message(&[]).contains("all of 0 tokens"));
        assert_eq!(row.draw(&[f32::NEG_INFINITY, -5.0], draw(0, 1), &mut scratch), Ok(1));
    }
}

#[test]
fn parameters_out_of_range_are_refused_and_change_nothing() {
    let mut row = row(&params(0.5, 3, 0.9));
    let before = *row.params();
    let ok = RowSampling::GREEDY;
    for (bad, name) in [
        (params(-1.0, 0, 1.0), "temperature"),
        (params(f32::NAN, 0, 1.0), "temperature"),
        (params(1.0, 0, 0.0), "top_p"),
        (params(1.0, 0, 1.1), "top_p"),
        (RowSampling { pad_mult: f32::INFINITY, ..ok }, "pad_mult"),
        (RowSampling { repetition_penalty: 0.0, ..ok }, "repetition_penalty"),
        (RowSampling { repetition_context: 257, ..ok }, "repetition_context"),
    ] {
        assert!(row.set(&bad).unwrap_err().to_string().contains(name));
        assert_eq!(row.params(), &before);
    }
}

proptest! {
    #[test]
    fn a_draw_is_among_the_k_largest_and_greedy_is_the_first_of_them(
        logits in prop::collection::vec((-40i32..40).prop_map(|x| x as f32 / 4.0), 1..80),
        k in 1usize..20, temperature in 0.05f32..3.0, position: u64, stream in 0usize..40,
    ) {
        let mut scratch = SampleScratch::new(0);
        let token = row(&params(temperature, k, 1.0)).draw(&logits, draw(position, stream), &mut scratch).unwrap() as usize;
        let ahead = (0..logits.len())
            .filter(|&i| logits[i] > logits[token] || (logits[i] == logits[token] && i < token))
            .count();
        prop_assert!(ahead < k);
        let greedy = row(&RowSampling::GREEDY).draw(&logits, draw(position, stream), &mut scratch).unwrap() as usize;
        let one = row(&params(temperature, 1, 1.0)).draw(&logits, draw(position, stream), &mut scratch).unwrap() as usize;
        let first = (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        prop_assert_eq!(greedy, first);
        prop_assert_eq!(one, first);
    }

    #[test]
    fn more_top_p_only_adds_tokens(
        logits in prop::collection::vec(-6f32..6.0, 1..30), low in 0.01f32..1.0, high in 0.01f32..1.0,
    ) {
        let (low, high) = if low <= high { (low, high) } else { (high, low) };
        let support = |p| -> Vec<bool> {
            counts(&params(1.0, 0, p), &logits, 300, 1).iter().map(|&n| n > 0).collect()
        };
        // Seen among 300 draws is a subset of allowed; allowed by the sorted definition is what it must lie in.
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let w = weights(&logits, 1.0);
        let total: f64 = w.iter().sum();
        for p in [low, high] {
            let mut sum = 0.0;
            let mut allowed = vec![false; logits.len()];
            for &i in &order {
                allowed[i] = true;
                sum += w[i];
                if sum >= f64::from(p) * total * (1.0 + 1e-9) { break; }
            }
            prop_assert!(support(p).iter().zip(&allowed).all(|(seen, allowed)| !seen || *allowed));
        }
    }

    #[test]
    fn a_higher_logit_never_makes_its_token_less_likely(
        mut logits in prop::collection::vec(-3f32..3.0, 2..12), lift in 0.1f32..3.0, temperature in 0.3f32..2.0,
    ) {
        let params = params(temperature, 0, 1.0);
        let before = counts(&params, &logits, 400, 1)[0];
        logits[0] += lift;
        // The same uniform numbers, and token 0 owns the beginning of the interval: no draw of it is lost.
        prop_assert!(counts(&params, &logits, 400, 1)[0] >= before);
    }

    #[test]
    fn a_draw_depends_on_seed_position_and_stream_alone(seed: u64, position: u64, stream in 1usize..33) {
        let logits: Vec<f32> = (0..50).map(|i| (i as f32 * 0.37).sin()).collect();
        let params = RowSampling { seed, ..params(0.9, 25, 1.0) };
        let mut scratch = SampleScratch::new(50);
        let mut used = row(&params);
        for earlier in 0..5 {
            used.draw(&logits, draw(earlier, 1), &mut scratch).unwrap();
        }
        let fresh = row(&params).draw(&logits, draw(position, stream), &mut SampleScratch::new(0));
        prop_assert_eq!(used.draw(&logits, draw(position, stream), &mut scratch), fresh);
    }
}
