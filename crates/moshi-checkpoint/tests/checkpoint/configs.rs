//! What a configuration may say, and what is answered when it cannot be meant.

use std::path::Path;

use moshi_checkpoint::config::{Gating, ModelType, NormKind, PositionalEmbedding, TtsConfig};
use moshi_checkpoint::{Error, LmConfig, MimiConfig, ModelConfig};
use serde_json::{Value, json};

use crate::{assert_says, golden};

fn read(folder: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(folder).join("config.json")).unwrap()).unwrap()
}

fn parse(value: Value) -> Result<(ModelConfig, Vec<String>), Error> {
    ModelConfig::from_json(Path::new("some/config.json"), value)
}

/// The tiny model's configuration with some settings changed.
fn tiny_with(changes: Value) -> Value {
    let mut value = read("tiny-moshi");
    for (key, change) in changes.as_object().unwrap() {
        value[key] = change.clone();
    }
    value
}

#[test]
fn the_published_settings_are_those_of_moshi_7b() {
    let lm = LmConfig::moshi_7b();
    assert_eq!((lm.head_dim(), lm.hidden(), lm.max_delay()), (128, 11264, 1));
    let depth = lm.depformer.as_ref().unwrap();
    assert_eq!((depth.head_dim(), depth.hidden(0), depth.weight_sets(), depth.inputs()), (64, 2816, 8, 8));
    let weights: usize = moshi_checkpoint::lm_tensors(&lm).iter().map(|t| t.shape.iter().product::<usize>()).sum();
    assert!((7.6e9..7.8e9).contains(&(weights as f64)), "{weights}");
    assert_eq!(MimiConfig::published().frame_samples(), 1920);
}

#[test]
fn the_golden_configurations_are_read_without_warnings() {
    let (tiny, warnings) = parse(read("tiny-moshi")).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((tiny.model_type, tiny.lm.dim, tiny.lm.text_card_out), (ModelType::Moshi, 128, 56));
    assert_eq!((tiny.lm.norm, tiny.lm.gating), (NormKind::RmsF32, Gating::Silu));
    assert_eq!(tiny.lm_gen_config.temp, 0.0);
    assert_eq!(tiny.names.mimi.as_deref(), Some("mimi.safetensors"));
    let (variant, warnings) = parse(read("tiny-variant")).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(variant.lm.positional_embedding, PositionalEmbedding::RopeConcat);
    assert_eq!((variant.lm.kv_heads(), variant.lm.hidden(), variant.lm.max_delay()), (2, 512, 2));
    let depth = variant.lm.depformer.unwrap();
    assert_eq!((depth.kv_heads(), depth.low_rank_embeddings, depth.output_norm), (2, Some(16), Some(NormKind::RmsF32)));
    assert_eq!((variant.lm.extra_heads_num_heads, variant.lm.extra_heads_dim), (2, 6));
}

#[test]
fn a_configuration_survives_writing_and_reading() {
    let stt = {
        let mut lm = LmConfig { n_q: 32, dep_q: 0, depformer: None, ..LmConfig::moshi_7b() };
        lm.delays = vec![0; 33];
        lm.text_card_out = 32001;
        lm.existing_text_padding_id = 32000;
        lm
    };
    let largest = LmConfig {
        text_card: 1 << 20,
        text_card_out: (1 << 20) + 1,
        existing_text_padding_id: 1 << 20,
        ..LmConfig::moshi_7b()
    };
    let [tiny, variant] = ["tiny-moshi", "tiny-variant"].map(|folder| parse(read(folder)).unwrap().0.lm);
    let lms = [LmConfig::moshi_7b(), stt, largest, tiny, variant];
    let plain = lms.into_iter().map(|lm| ModelConfig { lm, ..ModelConfig::moshi_7b() });
    let family = ["tiny-hibiki", "tiny-hibiki/zero", "tiny-tts", "tiny-stt"].map(|folder| {
        let (config, warnings) = parse(read(folder)).unwrap();
        assert_eq!(warnings, Vec::<String>::new(), "{folder}");
        ModelConfig { raw: Value::Null, ..config }
    });
    for config in plain.chain(family) {
        let (read, warnings) = parse(config.to_json()).unwrap();
        assert_eq!(ModelConfig { raw: Value::Null, ..read }, config);
        assert_eq!(warnings, Vec::<String>::new());
    }
    let mimi = MimiConfig::published();
    let (read, warnings) = MimiConfig::from_json(Path::new("mimi.json"), &mimi.to_json()).unwrap();
    assert_eq!((read, warnings), (mimi, Vec::new()));
}

#[test]
fn conditions_and_what_a_synthesis_says_of_itself_are_typed() {
    let (tts, _) = parse(read("tiny-tts")).unwrap();
    assert_eq!(tts.tts_config, Some(TtsConfig { audio_delay: 0.64, second_stream_ahead: 2, max_speakers: 5 }));
    assert_eq!(tts.model_id.unwrap().voice_file("bob.wav"), "bob.wav.a1b2c3d4@240.safetensors");
    assert!((tts.lm_gen_config.temp_text - 0.6).abs() < 1e-6);
    let lm = tts.lm;
    assert!(lm.cross_attention && lm.demux_second_text_stream && !lm.end_reads_as_padding);
    assert_eq!(lm.text_card_out, 84, "null is the number of tokens");
    let names: Vec<_> = lm.conditioners.iter().map(|known| (known.name.as_str(), known.dim())).collect();
    assert_eq!(names, [("cfg", 16), ("control", 64), ("speaker_wavs", 32)]);
    assert_eq!((lm.fuser.sum, lm.fuser.cross_positions), (vec!["control".to_owned(), "cfg".to_owned()], Some(1.0)));
    let (zero, _) = parse(read("tiny-hibiki/zero")).unwrap();
    assert_eq!((zero.lm.existing_text_padding_id, zero.lm.text_card_out), (3, 72));
    assert!(zero.lm.end_reads_as_padding && zero.lm.conditioners.is_empty());
    let depth = zero.lm.depformer.unwrap();
    assert_eq!((depth.norm, depth.output_norm), (NormKind::RmsF32, Some(NormKind::Layer)));
    for (changes, parts) in [
        (json!({"conditioners": {"mood": {"type": "smell"}}}), ["conditioners.mood.type", "smell", "\"lut\""]),
        (json!({"conditioners": {"mood": {"type": "lut"}}}), ["conditioners.mood.lut", "missing", "options"]),
        (json!({"conditioners": {"voice": {"type": "tensor", "tensor": {"dim": 0}}}}), ["tensor.dim", "0", "from 1"]),
        (json!({"fuser": {"sum": ["mood"]}}), ["fuser.sum", "mood", "names of conditioners"]),
        (json!({"fuser": {"cross": "mood"}}), ["fuser.cross", "mood", "a list of texts"]),
    ] {
        assert_says(&parse(tiny_with(changes)).unwrap_err().to_string(), &parts);
    }
}

#[test]
fn contradictions_name_file_setting_found_and_expected() {
    for (changes, parts) in [
        (json!({"delays": [0, 0, 1]}), ["delays", "list of 3", "17 numbers"]),
        (json!({"dep_q": 17}), ["dep_q", "17", "at most n_q, which is 16"]),
        (json!({"num_heads": 5}), ["num_heads", "5", "divisor of dim, which is 128"]),
        (json!({"kv_repeat": 3}), ["kv_repeat", "3", "divisor of num_heads, which is 4"]),
        (json!({"depformer_num_heads": 7}), ["depformer_num_heads", "7", "divisor of depformer_dim, which is 64"]),
        (json!({"num_heads": 128}), ["num_heads", "128", "even width"]),
        (json!({"norm": "batch_norm"}), ["norm", "batch_norm", "\"rms_norm_f32\" or \"layer_norm\""]),
        (json!({"gating": "gelu"}), ["gating", "gelu", "\"silu\" or \"none\""]),
        (json!({"positional_embedding": "sin"}), ["positional_embedding", "sin", "rope_concat"]),
        (json!({"model_type": "whisper"}), ["model_type", "whisper", "hibiki"]),
        (json!({"dim": -128}), ["dim", "-128", "whole number from 1"]),
        (json!({"card": 0}), ["card", "0", "whole number from 1"]),
        (json!({"dim": 1e18}), ["dim", "1e+18", "to 1048576"]),
        (json!({"dim": u64::MAX}), ["dim", "18446744073709551615", "to 1048576"]),
        (json!({"num_layers": 1_000_000}), ["num_layers", "1000000", "to 512"]),
        (json!({"n_q": "16"}), ["n_q", "\"16\"", "whole number"]),
        (json!({"context": 2.5}), ["context", "2.5", "whole number"]),
        (json!({"hidden_scale": -1}), ["hidden_scale", "-1", "number from 0"]),
        (json!({"hidden_scale": 0.0}), ["hidden_scale", "0", "hidden units"]),
        (json!({"causal": false}), ["causal", "false", "true"]),
        (json!({"delays": [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, -1]}), ["delays[16]", "-1", "whole number"]),
        (json!({"depformer_dim_feedforward": [288, 288]}), ["depformer_dim_feedforward", "list of 2", "8 weight sets"]),
        (json!({"depformer_weights_per_step_schedule": [0, 1]}), ["schedule", "list of 2", "dep_q = 8"]),
        (json!({"depformer_weights_per_step_schedule": [0, 1, 2, 3, 2, 4, 5, 6]}), ["schedule[4]", "2", "3 or 4"]),
        (json!({"depformer_weights_per_step_schedule": [0, 1, 2, 3, 5, 5, 5, 5]}), ["schedule[4]", "5", "3 or 4"]),
        (json!({"depformer_weights_per_step_schedule": [1, 1, 1, 1, 1, 1, 1, 1]}), ["schedule[0]", "1", "0"]),
        (json!({"lm_gen_config": {"temp": "hot"}}), ["lm_gen_config.temp", "hot", "a number"]),
        (json!({"lm_gen_config": 3}), ["lm_gen_config", "3", "an object"]),
        (json!({"moshi_name": 7}), ["moshi_name", "7", "a text"]),
        (json!({"lora": true}), ["lora_rank", "missing", "rank"]),
    ] {
        let error = parse(tiny_with(changes.clone())).err().unwrap_or_else(|| panic!("accepted {changes}"));
        let message = error.to_string();
        assert_says(&message, &parts);
        assert_says(&message, &["some/config.json"]);
    }
}

#[test]
fn missing_sizes_are_errors_and_missing_habits_are_warnings() {
    let mut value = read("tiny-moshi");
    value.as_object_mut().unwrap().remove("num_heads");
    assert_says(&parse(value).unwrap_err().to_string(), &["num_heads", "missing"]);
    let mut value = read("tiny-moshi");
    value.as_object_mut().unwrap().remove("hidden_scale");
    let (config, warnings) = parse(value).unwrap();
    assert_eq!(config.lm.hidden(), 352);
    assert_eq!(warnings.len(), 1);
    assert_says(&warnings[0], &["hidden_scale", "4.125", "Moshi 7B"]);
}

#[test]
fn unknown_settings_are_warnings_that_guess_what_was_meant() {
    let (_, warnings) = parse(tiny_with(json!({"shiny_new_thing": 1, "depformer_causal": true}))).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_says(&warnings[0], &["some/config.json", "shiny_new_thing", "ignored"]);
    assert!(!warnings[0].contains("mean"), "{warnings:?}");
    let (_, warnings) = parse(tiny_with(json!({"kv_repaet": 1, "extra_head_dim": 6}))).unwrap();
    assert_says(&warnings.join(" "), &["did you mean \"kv_repeat\"?", "did you mean \"extra_heads_dim\"?"]);
}

#[test]
fn no_sizes_at_all_mean_moshi_7b() {
    let (config, warnings) = parse(json!({"moshi_name": "lm.safetensors"})).unwrap();
    assert_eq!(config.lm, LmConfig::moshi_7b());
    assert_says(&warnings.join(" "), &["Moshi 7B"]);
    let folder = tempfile::tempdir().unwrap();
    let message = crate::open(folder.path()).unwrap_err().to_string();
    assert_says(&message, &["language model", "model.safetensors", "no files"]);
}

#[test]
fn codec_contradictions_are_refused() {
    let base = MimiConfig::published().to_json();
    for (pointer, value, parts) in [
        ("/frame_rate", json!(13), ["frame_rate", "13", "25 Hz"]),
        ("/seanet/ratios", json!([]), ["seanet.ratios", "list of 0", "strides"]),
        ("/seanet/ratios", json!([8, 0]), ["seanet.ratios[1]", "0", "whole number"]),
        ("/seanet/activation", json!("ReLU"), ["seanet.activation", "ReLU", "ELU"]),
        ("/seanet/causal", json!(false), ["seanet.causal", "false", "true"]),
        ("/seanet/compress", json!(3), ["seanet.compress", "3", "divisor of n_filters"]),
        ("/seanet/n_filters", json!(1_000_000), ["seanet.n_filters", "1000000", "doubled"]),
        ("/quantizer/n_q", json!(0), ["quantizer.n_q", "0", "whole number from 1"]),
        ("/quantizer/input_dimension", json!(64), ["quantizer.input_dimension", "64", "512"]),
        ("/transformer/d_model", json!(256), ["transformer.d_model", "256", "512"]),
        ("/transformer/num_heads", json!(7), ["transformer.num_heads", "7", "divisor"]),
    ] {
        let mut json = base.clone();
        *json.pointer_mut(pointer).unwrap() = value;
        let message = MimiConfig::from_json(Path::new("mimi.json"), &json).unwrap_err().to_string();
        assert_says(&message, &parts);
    }
    let narrow = json!({"seanet": {"dimension": 64}});
    let message = MimiConfig::from_json(Path::new("mimi.json"), &narrow).unwrap_err().to_string();
    assert_says(&message, &["transformer", "missing", "d_model is 64"]);
    let mut json = base.clone();
    json["seanet"]["n_filter"] = json!(64);
    let (_, warnings) = MimiConfig::from_json(Path::new("mimi.json"), &json).unwrap();
    assert_says(&warnings.join(" "), &["seanet.n_filter"]);
}
