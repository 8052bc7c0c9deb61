//! Tokens drawn on the machine `host` are those of the processor.
#![allow(clippy::unwrap_used)] // a failure is the test's answer

use moshi_gpu::host::Host;
use moshi_gpu::sampling::OneRow;
use moshi_tensor::draw::SampleScratch;
use moshi_tensor::sample::{Draw, RowSampler, RowSampling, SamplingParams, SilentTokens};
use moshi_testkit::noise;

#[test]
fn tokens_are_those_of_the_definition() {
    let silent = SilentTokens { padding: 3, end_padding: 0 };
    let v = 77;
    for (case, (temperature, top_k, top_p)) in
        [(0.0, 0, 1.0), (0.8, 0, 1.0), (0.7, 25, 1.0), (1.0, 0, 0.6), (1.3, 20, 0.8), (0.01, 1, 0.5)]
            .into_iter()
            .enumerate()
    {
        let one = SamplingParams { temperature, top_k, top_p };
        let params = RowSampling {
            seed: 1 << 40 | case as u64,
            text: one,
            audio: one,
            pad_mult: 0.5,
            repetition_penalty: 1.3,
            repetition_context: 8,
        };
        let mut expected = RowSampler::new(silent);
        expected.set(&params).unwrap();
        let mut found = OneRow::new(Host::in_order(case as i32), &params, silent).unwrap();
        let mut scratch = SampleScratch::new(v);
        for position in 0..20u64 {
            // Rounded, so that many are equal.
            let logits: Vec<f32> = noise::signal(position, v).iter().map(|x| (x * 8.0).round() / 2.0).collect();
            let stream = (position % 3) as usize;
            let token = expected.draw(&logits, Draw { position, stream, forced: None }, &mut scratch).unwrap();
            assert_eq!(found.draw(&logits, position, stream).unwrap(), (token, 0), "case {case}, {position}");
        }
    }
}

#[test]
fn logits_that_are_no_numbers_are_a_fault() {
    let silent = SilentTokens { padding: 3, end_padding: 0 };
    for bad in [f32::NAN, f32::INFINITY] {
        let mut row = OneRow::new(Host::default(), &RowSampling::GREEDY, silent).unwrap();
        assert_eq!(row.draw(&[0.0, bad, 1.0], 0, 1).unwrap(), (-1, 2));
        assert_eq!(row.draw(&[0.0, f32::NEG_INFINITY, 1.0], 1, 1).unwrap(), (2, 0));
    }
}
