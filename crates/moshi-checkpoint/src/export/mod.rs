//! Writing a language model in another layout or number format, for this program and the others of the family.
//!
//! A file is written tensor by tensor, so that no more than one of them is in memory, and gets its name when it is
//! complete. What a format can hold as it is stored is copied; [`Numbers::Keep`] never rounds anything.

mod entries;
mod file;
mod numbers;

use std::num::NonZeroUsize;
use std::path::Path;

use serde_json::{Value, json};

pub use numbers::Numbers;

use crate::names::lm_tensors;
use crate::{Error, Repository, Result};
use entries::entries;
use file::Target;
use numbers::Stored;

/// A layout to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteLayout {
    /// The PyTorch package's names in safetensors.
    PyTorch,
    /// The published Rust server's names in safetensors.
    Candle,
    /// The MLX package's names in safetensors.
    Mlx,
    /// The published Rust server's names in GGUF.
    Gguf,
}

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Export {
    /// Names and file format.
    pub layout: WriteLayout,
    /// Number format.
    pub numbers: Numbers,
    /// Whether quantized tensors may be rounded a second time.
    pub requantize: bool,
    /// Threads for the conversion of a tensor.
    pub threads: NonZeroUsize,
}

impl Export {
    /// The name that other programs expect such a model file to have.
    pub fn file_name(&self) -> &'static str {
        match (self.layout, self.numbers) {
            (WriteLayout::Gguf, Numbers::Q8_0) => "model.q8.gguf",
            (WriteLayout::Gguf, Numbers::Q4_0) => "model.q4.gguf",
            (WriteLayout::Gguf, _) => "model.gguf",
            (WriteLayout::Mlx, Numbers::MlxQ8) => "model.q8.safetensors",
            (WriteLayout::Mlx, Numbers::MlxQ4) => "model.q4.safetensors",
            _ => "model.safetensors",
        }
    }

    /// Checks that the layout can hold the number format.
    ///
    /// # Errors
    /// [`Error::Write`].
    fn check(&self) -> Result<()> {
        let right = match self.numbers {
            Numbers::Keep | Numbers::F32 | Numbers::F16 | Numbers::Bf16 => true,
            Numbers::Q8_0 | Numbers::Q4_0 => self.layout == WriteLayout::Gguf,
            Numbers::Int8Rows => self.layout == WriteLayout::PyTorch,
            Numbers::MlxQ8 | Numbers::MlxQ4 => self.layout == WriteLayout::Mlx,
        };
        let text = || format!("{} does not exist in the {:?} layout", self.numbers, self.layout);
        if right { Ok(()) } else { Err(crate::save::problem("model", &text())) }
    }
}

/// Writes the language model of `repository` to `path`; an adapter is merged into it. `progress` is told how many of how
/// many tensors are written.
///
/// # Errors
/// [`Error::Io`], and [`Error::Exists`] when there is such a file; [`Error::Requantize`]; [`Error::Write`] for tensors
/// that the format cannot hold.
pub fn write_model(
    repository: &Repository,
    path: &Path,
    export: &Export,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<()> {
    export.check()?;
    refuse_existing(path)?;
    let (tensors, config) = (repository.lm()?, &repository.config().lm);
    let specs = lm_tensors(config);
    let mut items = Vec::with_capacity(specs.len());
    for spec in specs {
        let stored = Stored::choose(&tensors, &spec, export)?;
        items.push((entries(export.layout, &spec, config), stored, spec));
    }
    numbers::one_group(&mut items, export)?;
    let mut target = Target::create(path, export.layout, &items)?;
    let count = items.len();
    for (done, (names, stored, spec)) in items.iter().enumerate() {
        progress(done, count);
        let weight = numbers::weight(&tensors, &spec.name)?;
        for (role, bytes) in stored.encode(&weight, export.threads)? {
            for name in names {
                target.append(&role.name(name), &bytes)?;
            }
        }
    }
    progress(count, count);
    target.finish()
}

/// Writes a whole repository into the folder `path`, which must not hold one: config.json that names the files, the
/// model, the codec and its configuration, and the tokenizer.
///
/// # Errors
/// As [`write_model`].
pub fn write_repository(
    repository: &Repository,
    path: &Path,
    export: &Export,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<()> {
    export.check()?;
    refuse_existing(&path.join("config.json"))?;
    let io = |doing| move |source| Error::Io { path: path.to_path_buf(), doing, source };
    std::fs::create_dir_all(path).map_err(io("make"))?;
    write_model(repository, &path.join(export.file_name()), export, progress)?;
    let write = |name: &str, bytes: &[u8]| std::fs::write(path.join(name), bytes).map_err(io("write into"));
    write("tokenizer.model", &repository.tokenizer_bytes()?)?;
    let codec = repository.mimi()?;
    let codec = codec.paths().next().ok_or(Error::NotOpened("codec"))?;
    std::fs::copy(codec, path.join("mimi.safetensors")).map_err(io("copy the codec into"))?;
    if let Some(json) = repository.mimi_config_json() {
        write("mimi_config.json", format!("{json:#}\n").as_bytes())?;
    }
    write("config.json", format!("{:#}\n", config(repository, export)).as_bytes())
}

/// config.json as it was, but for names, and what the PyTorch package wants to know.
fn config(repository: &Repository, export: &Export) -> Value {
    let config = repository.config();
    let mut json = if config.raw.is_object() { config.raw.clone() } else { config.to_json() };
    if let Value::Object(map) = &mut json {
        for key in ["lora", "lora_name", "lora_rank", "lora_scaling", "quantize", "mimi_config_name"] {
            map.remove(key);
        }
        map.insert("moshi_name".to_owned(), json!(export.file_name()));
        map.insert("mimi_name".to_owned(), json!("mimi.safetensors"));
        map.insert("tokenizer_name".to_owned(), json!("tokenizer.model"));
        if repository.mimi_config_json().is_some() {
            map.insert("mimi_config_name".to_owned(), json!("mimi_config.json"));
        }
        let keeps = |t: &crate::Tensors| t.dtype("text_linear.weight").as_deref() == Some("I8");
        let kept = export.numbers == Numbers::Keep && repository.lm().as_ref().is_ok_and(keeps);
        if export.layout == WriteLayout::PyTorch && (export.numbers == Numbers::Int8Rows || kept) {
            map.insert("quantize".to_owned(), json!(true));
        }
    }
    json
}

fn refuse_existing(path: &Path) -> Result<()> {
    if path.exists() { Err(Error::Exists { path: path.to_path_buf() }) } else { Ok(()) }
}
