//! The golden repositories under `tests/fixtures/golden`.

use std::path::PathBuf;

use serde_json::Value;

use crate::tensors::{FileTensors, TensorError};

/// One golden repository: a small checkpoint and what the reference computes from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Golden {
    name: &'static str,
    config: &'static str,
    lm: &'static str,
    mimi: &'static str,
    tokenizer: &'static str,
}

/// The names of most of the repositories.
const PLAIN: Golden = Golden {
    name: "",
    config: "config.json",
    lm: "model.safetensors",
    mimi: "mimi.safetensors",
    tokenizer: "tokenizer.model",
};

impl Golden {
    /// The repository in the shape of Moshi 7B.
    pub const TINY_MOSHI: Self = Self { name: "tiny-moshi", ..PLAIN };
    /// The repository with the options that later models of the family use.
    pub const TINY_VARIANT: Self = Self { name: "tiny-variant", ..PLAIN };
    /// Recognition: eight streams are heard, text alone is written.
    pub const TINY_STT: Self = Self {
        name: "tiny-stt",
        mimi: "mimi-pytorch-e351c8d8@125.safetensors",
        tokenizer: "tokenizer_en_fr_audio_8000.model",
        ..PLAIN
    };
    /// Synthesis: two text streams, voices by cross-attention, distilled guidance.
    pub const TINY_TTS: Self = Self {
        name: "tiny-tts",
        lm: "dsm_tts_a1b2c3d4@240.safetensors",
        mimi: "tokenizer-e351c8d8-checkpoint125.safetensors",
        tokenizer: "tokenizer_spm_8k_en_fr_audio.model",
        ..PLAIN
    };
    /// Synthesis with guidance by a second row; shares its folder with [`Self::TINY_TTS`].
    pub const TINY_TTS_GUIDED: Self =
        Self { config: "config_guided.json", lm: "dsm_tts_4d3c2b1a@241.safetensors", ..Self::TINY_TTS };
    /// Synthesis with a spoken prefix as the voice; shares its folder with [`Self::TINY_TTS`].
    pub const TINY_TTS_PREFIX: Self =
        Self { config: "config_prefix.json", lm: "dsm_tts_c3d4a1b2@241.safetensors", ..Self::TINY_TTS };
    /// Translation with a condition.
    pub const TINY_HIBIKI: Self = Self {
        name: "tiny-hibiki",
        lm: "hibiki-pytorch-ccef4858@200.safetensors",
        mimi: "mimi-pytorch-e351c8d8@125.safetensors",
        tokenizer: "tokenizer_spm_48k_multi6_2.model",
        ..PLAIN
    };
    /// Translation without conditions, in the tensor names of later checkpoints.
    pub const TINY_HIBIKI_ZERO: Self =
        Self { name: "tiny-hibiki/zero", lm: "hibiki-pytorch-77f82164@110.safetensors", ..Self::TINY_HIBIKI };
    /// Role-play: a voice and a role before the call.
    pub const TINY_PERSONAPLEX: Self = Self {
        name: "tiny-personaplex",
        mimi: "tokenizer-e351c8d8-checkpoint125.safetensors",
        tokenizer: "tokenizer_spm_32k_3.model",
        ..PLAIN
    };
    /// Adapters of [`Self::TINY_MOSHI`]: results only, no checkpoint of its own.
    pub const TINY_LORA: Self = Self { name: "tiny-lora", ..PLAIN };

    /// The two dialogue repositories.
    pub const ALL: [Self; 2] = [Self::TINY_MOSHI, Self::TINY_VARIANT];

    /// Name of the folder.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Path of a file of the repository.
    pub fn path(&self, file: &str) -> PathBuf {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/golden");
        PathBuf::from(root).join(self.name).join(file)
    }

    /// Path of its config.json.
    pub fn config(&self) -> PathBuf {
        self.path(self.config)
    }

    /// A safetensors file of the repository.
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn tensors(&self, file: &str) -> Result<FileTensors, TensorError> {
        FileTensors::open(self.path(file))
    }

    /// The reference results (`golden.safetensors`).
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn results(&self) -> Result<FileTensors, TensorError> {
        self.tensors("golden.safetensors")
    }

    /// The language model's weights.
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn lm(&self) -> Result<FileTensors, TensorError> {
        self.tensors(self.lm)
    }

    /// The codec's weights.
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn mimi(&self) -> Result<FileTensors, TensorError> {
        self.tensors(self.mimi)
    }

    /// Path of the SentencePiece model.
    pub fn tokenizer(&self) -> PathBuf {
        self.path(self.tokenizer)
    }

    /// What the reference did and said, beside its numbers (`meta.json`).
    ///
    /// # Errors
    /// When the file is missing or no JSON.
    pub fn meta(&self) -> std::io::Result<Value> {
        Ok(serde_json::from_str(&self.text("meta.json")?)?)
    }

    /// The text of a file of the repository.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn text(&self, file: &str) -> std::io::Result<String> {
        std::fs::read_to_string(self.path(file))
    }
}
