//! An adapter that is chosen for each conversation: a file of its own beside a model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use moshi_nn::{LowRankPair, WeightSource};
use moshi_tensor::weight::HostWeight;

use crate::config::{LmConfig, LoraConfig, ModelConfig};
use crate::entry::Adapter;
use crate::file::TensorFile;
use crate::lora::{Given, is_table};
use crate::names::lm_tensors;
use crate::tensors::Tensors;
use crate::{Error, Result};

/// The adapter's file where its configuration does not name one.
const FILE: &str = "lora.safetensors";

/// A low-rank adapter of a model as the published fine-tuning code writes it: `lora.safetensors` and `config.json` in one
/// folder. It is a source of what it changes: [`WeightSource::low_rank`] gives the pair that is added to a matrix, and a
/// tensor that it has replaces the model's embedding table of that name.
///
/// ```no_run
/// use moshi_checkpoint::{AdapterFile, LmConfig};
/// let adapter = AdapterFile::open("path/to/consolidated".as_ref(), &LmConfig::moshi_7b())?;
/// println!("{} matrices", adapter.matrices());
/// # Ok::<(), moshi_checkpoint::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct AdapterFile {
    /// Whole tables.
    tables: Tensors,
    pairs: BTreeMap<String, Adapter>,
}

impl AdapterFile {
    /// Opens an adapter of `model`: a folder, or its file of weights with config.json beside it.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Format`] for files that are no adapter of this model, [`Error::Config`] for a
    /// configuration that speaks of none, [`Error::Shape`] for halves of another model, [`Error::Layout`] for an adapter
    /// that replaces more than embedding tables.
    pub fn open(path: &Path, model: &LmConfig) -> Result<Self> {
        let (folder, file) = if path.is_dir() {
            (path.to_path_buf(), None)
        } else {
            (path.parent().map(PathBuf::from).unwrap_or_default(), Some(path.to_path_buf()))
        };
        let config = folder.join("config.json");
        let Some(lora) = ModelConfig::read(&config)?.0.lora else {
            return Err(Error::Config {
                path: config,
                key: "lora".to_owned(),
                found: "missing or false".to_owned(),
                expected: "true, with \"lora_rank\" and \"lora_scaling\", beside an adapter".to_owned(),
            });
        };
        let named = || folder.join(lora.name.as_deref().unwrap_or(FILE));
        Self::read(&file.unwrap_or_else(named), &lora, model)
    }

    /// Opens the file of an adapter of `model` whose rank and scaling are known.
    ///
    /// # Errors
    /// As [`AdapterFile::open`].
    pub fn read(file: &Path, lora: &LoraConfig, model: &LmConfig) -> Result<Self> {
        let tensors = Tensors::raw(vec![TensorFile::open(file)?]);
        let Given { whole, pairs } = tensors.given(0, lora, &lm_tensors(model))?;
        let no_table = whole.iter().map(|(name, _)| name).find(|name| !is_table(name));
        if let Some(name) = no_table.or_else(|| pairs.iter().map(|(name, _)| name).find(|name| is_table(name))) {
            return Err(Error::Layout {
                path: file.to_path_buf(),
                layout: format!("an adapter with {name:?} in a form that cannot differ between conversations"),
                advice: "open it as the model's own adapter (\"lora_name\" in config.json)".to_owned(),
            });
        }
        Ok(Self { tables: tensors.of_file(whole.into_iter().collect()), pairs: pairs.into_iter().collect() })
    }

    /// How many matrices it adds to.
    pub fn matrices(&self) -> usize {
        self.pairs.len()
    }

    /// How many embedding tables it replaces.
    pub fn tables(&self) -> usize {
        self.tables.len()
    }
}

impl WeightSource for AdapterFile {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        WeightSource::shape(&self.tables, name)
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<HostWeight<'_>> {
        WeightSource::matrix(&self.tables, name, rows, cols)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> moshi_nn::Result<Vec<f32>> {
        WeightSource::vector(&self.tables, name, shape)
    }

    fn low_rank(&self, name: &str, _rows: usize, _cols: usize) -> moshi_nn::Result<Option<LowRankPair<'_>>> {
        let pair = self.pairs.get(name).map(|adapter| self.tables.pair(adapter));
        pair.transpose().map_err(moshi_nn::Error::source)
    }
}
