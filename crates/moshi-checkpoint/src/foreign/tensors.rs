//! What files are, from the names of their tensors.

use super::{CODEC, MODEL};
use crate::error::some_of;
use crate::file::TensorFile;

/// A tensor that every codec file has.
const CODEC_TENSOR: &str = "encoder.model.0.conv.conv.weight";

/// How a tensor's name tells.
enum Sign {
    Begins(&'static str),
    Holds(&'static str),
}

/// What a name that begins with or holds a text belongs to, and what to take instead; the first that fits counts.
const SIGNS: [(Sign, &str, &str); 21] = [
    (Sign::Begins("depth_decoder."), "Moshi in the layout of transformers", MODEL),
    (Sign::Begins("codec_model."), "a speech recognition model in the layout of transformers", MODEL),
    (Sign::Holds("semantic_residual_vector_quantizer"), "the codec Mimi in the layout of transformers", CODEC),
    (Sign::Begins("base_model.model."), "a LoRA adapter of PEFT for another program's model", MODEL),
    (Sign::Begins("speaker_wavs"), "a voice of the speech synthesis models, not a model", MODEL),
    (Sign::Begins("quantizer.layers.0.codebook."), "the codec EnCodec, another one than Mimi", CODEC),
    (Sign::Begins("quantizer.vq.layers.0."), "the codec EnCodec, another one than Mimi", CODEC),
    (Sign::Begins("quantizer.quantizers.0."), "the codec DAC or SNAC, another one than Mimi", CODEC),
    (Sign::Holds(".embeddings.word_embeddings."), TEXT_ENCODER, MODEL),
    (Sign::Begins("embeddings.word_embeddings."), TEXT_ENCODER, MODEL),
    (Sign::Begins("model.embed_tokens."), TEXT_MODEL, MODEL),
    (Sign::Begins("model.layers."), TEXT_MODEL, MODEL),
    (Sign::Begins("model.decoder.layers."), "a model of transformers with an encoder and a decoder", MODEL),
    (Sign::Begins("language_model."), TEXT_MODEL, MODEL),
    (Sign::Begins("transformer.h."), TEXT_MODEL, MODEL),
    (Sign::Begins("gpt_neox."), TEXT_MODEL, MODEL),
    (Sign::Begins("token_embd."), TEXT_MODEL, MODEL),
    (Sign::Begins("down_blocks."), DIFFUSION, MODEL),
    (Sign::Begins("transformer_blocks."), DIFFUSION, MODEL),
    (Sign::Begins("double_blocks."), DIFFUSION, MODEL),
    (Sign::Begins("model.diffusion_model."), DIFFUSION, MODEL),
];

const TEXT_MODEL: &str = "a language model for text alone";
const TEXT_ENCODER: &str = "a text encoder (BERT, sentence-transformers)";
const DIFFUSION: &str = "a diffusion model, which makes pictures or sounds";

/// Whether a file holds the codec.
pub(crate) fn is_codec(file: &TensorFile) -> bool {
    file.tensors().contains_key(CODEC_TENSOR)
}

/// Whether the files hold an adapter and not a model.
pub(crate) fn is_adapter(files: &[TensorFile]) -> bool {
    let is_half = |name: &String| name.ends_with(".lora_A.weight") && !name.starts_with("base_model.");
    files.iter().any(|f| f.tensors().keys().any(is_half))
}

/// What files that are no language model of ours hold, and what to take instead.
pub(crate) fn by_tensors(files: &[TensorFile]) -> String {
    let names: Vec<_> = files.iter().flat_map(|f| f.tensors().keys().cloned()).collect();
    let fits = |sign: &Sign| match sign {
        Sign::Begins(text) => names.iter().any(|n| n.starts_with(text)),
        Sign::Holds(text) => names.iter().any(|n| n.contains(text)),
    };
    let known = SIGNS.iter().find(|(sign, ..)| fits(sign)).map(|(_, what, advice)| format!("{what}; {advice}"));
    if files.iter().any(is_codec) {
        "the Mimi codec alone; give the folder or repository of a whole model, or its language model's file".to_owned()
    } else if let Some(architecture) = files.iter().find_map(architecture) {
        format!("a GGUF file of the architecture {architecture:?}, which is none of the Moshi family; {MODEL}")
    } else if let Some(known) = known {
        known
    } else if names.is_empty() {
        "a file without tensors".to_owned()
    } else {
        format!("{} tensors of another model: {}", names.len(), some_of(&names))
    }
}

/// What a GGUF file says it is, where it is none of ours.
fn architecture(file: &TensorFile) -> Option<&String> {
    file.metadata().get("general.architecture").filter(|architecture| *architecture != "moshi")
}
