//! The rules of recognition, synthesis, translation and role-play, as data: against the golden runs of the published
//! programs, and against their definitions. No model runs here.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

mod prompt;
mod script;
mod text_rule;
mod translation;
mod words;

use std::sync::Arc;

use moshi_lm::LmConfig;
use moshi_lm::spelling::Speller;
use moshi_testkit::Golden;
use serde_json::Value;

/// The tokenizer of a golden repository with `text_card` pieces.
fn speller(golden: Golden, text_card: usize) -> Arc<Speller> {
    let config = LmConfig { text_card, ..LmConfig::moshi_7b() };
    let bytes = std::fs::read(golden.tokenizer()).unwrap();
    Arc::new(Speller::from_bytes(golden.name(), &bytes, &config).unwrap())
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn integers(list: &Value) -> Vec<i32> {
    list.as_array().unwrap().iter().map(|number| number.as_i64().unwrap() as i32).collect()
}
