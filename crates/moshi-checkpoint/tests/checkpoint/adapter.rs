//! Adapters that are chosen for each conversation: what their files hold, and what is refused.

use std::path::Path;

use moshi_checkpoint::config::ModelConfig;
use moshi_checkpoint::{AdapterFile, LmConfig};
use moshi_nn::WeightSource;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{assert_says, golden};

fn config(name: &str) -> LmConfig {
    ModelConfig::read(&golden(name).join("config.json")).unwrap().0.lm
}

/// The golden adapter in a folder of its own, with another setting.
fn with(key: &str, value: Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = golden("tiny-lora/a");
    let text = std::fs::read(from.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&text).unwrap();
    config[key] = value;
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    std::fs::copy(from.join("lora.safetensors"), folder.path().join("lora.safetensors")).unwrap();
    folder
}

fn refusal(path: &Path, model: &LmConfig) -> String {
    AdapterFile::open(path, model).unwrap_err().to_string()
}

#[test]
fn an_adapter_gives_pairs_and_whole_tables() {
    let model = config("tiny-moshi");
    let a = AdapterFile::open(&golden("tiny-lora/a"), &model).unwrap();
    assert_eq!((a.matrices(), a.tables()), (93, 0));
    let pair = a.low_rank("transformer.layers.1.gating.linear_out.weight", 128, 352).unwrap().unwrap();
    assert_eq!((pair.down.rows(), pair.down.cols(), pair.up.rows(), pair.up.cols()), (4, 352, 128, 4));
    assert!(a.low_rank("out_norm.alpha", 1, 128).unwrap().is_none() && !a.has("text_emb.weight"));
    let c = AdapterFile::open(&golden("tiny-lora/c/lora.safetensors"), &model).unwrap();
    assert_eq!((c.matrices(), c.tables()), (93, 25));
    assert_eq!(c.shape("depformer_emb.6.weight"), Some(vec![65, 64]));
    assert_eq!(c.matrix("text_emb.weight", 57, 128).unwrap().rows(), 57);
}

#[test]
fn what_is_no_adapter_of_the_model_is_refused_with_what_is_wrong() {
    let model = config("tiny-moshi");
    let without = with("lora", json!(false));
    assert_says(&refusal(without.path(), &model), &["config.json", "lora", "lora_rank"]);
    let rank = with("lora_rank", json!(8));
    assert_says(&refusal(rank.path(), &model), &["lora.safetensors", "lora_A", "8"]);
    assert_says(&refusal(&golden("tiny-lora/a"), &config("tiny-variant")), &["lora.safetensors"]);
    assert_says(&refusal(&golden("tiny-lora"), &model), &["config.json"]);
    let named = with("lora_name", json!("elsewhere.safetensors"));
    assert_says(&refusal(named.path(), &model), &["elsewhere.safetensors"]);
}
