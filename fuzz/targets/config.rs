//! A model's `config.json` or `mimi_config.json`: what is read has tensors that can be listed, and is written the same.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use moshi_checkpoint::{MimiConfig, ModelConfig, lm_tensors, mimi_tensors};

/// Layers times weight sets up to which tensors are listed: the largest that are allowed take a while.
const FEW: usize = 2_048;

fuzz_target!(|bytes: &[u8]| {
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    if let Ok((config, _)) = MimiConfig::from_json(Path::new("mimi_config.json"), &json) {
        assert!(config.frame_samples() > 0 && !mimi_tensors(&config).is_empty());
        let again = MimiConfig::from_json(Path::new("again"), &config.to_json());
        assert_eq!(again.map(|(again, _)| again).ok(), Some(config));
    }
    if let Ok((config, _)) = ModelConfig::from_json(Path::new("config.json"), json) {
        let sets = config.lm.depformer.as_ref().map_or(0, |depth| depth.num_layers * depth.weight_sets());
        if sets + config.lm.num_layers <= FEW {
            assert!(!lm_tensors(&config.lm).is_empty());
        }
        let again = ModelConfig::from_json(Path::new("again"), config.to_json());
        assert_eq!(again.map(|(again, _)| again.lm).ok(), Some(config.lm));
    }
});
