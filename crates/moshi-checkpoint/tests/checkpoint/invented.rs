//! Weights from nothing.

use moshi_checkpoint::{Invented, LmConfig, Numbers, lm_tensors};
use moshi_nn::{WeightData, WeightSource};

fn small() -> LmConfig {
    LmConfig { dim: 128, num_heads: 2, num_layers: 3, text_card: 50, text_card_out: 50, ..LmConfig::moshi_7b() }
}

#[test]
fn every_tensor_of_a_model_is_there_in_every_format() {
    let config = small();
    for name in Numbers::names() {
        let numbers = name.parse().unwrap();
        let weights = Invented::lm(&config, numbers, 1);
        for spec in lm_tensors(&config) {
            if let [rows, cols] = spec.shape[..] {
                let matrix = weights.matrix(&spec.name, rows, cols).unwrap();
                let values = matrix.to_f32().unwrap();
                let length = values.iter().map(|x| x * x).sum::<f32>() / rows as f32;
                assert!((0.5..2.0).contains(&length), "{name} {}: mean square of rows {length}", spec.name);
            } else {
                assert!(weights.vector(&spec.name, &spec.shape).unwrap().iter().all(|x| x.is_finite()));
            }
        }
        assert!(weights.matrix("transformer.layers.3.gating.linear_in.weight", 1, 1).is_err());
        assert!(weights.matrix("text_linear.weight", 1, 128).is_err());
    }
}

#[test]
fn q4_is_symmetric_with_half_precision_scales_and_layers_differ() {
    let weights = Invented::lm(&small(), Numbers::Q4, 1);
    let of = |layer: usize| {
        let name = format!("transformer.layers.{layer}.self_attn.out_projs.0.weight");
        let matrix = weights.matrix(&name, 128, 128).unwrap();
        let WeightData::Grouped(g) = matrix.data() else { panic!("{matrix:?}") };
        assert!(g.scales.iter().zip(&*g.biases).all(|(s, b)| *b == -8.0 * s));
        assert!(g.scales.iter().all(|s| half::f16::from_f32(*s).to_f32() == *s));
        matrix.to_f32().unwrap()
    };
    assert_ne!(of(0), of(1));
    assert_eq!(of(2), of(2));
}
