//! The configurations of the published Rust programs (`config.toml`, and the modules of their server), as `config.json`
//! would spell them.
//!
//! They name the same sizes in other words, leave the delays to the program, and count the hidden units of a gated block in
//! another way: where the nominal width is four times the model's, the block has 11/4 of it, not 21/8.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::Reader;
use super::limits::{MAX_LAYERS, MAX_STREAMS, MAX_WIDTH};
use super::lm::{nominal, scale};
use crate::{Error, Result};

/// Steps that the published Rust programs shift all codebooks but the first of each side.
const ACOUSTIC_DELAY: usize = 2;
/// Frames a second: their server counts the delay of a recognition in steps.
const FRAME_RATE: f64 = 12.5;
/// Settings of a transformer that say how it is computed elsewhere, or have one value in all published files.
const SILENT: [&str; 9] = [
    "norm_first",
    "bias_ff",
    "bias_attn",
    "use_conv_block",
    "use_conv_bias",
    "conv_layout",
    "conv_kernel_size",
    "max_seq_len",
    "shared_cross_attn",
];

/// What a TOML file of the Rust programs says, in the keys of `config.json`, and a warning for each setting that is unknown.
///
/// # Errors
/// [`Error::Format`] when it is no TOML, [`Error::Config`] for what describes no model.
pub(super) fn to_config(path: &Path, text: &str) -> Result<(Value, Vec<String>)> {
    let format = |found: String| Error::Format { path: path.to_path_buf(), expected: "a configuration in TOML", found };
    let table: Value = toml::from_str(text).map_err(|e| format(format!("text that is not TOML: {}", e.message())))?;
    let map = super::as_object(path, &table)?;
    let top = Reader::new(path, map);
    match top.object("modules")? {
        Some(modules) => of_server(&modules),
        None => of_program(&top),
    }
}

/// A program's own file: the model, or the names of files and a model.
fn of_program(top: &Reader<'_>) -> Result<(Value, Vec<String>)> {
    let mut config = Map::new();
    for name in ["moshi_name", "mimi_name", "tokenizer_name"] {
        config.extend(top.text(name)?.map(|file| (name.to_owned(), json!(file))));
    }
    let mut warnings = Vec::new();
    match top.object("model")? {
        Some(model) => config.extend(sizes(&model, &mut warnings)?),
        None => config.extend(sizes(top, &mut warnings)?),
    }
    if top.object("model")?.is_some() {
        warnings.extend(top.unknown_keys());
    }
    Ok((Value::Object(config), warnings))
}

/// The server's file: the first module, by name, that describes a model.
fn of_server(modules: &Reader<'_>) -> Result<(Value, Vec<String>)> {
    for name in modules.keys() {
        let Some(module) = modules.object(&name)? else { continue };
        let Some(model) = module.object("model")? else { continue };
        let (mut config, mut warnings) = (Map::new(), Vec::new());
        let files = [
            ("lm_model_file", "moshi_name"),
            ("audio_tokenizer_file", "mimi_name"),
            ("text_tokenizer_file", "tokenizer_name"),
        ];
        for (theirs, ours) in files {
            config.extend(module.text(theirs)?.map(|file| (ours.to_owned(), json!(file))));
        }
        config.extend(sizes(&model, &mut warnings)?);
        if let Some(temperature) = module.number("temperature", 0.0, 100.0)? {
            config.insert("lm_gen_config".to_owned(), json!({"temp": temperature, "temp_text": temperature}));
        }
        if let Some(steps) = module.count("asr_delay_in_tokens", 0, 1 << 16)? {
            config.insert("stt_config".to_owned(), json!({"audio_delay_seconds": steps as f64 / FRAME_RATE}));
        }
        return Ok((Value::Object(config), warnings));
    }
    Err(modules.error("*.model", "missing", "the sizes of a model in one of the modules"))
}

/// The sizes of a model.
fn sizes(r: &Reader<'_>, warnings: &mut Vec<String>) -> Result<Map<String, Value>> {
    let transformer = need(r, "transformer")?;
    let temporal = Stack::read(&transformer)?;
    let depformer = r.object("depformer")?;
    let n_q = r.need_count("audio_codebooks", 0, MAX_STREAMS)?;
    let dep_q = depformer.as_ref().map_or(Ok(0), |d| d.need_count("num_slices", 1, MAX_STREAMS))?;
    let tokens = |key: &str, spare: usize| Ok::<_, Error>(r.need_count(key, 1 + spare, MAX_WIDTH)? - spare);
    let mut config = temporal.to_json("");
    let mut put = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
    put("n_q", json!(n_q));
    put("dep_q", json!(dep_q));
    // Tables have a row for the initial token.
    put("card", json!(tokens("audio_vocab_size", 1)?));
    put("text_card", json!(tokens("text_in_vocab_size", 1)?));
    put("text_card_out", json!(tokens("text_out_vocab_size", 0)?));
    put("delays", json!(delays(n_q, dep_q)));
    put("hidden_scale", json!(scale(temporal.dim, temporal.feedforward)));
    put("cross_attention", json!(transformer.flag("cross_attention", false)?));
    if let Some(heads) = r.object("extra_heads")? {
        put("extra_heads_num_heads", json!(heads.need_count("num_heads", 0, MAX_STREAMS)?));
        put("extra_heads_dim", json!(heads.need_count("dim", 1, MAX_WIDTH)?));
    }
    let (conditioners, fuser) = conditions(r)?;
    let translates = conditioners.contains_key("description");
    put(
        "model_type",
        json!(if dep_q == 0 {
            "stt"
        } else if translates {
            "hibiki"
        } else {
            "moshi"
        }),
    );
    put("conditioners", Value::Object(conditioners));
    put("fuser", fuser);
    if let Some(depformer) = depformer {
        config.extend(depth(&depformer, warnings)?);
    }
    warnings.extend(transformer.unknown_keys());
    warnings.extend(r.unknown_keys());
    Ok(config)
}

/// The depth transformer. Each step has a file's weights of its own in this layout.
fn depth(r: &Reader<'_>, warnings: &mut Vec<String>) -> Result<Map<String, Value>> {
    let transformer = need(r, "transformer")?;
    let stack = Stack::read(&transformer)?;
    let mut config = stack.to_json("depformer_");
    let mut put = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
    put("depformer_dim_feedforward", json!(stack.feedforward));
    put("depformer_pos_emb", json!(stack.positions));
    put("depformer_low_rank_embeddings", json!(r.count("low_rank_embeddings", 1, MAX_WIDTH)?));
    put("depformer_multi_linear", json!(r.flag("multi_linear", true)?));
    put("depformer_weights_per_step", json!(r.flag("weights_per_step", true)?));
    let schedule = r.counts("weights_per_step_schedule", 0, MAX_STREAMS)?.filter(|schedule| !schedule.is_empty());
    put("depformer_weights_per_step_schedule", json!(schedule));
    // Computed the same way: all slices are laid out, and positions of a slice are those of `transformer`.
    let _ = (r.value("num_slices"), r.value("shared"), r.value("pos_emb"));
    warnings.extend(transformer.unknown_keys());
    warnings.extend(r.unknown_keys());
    Ok(config)
}

/// One transformer.
struct Stack {
    dim: usize,
    heads: usize,
    layers: usize,
    /// As `config.json` counts it.
    feedforward: usize,
    context: usize,
    max_period: f64,
    kv_repeat: usize,
    gating: &'static str,
    norm: &'static str,
    positions: &'static str,
    layer_scale: Option<f64>,
}

impl Stack {
    fn read(r: &Reader<'_>) -> Result<Self> {
        let (dim, given) = (r.need_count("d_model", 1, MAX_WIDTH)?, r.need_count("dim_feedforward", 1, 4 * MAX_WIDTH)?);
        for key in SILENT {
            let _ = r.value(key);
        }
        let gating = r.choice("gating", &[("silu", "silu"), ("Silu", "silu")])?.unwrap_or("none");
        let norms = [("RmsNorm", "rms_norm_f32"), ("LayerNorm", "layer_norm")];
        let positions = [("Rope", "rope"), ("None", "none"), ("RopeConcat", "rope_concat")];
        if !r.flag("causal", true)? {
            return Err(r.error("causal", false, "true: only causal models can stream"));
        }
        Ok(Self {
            dim,
            heads: r.need_count("num_heads", 1, MAX_WIDTH)?,
            layers: r.need_count("num_layers", 1, MAX_LAYERS)?,
            feedforward: if gating == "silu" { gated(r, dim, given)? } else { given },
            context: r.need_count("context", 1, 1 << 24)?,
            max_period: r.number("max_period", 1.0, 1e12)?.unwrap_or(10_000.0),
            kv_repeat: r.count("kv_repeat", 1, MAX_WIDTH)?.unwrap_or(1),
            gating,
            norm: r.choice("norm", &norms)?.unwrap_or("rms_norm_f32"),
            positions: r.choice("positional_embedding", &positions)?.unwrap_or("none"),
            layer_scale: r.number("layer_scale", -1e6, 1e6)?,
        })
    }

    /// The keys that both transformers have.
    fn to_json(&self, prefix: &str) -> Map<String, Value> {
        let pairs = [
            ("dim", json!(self.dim)),
            ("num_heads", json!(self.heads)),
            ("num_layers", json!(self.layers)),
            ("context", json!(self.context)),
            ("max_period", json!(self.max_period)),
            ("kv_repeat", json!(self.kv_repeat)),
            ("gating", json!(self.gating)),
            ("layer_scale", json!(self.layer_scale)),
        ];
        let mut map: Map<_, _> = pairs.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)).collect();
        // The norms inside the depth layers follow those of the temporal transformer.
        if prefix.is_empty() {
            map.insert("norm".to_owned(), json!(self.norm));
            map.insert("positional_embedding".to_owned(), json!(self.positions));
        }
        map
    }
}

/// The nominal width with which our rule leads to the hidden units of theirs.
fn gated(r: &Reader<'_>, dim: usize, given: usize) -> Result<usize> {
    let hidden = if given == 4 * dim { 11 * dim / 4 } else { 2 * given / 3 };
    let fits = "a width of which two thirds are whole hidden units";
    nominal(dim, hidden).ok_or_else(|| r.error("dim_feedforward", given, fits))
}

/// Text and the first codebook of each side at once, all others later; a model that hears only waits for nothing.
fn delays(n_q: usize, dep_q: usize) -> Vec<usize> {
    let later = if dep_q == 0 { 0 } else { ACOUSTIC_DELAY };
    let side = |streams: usize| (0..streams).map(move |i| if i == 0 { 0 } else { later });
    std::iter::once(0).chain(side(dep_q)).chain(side(n_q.saturating_sub(dep_q))).collect()
}

/// Conditions: tables are added to the input, sequences attended to, as the programs do.
fn conditions(r: &Reader<'_>) -> Result<(Map<String, Value>, Value)> {
    let (mut conditioners, mut sum, mut cross) = (Map::new(), Vec::new(), Vec::new());
    let Some(all) = r.object("conditioners")? else { return Ok((conditioners, Value::Null)) };
    for name in all.keys() {
        let Some(entry) = all.object(&name)? else { continue };
        let kind = entry.choice("type", &[("Lut", "lut"), ("Tensor", "tensor")])?;
        let kind = kind.ok_or_else(|| entry.error("type", "missing", "\"Lut\" or \"Tensor\""))?;
        let dim = entry.need_count("dim", 1, MAX_WIDTH)?;
        let options = match kind {
            "lut" => json!({
                "n_bins": entry.need_count("n_bins", 1, MAX_WIDTH)?,
                "dim": dim,
                "tokenizer": "noop",
                "possible_values": entry.texts("possible_values")?,
            }),
            _ => json!({"dim": dim}),
        };
        if kind == "lut" { &mut sum } else { &mut cross }.push(name.clone());
        let mut conditioner = Map::new();
        conditioner.insert("type".to_owned(), json!(kind));
        conditioner.insert(kind.to_owned(), options);
        conditioners.insert(name, Value::Object(conditioner));
    }
    let fuser = r.object("fuser")?;
    let positions = fuser.as_ref().map_or(Ok(false), |fuser| fuser.flag("cross_attention_pos_emb", false))?;
    let factor = fuser.as_ref().map_or(Ok(None), |fuser| fuser.number("cross_attention_pos_emb_scale", -1e6, 1e6))?;
    let scale = factor.unwrap_or(1.0);
    let fuser = json!({"sum": sum, "cross": cross, "cross_attention_pos_emb": positions, "cross_attention_pos_emb_scale": scale});
    Ok((conditioners, fuser))
}

fn need<'a>(r: &Reader<'a>, key: &str) -> Result<Reader<'a>> {
    r.object(key)?.ok_or_else(|| r.error(key, "missing", "a table of sizes"))
}
