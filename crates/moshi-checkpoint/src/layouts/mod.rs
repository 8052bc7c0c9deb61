//! How a file's tensors map to canonical names: one small file for each layout.
//!
//! A layout answers one question: which entry of the file, and which of its rows, is this canonical tensor? A new
//! layout is a file with a `place` function, a variant of [`Layout`] and a line in [`detect`].

mod candle;
mod mlx;
mod place;
mod pytorch;

use std::path::PathBuf;

use crate::config::LmConfig;
use crate::file::TensorFile;
use crate::foreign;
use crate::names::TensorSpec;
use crate::{Error, Result};
pub(crate) use place::{Place, Placing};

/// The layouts whose tensors can be used as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// The PyTorch package's names, either spelling of the attention projections.
    PyTorch,
    /// The names of the published Rust server: the depth part step by step.
    Candle,
    /// The names of the MLX package.
    Mlx,
}

impl Layout {
    /// The layout in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::PyTorch => "PyTorch",
            Self::Candle => "Rust (candle)",
            Self::Mlx => "MLX",
        }
    }
}

/// Tells which layout the files are in.
///
/// # Errors
/// [`Error::Format`] for files of another kind.
pub(crate) fn detect(files: &[TensorFile]) -> Result<Layout> {
    if let Some(file) = files.first()
        && foreign::is_adapter(files)
    {
        return Err(Error::Format {
            path: file.path().to_path_buf(),
            expected: "a language model",
            found: "a LoRA adapter; name it as \"lora_name\" in config.json, with its model as \"moshi_name\""
                .to_owned(),
        });
    }
    let has = |name: &str| files.iter().any(|f| f.tensors().contains_key(name));
    if has("depformer.0.linear_in.weight") {
        return Ok(Layout::Candle);
    }
    if has("audio_embs.0.weight") || has("depformer.slices.0.linear_in.weight") {
        return Ok(Layout::Mlx);
    }
    if has("text_emb.weight") || has("emb.0.weight") {
        return Ok(Layout::PyTorch);
    }
    let path = first_path(files);
    Err(Error::Format { path, expected: "a language model of the Moshi family", found: foreign::by_tensors(files) })
}

/// What to say of files that should hold the codec and do not.
pub(crate) fn no_codec(files: &[TensorFile]) -> Error {
    let found = match detect(files) {
        Ok(_) => "a language model, whose codec is a file of its own (\"mimi_name\" in its config.json); give that \
                  file, or the folder"
            .to_owned(),
        Err(_) if foreign::is_adapter(files) => "a LoRA adapter of a language model".to_owned(),
        Err(_) => foreign::by_tensors(files),
    };
    Error::Format { path: first_path(files), expected: "the codec Mimi", found }
}

/// Checks that no file says of itself that others belong to it which are not here.
///
/// # Errors
/// [`Error::Format`] for a GGUF file that was split, where the names do not tell which parts there are.
pub(crate) fn check_split(files: &[TensorFile]) -> Result<()> {
    let number = |file: &TensorFile, key: &str| file.metadata().get(key)?.parse::<usize>().ok();
    let Some((file, count)) = files.iter().find_map(|f| Some((f, number(f, "split.count")?))) else { return Ok(()) };
    if count <= files.len() {
        return Ok(());
    }
    let part = number(file, "split.no").map_or(1, |n| n + 1);
    Err(Error::Format {
        path: file.path().to_path_buf(),
        expected: "a whole model",
        found: format!(
            "part {part} of {count} of a GGUF file that was split; keep all parts beside each other under the names \
             that they had (NAME-00001-of-{count:05}.gguf is the first), or join them with llama-gguf-split --merge"
        ),
    })
}

fn first_path(files: &[TensorFile]) -> PathBuf {
    files.first().map(|f| f.path().to_path_buf()).unwrap_or_default()
}

/// The place of `tensor` in files of `layout`; `has` says which entries there are.
pub(crate) fn place(
    layout: Layout,
    tensor: &TensorSpec,
    config: &LmConfig,
    has: &dyn Fn(&str) -> bool,
) -> Option<Place> {
    match layout {
        Layout::PyTorch => pytorch::place(tensor, has),
        Layout::Candle => {
            candle::place(&tensor.name, config).filter(|p| has(&p.entry)).or_else(|| pytorch::place(tensor, has))
        }
        Layout::Mlx => mlx::place(tensor, config, has),
    }
}

/// Canonical names, and entries that must hold the same values for the layout to be the same model.
pub(crate) fn shared(layout: Layout, config: &LmConfig) -> Vec<(String, String)> {
    match layout {
        Layout::PyTorch => Vec::new(),
        Layout::Candle => candle::shared(config),
        Layout::Mlx => mlx::shared(config),
    }
}

/// The entry of a depth tensor in the published Rust server's layout, as [`place`] finds it.
pub(crate) fn candle_place(name: &str, config: &LmConfig) -> Option<String> {
    candle::place(name, config).map(|place| place.entry)
}

/// What MLX files call an entry of that layout.
pub(crate) fn mlx_rename(name: &str) -> String {
    mlx::rename(name)
}

/// The place of what an adapter's file holds for a tensor, which has the names of the PyTorch package.
pub(crate) fn place_adapter(tensor: &TensorSpec, has: &dyn Fn(&str) -> bool) -> Option<Place> {
    pytorch::place(tensor, has)
}

/// The place of a codec tensor, whose names differ only in the attention projections.
pub(crate) fn place_mimi(tensor: &TensorSpec, has: &dyn Fn(&str) -> bool) -> Option<Place> {
    pytorch::place(tensor, has)
}
