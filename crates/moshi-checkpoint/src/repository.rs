//! Opening a repository: which files it has, and whether they fit together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::{DepformerConfig, FileNames, LmConfig, MimiConfig, ModelConfig, read_json};
use crate::file::TensorFile;
use crate::foreign;
use crate::hub::{HubOptions, Progress};
use crate::layouts::{self, Layout};
use crate::locate::{Found, Locator};
use crate::mimi_names::mimi_tensors;
use crate::names::{TensorSpec, lm_tensors};
use crate::part_name::PartName;
use crate::presence;
use crate::shapes::{self, Shapes};
use crate::source::Source;
use crate::tensors::Tensors;
use crate::{Error, Result};

/// Which parts of a repository are wanted; what is not wanted is neither downloaded nor opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// The language model.
    pub lm: bool,
    /// The codec.
    pub mimi: bool,
    /// The SentencePiece model.
    pub tokenizer: bool,
}

impl Parts {
    /// Everything.
    pub const ALL: Self = Self { lm: true, mimi: true, tokenizer: true };
    /// The codec alone.
    pub const MIMI: Self = Self { lm: false, mimi: true, tokenizer: false };
    /// The language model alone.
    pub const LM: Self = Self { lm: true, mimi: false, tokenizer: false };
}

/// How to open a repository.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Which parts are wanted.
    pub parts: Parts,
    /// Files to take instead of those that config.json names: paths, `file:///path` or `hf://owner/name/file`.
    pub files: FileNames,
    /// Configuration to take instead of the repository's.
    pub config: Option<String>,
    /// Cache and access for downloads.
    pub hub: HubOptions,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { parts: Parts::ALL, files: FileNames::default(), config: None, hub: HubOptions::default() }
    }
}

/// An opened repository: its configuration, and its files checked against it and mapped into memory.
#[derive(Debug, Clone)]
pub struct Repository {
    config: ModelConfig,
    config_path: Option<PathBuf>,
    lm: Option<(Tensors, Layout)>,
    mimi: Option<(Tensors, MimiConfig, Option<Value>)>,
    tokenizer: Option<Tokenizer>,
    /// The file that was named as the model, where it holds the codec alone.
    codec_alone: Option<PathBuf>,
    warnings: Vec<String>,
}

/// Where the SentencePiece model is.
#[derive(Debug, Clone)]
enum Tokenizer {
    File(PathBuf),
    Embedded(&'static [u8]),
}

/// A repository that is part of the program, file by file.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedRepository {
    /// What messages call it.
    pub name: &'static str,
    /// `config.json`.
    pub config: &'static str,
    /// The language model, safetensors.
    pub lm: &'static [u8],
    /// The codec, safetensors.
    pub mimi: &'static [u8],
    /// `mimi_config.json`.
    pub mimi_config: &'static str,
    /// The SentencePiece model.
    pub tokenizer: &'static [u8],
}

impl Repository {
    /// Opens what `source` names. `progress` hears of downloads; pass `&mut ()` where nobody listens.
    ///
    /// # Errors
    /// Any [`Error`]: what is wrong, in which file, and what was expected.
    pub fn open(source: &Source, options: &OpenOptions, progress: &mut dyn Progress) -> Result<Self> {
        let mut locator = Locator::new(source, options, progress)?;
        let config_path = locator.config()?;
        let config = match &config_path {
            Some(path) => ModelConfig::read(path),
            None => Ok((ModelConfig::moshi_7b(), Vec::new())),
        };
        // A codec's file is a codec whatever lies beside it.
        let config = if matches!(source, Source::File(_)) { config } else { Ok(config?) };
        let single = locator.single_file()?.map(|found| open_files(&found, &mut locator)).transpose()?;
        let codec_alone = single.iter().flatten().find(|f| foreign::is_codec(f)).map(|f| f.path().to_path_buf());
        let (config, warnings) = match config {
            Err(Error::Layout { .. }) if codec_alone.is_some() => (ModelConfig::moshi_7b(), Vec::new()),
            config => config?,
        };
        if let (None, false, Some(files)) = (&codec_alone, options.parts.lm, &single) {
            return Err(layouts::no_codec(files));
        }
        let mut this = Self { config, config_path, lm: None, mimi: None, tokenizer: None, codec_alone, warnings };
        let opened = this.open_parts(options.parts, single, &mut locator);
        opened.map_err(|error| if this.config_path.is_none() { without_config(error) } else { error })?;
        locator.settle();
        this.warnings.extend(locator.warnings());
        Ok(this)
    }

    fn open_parts(&mut self, parts: Parts, single: Option<Vec<TensorFile>>, locator: &mut Locator<'_>) -> Result<()> {
        // Of a codec alone there is no language model to look for beside it.
        if self.codec_alone.is_some() {
            return self.open_mimi(single, locator);
        }
        if parts.lm {
            self.open_lm(single, locator)?;
        }
        if parts.mimi {
            self.open_mimi(None, locator)?;
        }
        if parts.tokenizer {
            let path = locator.tokenizer(self.config.names.tokenizer.as_deref())?;
            self.tokenizer = Some(Tokenizer::File(path));
        }
        Ok(())
    }

    /// Opens a repository that is part of the program.
    ///
    /// # Errors
    /// As [`Repository::open`]; paths in messages begin with the repository's name.
    pub fn embedded(files: &EmbeddedRepository) -> Result<Self> {
        let path = |file: &str| Path::new(files.name).join(file);
        let json = |file: &str, text: &str| {
            serde_json::from_str::<Value>(text).map_err(|e| Error::Format {
                path: path(file),
                expected: "JSON",
                found: e.to_string(),
            })
        };
        let (config, mut warnings) = ModelConfig::from_json(&path("config.json"), json("config.json", files.config)?)?;
        if config.lora.is_some() {
            return Err(Error::Layout {
                path: path("config.json"),
                layout: "a model inside the program with a LoRA adapter".to_owned(),
                advice: "merge the adapter into its file first".to_owned(),
            });
        }
        let lm = TensorFile::embedded(&path("model.safetensors"), files.lm)?;
        let (tensors, layout, more) = resolve_lm(vec![lm], &config)?;
        warnings.extend(more);
        let raw = json("mimi_config.json", files.mimi_config)?;
        let (mimi_config, more) = MimiConfig::from_json(&path("mimi_config.json"), &raw)?;
        warnings.extend(more);
        let mimi = TensorFile::embedded(&path("mimi.safetensors"), files.mimi)?;
        let (mimi, more) = Tensors::resolve(vec![mimi], &mimi_tensors(&mimi_config), &layouts::place_mimi, &|_| false)?;
        warnings.extend(more);
        Ok(Self {
            config,
            config_path: None,
            lm: Some((tensors, layout)),
            mimi: Some((mimi, mimi_config, Some(raw))),
            tokenizer: Some(Tokenizer::Embedded(files.tokenizer)),
            codec_alone: None,
            warnings,
        })
    }

    fn open_lm(&mut self, single: Option<Vec<TensorFile>>, locator: &mut Locator<'_>) -> Result<()> {
        let files = match single {
            Some(files) => files,
            None => {
                let found = locator.lm(self.config.names.moshi.as_deref())?;
                open_files(&found, locator)?
            }
        };
        if self.config.is_silent()
            && let Some(lm) = Shapes(&files).lm()
        {
            if self.config_path.is_none() && lm != LmConfig::moshi_7b() {
                self.warnings.push(without_sizes(&files));
            }
            self.config.lm = lm;
        }
        self.warnings.extend(presence::settle(&mut self.config, &files));
        let (mut tensors, layout, warnings) = resolve_lm(files, &self.config)?;
        if let Some(lora) = &self.config.lora {
            let file = TensorFile::open(&locator.adapter(lora.name.as_deref())?)?;
            tensors.adapt(file, lora, &lm_tensors(&self.config.lm))?;
        }
        self.warnings.extend(warnings);
        self.lm = Some((tensors, layout));
        Ok(())
    }

    fn open_mimi(&mut self, single: Option<Vec<TensorFile>>, locator: &mut Locator<'_>) -> Result<()> {
        let files = match single {
            Some(files) => files,
            None => vec![TensorFile::open(&locator.codec(self.config.names.mimi.as_deref())?)?],
        };
        if !files.iter().any(foreign::is_codec) {
            return Err(layouts::no_codec(&files));
        }
        let (mut config, raw) = (MimiConfig::published(), None);
        let raw = match locator.mimi_config(self.config.names.mimi_config.as_deref())? {
            Some(path) => {
                let json = read_json(&path)?;
                let (read, warnings) = MimiConfig::from_json(&path, &json)?;
                config = read;
                self.warnings.extend(warnings);
                Some(json)
            }
            None if self.config.is_silent() && Shapes(&files).mimi().is_some() => {
                config = Shapes(&files).mimi().unwrap_or(config);
                raw
            }
            None => {
                config.quantizer.n_q = files.iter().map(codebooks).sum::<usize>().max(1);
                raw
            }
        };
        let (tensors, warnings) = Tensors::resolve(files, &mimi_tensors(&config), &layouts::place_mimi, &|_| false)?;
        self.warnings.extend(warnings);
        self.mimi = Some((tensors, config, raw));
        Ok(())
    }

    /// The configuration; that of Moshi 7B where the repository has none.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where the configuration was read from.
    pub fn config_path(&self) -> Option<&Path> {
        self.config_path.as_deref()
    }

    /// Remarks that do not keep the model from working, one sentence each: unknown settings, unused tensors.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The language model's tensors, under canonical names.
    ///
    /// # Errors
    /// [`Error::CodecAlone`] when the source was a codec's file, [`Error::NotOpened`] when [`Parts::lm`] was not asked for.
    pub fn lm(&self) -> Result<Tensors> {
        self.opened_lm().map(|(tensors, _)| tensors.clone())
    }

    /// The layout of the language model's file.
    ///
    /// # Errors
    /// As [`Repository::lm`].
    pub fn lm_layout(&self) -> Result<Layout> {
        self.opened_lm().map(|(_, layout)| *layout)
    }

    fn opened_lm(&self) -> Result<&(Tensors, Layout)> {
        let why = || match &self.codec_alone {
            Some(path) => Error::CodecAlone { path: path.clone() },
            None => Error::NotOpened("language model"),
        };
        self.lm.as_ref().ok_or_else(why)
    }

    /// The codec's tensors.
    ///
    /// # Errors
    /// [`Error::NotOpened`] when [`Parts::mimi`] was not asked for.
    pub fn mimi(&self) -> Result<Tensors> {
        self.mimi.as_ref().map(|(tensors, ..)| tensors.clone()).ok_or(Error::NotOpened("codec"))
    }

    /// The codec's configuration: the published one where the repository has none, with as many codebooks as the file.
    ///
    /// # Errors
    /// As [`Repository::mimi`].
    pub fn mimi_config(&self) -> Result<&MimiConfig> {
        self.mimi.as_ref().map(|(_, config, _)| config).ok_or(Error::NotOpened("codec"))
    }

    /// `mimi_config.json` as it is written, if there is one.
    pub fn mimi_config_json(&self) -> Option<&Value> {
        self.mimi.as_ref().and_then(|(.., raw)| raw.as_ref())
    }

    /// The SentencePiece model itself.
    ///
    /// # Errors
    /// [`Error::NotOpened`] when [`Parts::tokenizer`] was not asked for, or [`Error::Io`].
    pub fn tokenizer_bytes(&self) -> Result<Vec<u8>> {
        match self.tokenizer.as_ref().ok_or(Error::NotOpened("tokenizer"))? {
            Tokenizer::Embedded(bytes) => Ok(bytes.to_vec()),
            Tokenizer::File(path) => read_tokenizer(path),
        }
    }
}

/// The bytes of a SentencePiece model; another file that is well known is named.
fn read_tokenizer(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.to_path_buf(), doing: "read", source })?;
    match foreign::by_bytes(&bytes).filter(|_| !foreign::is_sentencepiece(&bytes)) {
        Some(found) => {
            Err(Error::Format { path: path.to_path_buf(), expected: "a SentencePiece tokenizer (.model)", found })
        }
        None => Ok(bytes),
    }
}

/// The canonical tensors of a language model, checked.
fn resolve_lm(files: Vec<TensorFile>, config: &ModelConfig) -> Result<(Tensors, Layout, Vec<String>)> {
    let lm = &config.lm;
    let layout = layouts::detect(&files)?;
    let place = |spec: &TensorSpec, has: &dyn Fn(&str) -> bool| layouts::place(layout, spec, lm, has);
    let (specs, spare) = (lm_tensors(lm), spare_slices(&files, lm));
    // Steps that share a weight set hold copies of it, and steps that predict the user are not run: both are no surprise.
    let copies = |name: &str| {
        let unused = spare.is_some() && shapes::slice_of(name).is_some_and(|k| k >= lm.dep_q);
        unused || layout != Layout::PyTorch && name.starts_with("depformer.")
    };
    let stacked = |spec: TensorSpec| TensorSpec { sets: spare.filter(|_| spec.sets > 1).unwrap_or(spec.sets), ..spec };
    let specs: Vec<_> = specs.into_iter().map(stacked).collect();
    let (tensors, warnings) = Tensors::resolve(files, &specs, &place, &copies)?;
    for (first, second) in layouts::shared(layout, lm) {
        if tensors.bytes(&first).is_some() && tensors.bytes(&second).is_some_and(|b| Some(b) != tensors.bytes(&first)) {
            let path = tensors.paths().next().map(Path::to_path_buf).unwrap_or_default();
            return Err(Error::Unshared { path, first, second });
        }
    }
    Ok((tensors, layout, warnings))
}

/// How many steps of the depth transformer the files hold, where that is more than the model runs and each step has its
/// own weights: a role-play model predicts the user too, who is always given.
fn spare_slices(files: &[TensorFile], lm: &LmConfig) -> Option<usize> {
    let own = |depth: &DepformerConfig| depth.weights_per_step && depth.schedule.iter().copied().eq(0..lm.dep_q);
    let slices = Shapes(files).slices();
    (slices > lm.dep_q && lm.depformer.as_ref().is_some_and(own)).then_some(slices)
}

/// What is to be known of a model whose sizes nobody has said.
fn without_sizes(files: &[TensorFile]) -> String {
    let path = files.first().map(|file| file.path().display().to_string()).unwrap_or_default();
    format!(
        "{path}: no configuration is with it; sizes are those of its tensors, and heads, window and delays as in Moshi 7B"
    )
}

/// An error of tensors that do not fit sizes which no file has said.
fn without_config(error: Error) -> Error {
    match error {
        Error::MissingTensors { .. } | Error::Shape { .. } => Error::WithoutConfig(Box::new(error)),
        other => other,
    }
}

/// Codebooks in a codec file.
fn codebooks(file: &TensorFile) -> usize {
    file.tensors().keys().filter(|n| n.ends_with("._codebook.embedding_sum")).count()
}

/// Opens a file and those that it says belong to it: the other parts, or all files of an index.
fn open_files(found: &Found, locator: &mut Locator<'_>) -> Result<Vec<TensorFile>> {
    let name = found.path.file_name().unwrap_or_default().to_string_lossy();
    let names = if found.path.extension().is_some_and(|e| e == "json") {
        read_index(&found.path)?
    } else if let Some(part) = PartName::parse(&name) {
        part.all().map(|part| part.to_string()).collect()
    } else {
        Vec::new()
    };
    let paths = if names.is_empty() { vec![found.path.clone()] } else { locator.beside(found, &names)? };
    let files = paths.iter().map(|path| TensorFile::open(path)).collect::<Result<Vec<_>>>()?;
    layouts::check_split(&files)?;
    Ok(files)
}

/// The files that an index names.
fn read_index(path: &Path) -> Result<Vec<String>> {
    let index = read_json(path)?;
    let files: Option<BTreeSet<&str>> =
        index.get("weight_map").and_then(Value::as_object).and_then(|map| map.values().map(Value::as_str).collect());
    match files.filter(|files| !files.is_empty()) {
        Some(files) => Ok(files.into_iter().map(str::to_owned).collect()),
        None => Err(Error::Format {
            path: path.to_path_buf(),
            expected: "an index of safetensors files",
            found: "JSON without a \"weight_map\" of file names; give the model's folder, or the file of its weights"
                .to_owned(),
        }),
    }
}
