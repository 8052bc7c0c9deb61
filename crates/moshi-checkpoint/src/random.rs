//! Checkpoints with random weights: something to run, test and measure on where no trained one is at hand.
//!
//! The same configuration and seed give the same bytes on every machine. Weights are scaled so that signals keep
//! their size from layer to layer; what such a model says is noise.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use half::bf16;
use moshi_tensor::weight::WeightData;

use crate::config::{FileNames, MimiConfig, ModelConfig};
use crate::mimi_names::mimi_tensors;
use crate::names::{TensorSpec, lm_tensors};
use crate::save::{Format, Outline, TensorWriter};
use crate::{Error, LmConfig, Result};

/// Writes a whole repository into `folder`, which is made if need be: config.json, model.safetensors (bf16),
/// mimi.safetensors (f32), mimi_config.json and tokenizer.model. File names in `config` are replaced by these.
///
/// # Errors
/// [`Error::Io`].
pub fn write_checkpoint(
    folder: &Path,
    config: &ModelConfig,
    mimi: &MimiConfig,
    tokenizer: &[u8],
    seed: u64,
) -> Result<()> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Io { path, doing: "write", source }
    };
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let names = FileNames {
        moshi: Some("model.safetensors".to_owned()),
        mimi: Some("mimi.safetensors".to_owned()),
        mimi_config: Some("mimi_config.json".to_owned()),
        tokenizer: Some("tokenizer.model".to_owned()),
    };
    let config = ModelConfig { names, lora: None, ..config.clone() };
    let text = |value: serde_json::Value| format!("{value:#}\n").into_bytes();
    let files = [
        ("config.json", text(config.to_json())),
        ("mimi_config.json", text(mimi.to_json())),
        ("tokenizer.model", tokenizer.to_vec()),
    ];
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(io(&path))?;
    }
    write_lm(&folder.join("model.safetensors"), &config.lm, seed)?;
    write_mimi(&folder.join("mimi.safetensors"), mimi, seed)
}

/// Writes a language model with random weights in bf16.
///
/// # Errors
/// [`Error::Io`].
pub fn write_lm(path: &Path, config: &LmConfig, seed: u64) -> Result<()> {
    write(path, lm_tensors(config), Format::Bf16, seed, None)
}

/// Writes a codec with random weights in f32, with the names and shapes of the published file.
///
/// # Errors
/// [`Error::Io`].
pub fn write_mimi(path: &Path, config: &MimiConfig, seed: u64) -> Result<()> {
    let published = |spec: TensorSpec| {
        let name = spec
            .name
            .replace(".in_projs.0.weight", ".in_proj_weight")
            .replace(".out_projs.0.weight", ".out_proj.weight");
        TensorSpec { name, ..spec }
    };
    let specs = mimi_tensors(config).into_iter().map(published).collect();
    write(path, specs, Format::F32, seed, config.transformer.layer_scale)
}

fn write(path: &Path, specs: Vec<TensorSpec>, format: Format, seed: u64, layer_scale: Option<f64>) -> Result<()> {
    let outline = |s: TensorSpec| Outline { name: s.name, shape: s.shape, format };
    let metadata = BTreeMap::from([("weights".to_owned(), format!("random, seed {seed}"))]);
    let mut writer = TensorWriter::create(path, specs.into_iter().map(outline).collect(), &metadata)?;
    while let Some(tensor) = writer.next() {
        let count = tensor.shape.iter().product();
        let values = Range::of(&tensor.name, &tensor.shape, layer_scale).values(seed, &tensor.name).take(count);
        writer.write(&match format {
            Format::Bf16 => WeightData::Bf16(Cow::Owned(values.map(bf16::from_f32).collect())),
            _ => WeightData::F32(Cow::Owned(values.collect())),
        })?;
    }
    writer.finish()
}

/// Uniform values from `middle - spread` to `middle + spread`.
pub(crate) struct Range {
    middle: f32,
    spread: f32,
}

impl Range {
    /// -1 to 1.
    pub(crate) fn uniform() -> Self {
        Self { middle: 0.0, spread: 1.0 }
    }

    /// Without end, the same for the same seed and name.
    pub(crate) fn values(self, seed: u64, name: &str) -> impl Iterator<Item = f32> {
        let mut random = Random::new(seed, name);
        std::iter::repeat_with(move || self.middle + self.spread * random.next())
    }

    pub(crate) fn of(name: &str, shape: &[usize], layer_scale: Option<f64>) -> Self {
        let last = name.rsplit('.').next().unwrap_or(name);
        let is_norm = name.contains("norm") && shape.iter().filter(|n| **n > 1).count() <= 1;
        match last {
            "_initialized" => Self { middle: 1.0, spread: 0.0 },
            // Sums of vectors and how many were summed: their quotient is what is used.
            "cluster_usage" => Self { middle: 1.0, spread: 0.5 },
            "embedding_sum" => Self { middle: 0.0, spread: 1.0 },
            "scale" => Self { middle: layer_scale.unwrap_or(1.0) as f32, spread: 0.0 },
            "alpha" => Self { middle: 1.0, spread: 0.1 },
            "weight" if is_norm => Self { middle: 1.0, spread: 0.1 },
            "bias" => Self { middle: 0.0, spread: 0.01 },
            // The layer that makes the waveform: noise at full volume hurts.
            "weight" if shape.first() == Some(&1) => {
                Self { middle: 0.0, spread: 0.2 * (3.0 / inputs(name, shape)).sqrt() }
            }
            _ if name.contains("emb") => Self { middle: 0.0, spread: 1.0 },
            _ => Self { middle: 0.0, spread: (3.0 / inputs(name, shape)).sqrt() },
        }
    }
}

/// How many inputs each output of a linear layer or convolution sums.
fn inputs(name: &str, shape: &[usize]) -> f32 {
    let inputs = match shape {
        // Transposed convolutions `[in, out, k]` of stride k/2: two taps of each input meet in an output.
        [c_in, _, _] if name.contains("convtr") && shape[1] > 1 => 2 * c_in,
        [_, _, _] if name.contains("convtr") => 2,
        _ => shape.iter().skip(1).product(),
    };
    inputs.max(1) as f32
}

/// FNV-1a.
pub(crate) fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// SplitMix64 (Steele, Lea, Flood 2014), keyed by seed and name.
struct Random(u64);

impl Random {
    fn new(seed: u64, name: &str) -> Self {
        // So that every tensor has its own sequence whatever else is in the file.
        Self(hash(name) ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Uniform in [-1, 1).
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }
}
