//! Tokens of every machine: what is drawn from given logits is to the bit what `moshi_tensor::sample` defines.

use moshi_nn::backend::{Backend, Column, FREE, RowSampling, SamplingParams, SilentTokens};

use super::script::{Dice, vector};

const SILENT: SilentTokens = SilentTokens { padding: 3, end_padding: 0 };

/// An executor draws the tokens that the reference draws, with parameters of all kinds, from logits with ties, zeros of
/// both signs, masked tokens and very large numbers.
pub fn draws_the_tokens_of_the_reference<R: Backend, B: Backend>(reference: R, backend: B) {
    let expected = wild_draws(reference, 3, 2_000);
    assert!(!expected.contains(&-1), "none of these logits is damaged");
    for (i, (found, expected)) in wild_draws(backend, 3, 2_000).iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "draw {i}");
    }
}

fn wild_draws<B: Backend>(b: B, seed: u64, draws: usize) -> Vec<i32> {
    let mut dice = Dice::new(seed);
    let (mut sampler, mut rows) = (b.sampler(1, SILENT).unwrap(), b.rows(1, &[]).unwrap());
    let (mut free, mut out, mut status) = (b.ids(1).unwrap(), b.ids(1).unwrap(), b.ids(1).unwrap());
    b.upload_ids(&[FREE], &mut free).unwrap();
    let column = Column { index: 0, of: 1 };
    let draw = |draw: usize| {
        if draw.is_multiple_of(10) {
            b.set_sampling(&mut sampler, 0, &wild_parameters(&mut dice)).unwrap();
        }
        let (logits, stream) = (wild_logits(&mut dice), dice.below(3));
        b.put_rows(&mut rows, &[true], &[dice.below(1 << 40) as u64], 1).unwrap();
        let (v, logits) = (logits.len(), vector(&b, &logits));
        b.sample(&rows, &logits, v, stream, &mut sampler, &free, &mut out, column, &mut status).unwrap();
        let mut token = [0];
        b.download_ids(&out, &mut token).unwrap();
        token[0]
    };
    (0..draws).map(draw).collect()
}

fn wild_parameters(dice: &mut Dice) -> RowSampling {
    let stream = SamplingParams {
        temperature: [0.0, 0.3, 0.8, 1.0, 4.0, f32::from_bits(1), f32::MAX][dice.below(7)],
        top_k: [0, 1, 5, 40, 1000][dice.below(5)],
        top_p: [1.0, 0.999, 0.6, 0.1, 1e-20][dice.below(5)],
    };
    RowSampling {
        seed: dice.below(1 << 40) as u64,
        text: stream,
        audio: stream,
        pad_mult: [0.0, -2.0, 1.5][dice.below(3)],
        repetition_penalty: [1.0, 1.3, 0.7][dice.below(3)],
        repetition_context: 9,
    }
}

/// Up to 300 logits, the first of which is always finite.
fn wild_logits(dice: &mut Dice) -> Vec<f32> {
    let v = 1 + dice.below(300);
    let size = [1.0, 8.0, 60.0, 1e30][dice.below(4)];
    let mut logits: Vec<f32> = dice.signal(v).iter().map(|x| x * size).collect();
    for _ in 1..v / 2 {
        logits[1 + dice.below(v - 1)] = [logits[0], 0.0, -0.0, f32::NEG_INFINITY][dice.below(4)];
    }
    logits
}
