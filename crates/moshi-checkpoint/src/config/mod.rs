//! `config.json` and `mimi_config.json` as validated plain data.
//!
//! ```
//! use moshi_checkpoint::config::ModelConfig;
//! let config = ModelConfig::moshi_7b();
//! assert_eq!((config.lm.dim, config.lm.delays.len()), (4096, 17));
//! ```

mod conditions;
mod depth;
mod limits;
mod lm;
mod mimi;
mod reader;
mod rust_program;
mod tts;
mod write;

use std::path::Path;

use serde_json::Value;

pub use conditions::{ConditionerConfig, ConditionerKind, FuserConfig};
pub use depth::DepformerConfig;
pub(crate) use limits::MAX_STREAMS;
pub(crate) use lm::nominal;
pub use lm::{Gating, LmConfig, NormKind, PositionalEmbedding, gated_hidden};
pub use mimi::{MimiConfig, MimiTransformerConfig, QuantizerConfig, SeanetConfig};
pub(crate) use reader::Reader;
pub use tts::{ModelId, TtsConfig};

use crate::{Error, Result};

/// What a model of the family is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelType {
    /// Dialogue.
    Moshi,
    /// Speech translation.
    Hibiki,
    /// Speech recognition.
    Stt,
    /// Speech synthesis.
    Tts,
}

/// Sampling settings that a checkpoint recommends (`lm_gen_config`); absent ones are the model's defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LmGenConfig {
    /// Temperature of the audio codes; 0 takes the likeliest.
    pub temp: f32,
    /// Temperature of the text token.
    pub temp_text: f32,
    /// How many of the likeliest audio codes are drawn from; 0 means all.
    pub top_k: usize,
    /// How many of the likeliest text tokens are drawn from; 0 means all.
    pub top_k_text: usize,
}

impl Default for LmGenConfig {
    /// The published defaults of Moshi: 0.8 and 250 for audio, 0.7 and 25 for text.
    fn default() -> Self {
        Self { temp: 0.8, temp_text: 0.7, top_k: 250, top_k_text: 25 }
    }
}

/// A low-rank adapter that belongs to the model.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// File of the adapter, where the configuration names one.
    pub name: Option<String>,
    /// Rank r of `A [r, in]` and `B [out, r]`.
    pub rank: usize,
    /// Factor of `B A`; it is not divided by the rank.
    pub scaling: f32,
}

/// The names of a repository's files; `None` where config.json leaves them to the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileNames {
    /// The language model.
    pub moshi: Option<String>,
    /// The codec.
    pub mimi: Option<String>,
    /// The codec's configuration.
    pub mimi_config: Option<String>,
    /// The SentencePiece model.
    pub tokenizer: Option<String>,
}

/// A repository's `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// What the model is for.
    pub model_type: ModelType,
    /// Sizes and options of the language model.
    pub lm: LmConfig,
    /// Recommended sampling.
    pub lm_gen_config: LmGenConfig,
    /// File names.
    pub names: FileNames,
    /// The adapter, if the configuration speaks of one.
    pub lora: Option<LoraConfig>,
    /// How it is run, if it is a synthesis.
    pub tts_config: Option<TtsConfig>,
    /// `stt_config` as it is written.
    pub stt_config: Option<Value>,
    /// Which model it is, where the file says so.
    pub model_id: Option<ModelId>,
    /// The text token with which the model asks for something to be looked up (`rag_token_id`).
    pub rag_token_id: Option<u32>,
    /// The whole file as it is written; `null` when there was none.
    pub raw: Value,
}

impl ModelConfig {
    /// The configuration of a repository without config.json: Moshi 7B.
    pub fn moshi_7b() -> Self {
        Self {
            model_type: ModelType::Moshi,
            lm: LmConfig::moshi_7b(),
            lm_gen_config: LmGenConfig::default(),
            names: FileNames::default(),
            lora: None,
            tts_config: None,
            stt_config: None,
            model_id: None,
            rag_token_id: None,
            raw: Value::Null,
        }
    }

    /// Reads a `config.json`, or what stands for it: `moshi_lm_kwargs.json`, or the `config.toml` of the published Rust
    /// programs. Returns the configuration and warnings, one sentence each: unknown keys (later
    /// checkpoints add some) and settings that were taken from Moshi 7B because the file leaves them out.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`] when it is no JSON object, [`Error::Config`] for a setting that no model can
    /// be built from or that contradicts another.
    pub fn read(path: &Path) -> Result<(Self, Vec<String>)> {
        if !path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml")) {
            return Self::from_json(path, read_json(path)?);
        }
        let (value, mut warnings) = rust_program::to_config(path, &read_text(path, "a configuration in TOML")?)?;
        let (config, more) = Self::from_json(path, value)?;
        warnings.extend(more);
        Ok((config, warnings))
    }

    /// As [`ModelConfig::read`], from JSON at hand; `path` is for messages.
    ///
    /// # Errors
    /// As [`ModelConfig::read`], but for [`Error::Io`].
    pub fn from_json(path: &Path, raw: Value) -> Result<(Self, Vec<String>)> {
        let (parsed, warnings) = {
            let map = as_object(path, &raw)?;
            refuse_foreign(path, map)?;
            let reader = Reader::new(path, map);
            let mut warnings = Vec::new();
            let lm = LmConfig::parse(&reader, &mut warnings)?;
            let parsed = Self::parse(&reader, lm)?;
            warnings.extend(reader.unknown_keys());
            (parsed, warnings)
        };
        Ok((Self { raw, ..parsed }, warnings))
    }

    /// Whether nothing is said of the language model's sizes: there is no file, or it is about other things.
    pub(crate) fn is_silent(&self) -> bool {
        !lm::LM_KEYS.iter().any(|key| self.says(key))
    }

    /// Whether the file has this setting, and it is not null.
    pub(crate) fn says(&self, key: &str) -> bool {
        self.raw.get(key).is_some_and(|value| !value.is_null())
    }

    fn parse(reader: &Reader<'_>, lm: LmConfig) -> Result<Self> {
        let types = [
            ("moshi", ModelType::Moshi),
            ("hibiki", ModelType::Hibiki),
            ("stt", ModelType::Stt),
            ("tts", ModelType::Tts),
        ];
        // Written for the PyTorch package; the tensors themselves say what they are.
        let _ = reader.value("quantize");
        let tts_config = TtsConfig::parse(reader)?;
        let model_type = match reader.choice("model_type", &types)? {
            Some(given) => given,
            None if tts_config.is_some() => ModelType::Tts,
            None if lm.dep_q == 0 => ModelType::Stt,
            None => ModelType::Moshi,
        };
        Ok(Self {
            model_type,
            lm,
            lm_gen_config: parse_gen_config(reader)?,
            names: FileNames {
                moshi: reader.text("moshi_name")?,
                mimi: reader.text("mimi_name")?,
                mimi_config: reader.text("mimi_config_name")?,
                tokenizer: reader.text("tokenizer_name")?,
            },
            lora: parse_lora(reader)?,
            tts_config,
            stt_config: reader.value("stt_config").cloned(),
            model_id: ModelId::parse(reader)?,
            rag_token_id: reader.count("rag_token_id", 0, limits::MAX_WIDTH)?.map(|id| id as u32),
            raw: Value::Null,
        })
    }
}

fn parse_gen_config(reader: &Reader<'_>) -> Result<LmGenConfig> {
    let default = LmGenConfig::default();
    let Some(gen_config) = reader.object("lm_gen_config")? else { return Ok(default) };
    let temperature = |key: &str, or: f32| gen_config.number(key, 0.0, 100.0).map(|t| t.map_or(or, |t| t as f32));
    Ok(LmGenConfig {
        temp: temperature("temp", default.temp)?,
        // Published syntheses spell it the other way round.
        temp_text: temperature("text_temp", temperature("temp_text", default.temp_text)?)?,
        top_k: gen_config.count("top_k", 0, 1 << 24)?.unwrap_or(default.top_k),
        top_k_text: gen_config.count("top_k_text", 0, 1 << 24)?.unwrap_or(default.top_k_text),
    })
}

fn parse_lora(reader: &Reader<'_>) -> Result<Option<LoraConfig>> {
    let name = reader.text("lora_name")?;
    let wanted = reader.flag("lora", name.is_some())?;
    let rank = reader.count("lora_rank", 1, 1 << 14)?;
    let scaling = reader.number("lora_scaling", -1e6, 1e6)?;
    if !wanted {
        return Ok(None);
    }
    let rank = rank.ok_or_else(|| reader.error("lora_rank", "missing", "the rank of the adapter"))?;
    let scaling = scaling.ok_or_else(|| reader.error("lora_scaling", "missing", "the factor of the adapter"))?;
    Ok(Some(LoraConfig { name, rank, scaling: scaling as f32 }))
}

/// Refuses the configuration of another program, with what to take instead.
fn refuse_foreign(path: &Path, map: &serde_json::Map<String, Value>) -> Result<()> {
    match crate::foreign::by_config(map) {
        Some((layout, advice)) => Err(Error::Layout { path: path.to_path_buf(), layout, advice }),
        None => Ok(()),
    }
}

/// A JSON file.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    let expected = "a JSON configuration";
    let text = read_text(path, expected)?;
    let wrong = |found| Error::Format { path: path.to_path_buf(), expected, found };
    serde_json::from_str(&text).map_err(|e| match crate::foreign::by_bytes(text.as_bytes()) {
        Some(kind) => wrong(kind),
        None => wrong(format!("text that is not JSON: {e}")),
    })
}

/// The text of a configuration.
fn read_text(path: &Path, expected: &'static str) -> Result<String> {
    let io = |source| Error::Io { path: path.to_path_buf(), doing: "read", source };
    // A configuration has a few kilobytes; a model passed by mistake is not read into memory.
    let size = std::fs::metadata(path).map_err(io)?.len();
    let format = |found: String| Error::Format { path: path.to_path_buf(), expected, found };
    if size > 16 << 20 {
        return Err(format(format!("a file of {size} bytes")));
    }
    let bytes = std::fs::read(path).map_err(io)?;
    // Editors of Windows begin a text with a mark.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    match std::str::from_utf8(text) {
        Ok(text) => Ok(text.to_owned()),
        Err(e) => {
            Err(format(crate::foreign::by_bytes(&bytes).unwrap_or_else(|| format!("a file that is no text: {e}"))))
        }
    }
}

pub(crate) fn as_object<'a>(path: &Path, value: &'a Value) -> Result<&'a serde_json::Map<String, Value>> {
    value.as_object().ok_or_else(|| Error::Format {
        path: path.to_path_buf(),
        expected: "a JSON object {...}",
        found: "another JSON value".to_owned(),
    })
}
