//! What a `config.json` that is not ours belongs to.

use serde_json::{Map, Value};

use super::{CODEC, MODEL};

/// Settings that only configurations of the Moshi family have.
const OURS: [&str; 9] =
    ["dim", "n_q", "card", "delays", "depformer_dim", "moshi_name", "mimi_name", "tokenizer_name", "lora_name"];
/// What our own configurations call themselves.
const OUR_TYPES: [&str; 4] = ["moshi", "hibiki", "stt", "tts"];
/// Codecs for which transformers has a model of its own.
const CODECS: [&str; 7] = ["encodec", "dac", "xcodec", "snac", "vocos", "speecht5_hifigan", "univnet"];

/// What the configuration of another program describes, and what to take instead; `None` for one of ours, or one that
/// says too little of itself.
pub(crate) fn by_config(map: &Map<String, Value>) -> Option<(String, String)> {
    let has = |key: &str| map.contains_key(key);
    if OURS.iter().any(|key| has(key)) {
        return None;
    }
    let instead = |layout: &str, advice: &str| Some((layout.to_owned(), advice.to_owned()));
    if has("peft_type") {
        return instead("a LoRA adapter of PEFT", "adapters of Moshi's own fine-tuning (lora.safetensors) can be read");
    }
    if has("_diffusers_version") || has("_class_name") {
        return instead("a model of diffusers, which makes pictures or sounds", MODEL);
    }
    let model_type = map.get("model_type").and_then(Value::as_str);
    let is_transformers =
        ["architectures", "transformers_version", "auto_map", "hidden_size"].iter().any(|key| has(key));
    if !is_transformers && model_type.is_none_or(|name| OUR_TYPES.contains(&name)) {
        return None;
    }
    match model_type {
        Some("mimi") => instead("the codec Mimi in the layout of transformers", CODEC),
        Some("moshi") => instead("Moshi in the layout of transformers", MODEL),
        Some("kyutai_speech_to_text") => instead(
            "a speech recognition model in the layout of transformers",
            "take its repository without \"-trfs\" in the name, whose files are .safetensors in the layout of moshi",
        ),
        Some(codec) if CODECS.contains(&codec) => {
            instead(&format!("the codec {codec:?} in the layout of transformers, another one than Mimi"), CODEC)
        }
        Some(other) => instead(&format!("a {other:?} model of transformers, which is none of the Moshi family"), MODEL),
        None => instead("a model of transformers, which is none of the Moshi family", MODEL),
    }
}
