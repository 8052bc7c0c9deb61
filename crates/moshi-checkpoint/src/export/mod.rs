//! Writing a language model in another layout or number format, for this program and the others of the family.
//!
//! A file is written tensor by tensor, so that no more than one of them is in memory, and gets its name when it is
//! complete. What a format can hold as it is stored is copied; [`Numbers::Keep`] never rounds anything.

mod entries;
mod file;
mod format;
mod stored;

use std::path::Path;

use serde_json::{Value, json};

pub use format::{Export, Numbers, WriteLayout};

use crate::names::lm_tensors;
use crate::{Error, Repository, Result};
use entries::entries;
use file::Target;
use stored::Stored;

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
    stored::one_group(&mut items, export)?;
    let mut target = Target::create(path, export.layout, &items)?;
    let count = items.len();
    for (done, (names, stored, spec)) in items.iter().enumerate() {
        progress(done, count);
        let weight = stored::weight(&tensors, &spec.name)?;
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
