//! Which model a configuration asks for.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use moshi_checkpoint::Source;
use moshi_checkpoint::quantize::Quantize;

use super::ConfigError;
use super::reader::Reader;

/// Where a model can run, as `device` and `--device` say it.
pub(crate) const DEVICES: [&str; 5] = ["auto", "cpu", "cuda", "metal", "reference"];
/// Number formats of weights, as `dtype` and `--dtype` say them.
pub(crate) const DTYPES: [&str; 3] = ["f32", "f16", "bf16"];
/// Most threads per step.
pub(crate) const MOST_THREADS: u64 = 1_024;

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ModelSource {
    /// The small model inside the binary.
    #[default]
    BuiltIn,
    /// No model: every caller hears itself. For trying microphones and wires.
    Loopback,
    /// A folder, or a model file.
    Path(PathBuf),
    /// A repository of the hub, or a file of it, as [`Source::parse`] understands it: `owner/name@revision`.
    Repo(String),
}

impl ModelSource {
    /// Reads what `--model` accepts: `built-in`, `loopback`, and whatever [`Source::parse`] understands: an existing path,
    /// `owner/name`, `owner/name@revision`, `hf://owner/name@revision`, ...
    ///
    /// # Errors
    /// What is neither, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "built-in" => return Ok(Self::BuiltIn),
            "loopback" => return Ok(Self::Loopback),
            _ => {}
        }
        match Source::parse(text) {
            Ok(Source::Folder(path) | Source::File(path)) => Ok(Self::Path(path)),
            Ok(Source::Hub(_)) => Ok(Self::Repo(text.to_owned())),
            Err(_) => Err(format!(
                "{text} is neither a file or folder here nor a repository id such as kyutai/moshika-pytorch-bf16 or \
                 owner/name@revision, nor \"built-in\" or \"loopback\""
            )),
        }
    }
}

/// A model and, where they differ from its `config.json`, its files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelSpec {
    /// Where the model comes from.
    pub source: ModelSource,
    /// The language model's file: a path, or `hf://owner/name/file`.
    pub lm_model_file: Option<String>,
    /// The text tokenizer's file, likewise.
    pub text_tokenizer_file: Option<String>,
    /// The codec's file, likewise.
    pub mimi_model_file: Option<String>,
    /// One of `auto`, `cpu`, `cuda`, `metal`, `reference`; none is `auto`.
    pub device: Option<String>,
    /// `f32`, `bf16`, ...; none is what the file holds.
    pub dtype: Option<String>,
    /// Integers to make of the weights while they are loaded; none keeps what the file holds.
    pub quantize: Option<Quantize>,
    /// Round nothing for speed (see `moshi_model::LoadOptions::exact`).
    pub exact: bool,
    /// The folder of the voices that callers choose from, where the model plays roles; none is `voices` beside the model.
    pub voices: Option<PathBuf>,
    /// Threads per step; none is one for each core, or one where steps are small.
    pub threads: Option<NonZeroUsize>,
}

impl ModelSpec {
    /// Takes the keys that name a model: the published server's `hf_repo` and files, or our `model`.
    pub(super) fn read(r: &mut Reader) -> Result<Self, ConfigError> {
        let mut spec = Self {
            source: ModelSource::BuiltIn,
            lm_model_file: r.text("lm_model_file")?,
            text_tokenizer_file: r.text("text_tokenizer_file")?,
            mimi_model_file: one_of_two(r, "mimi_model_file", "encodec_model_file")?,
            device: choice(r, "device", &DEVICES)?,
            dtype: choice(r, "dtype", &DTYPES)?,
            quantize: choice(r, "quantize", &["q8", "q4"])?.and_then(|q| q.parse().ok()),
            exact: r.flag("exact")?.unwrap_or(false),
            voices: r.path("voices")?,
            threads: r.whole("threads", 1, MOST_THREADS)?.and_then(|n| NonZeroUsize::new(usize::try_from(n).ok()?)),
        };
        let (model, repo) = (r.text("model")?, r.text("hf_repo")?.filter(|s| !s.is_empty()));
        spec.source = match (model, repo, &spec.lm_model_file) {
            (Some(model), Some(repo), _) if model != repo => {
                let why = format!("{model} and {repo} are two models; keep one");
                return Err(ConfigError::contradiction(r.file(), "model", "hf_repo", why));
            }
            (Some(model), _, _) => ModelSource::parse(&model).map_err(|_| {
                r.wrong(
                    "model",
                    &model.into(),
                    "an existing path, a repository id owner/name or owner/name@revision, \"built-in\" or \"loopback\"",
                )
            })?,
            (None, Some(repo), _) => ModelSource::Repo(repo),
            (None, None, Some(file)) => ModelSource::Path(file.into()),
            (None, None, None) => ModelSource::BuiltIn,
        };
        spec.locate_files();
        Ok(spec)
    }

    /// Says where each named file is: a path if there is one, else in the model's folder or repository. As the published
    /// server does, a path that does not exist is looked for in the repository by its last part.
    fn locate_files(&mut self) {
        let Self { source, lm_model_file, text_tokenizer_file, mimi_model_file, .. } = self;
        for file in [lm_model_file, text_tokenizer_file, mimi_model_file].into_iter().flatten() {
            let path = Path::new(file.as_str());
            if file.contains("://") || path.exists() {
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match source {
                ModelSource::Repo(repo) => {
                    if let Ok(Source::Hub(hub)) = Source::parse(repo) {
                        *file = hub.with_file(name).to_string();
                    }
                }
                ModelSource::Path(folder) if folder.join(path).exists() => {
                    *file = folder.join(path).to_string_lossy().into_owned();
                }
                _ => {}
            }
        }
    }
}

fn one_of_two(r: &mut Reader, ours: &'static str, older: &'static str) -> Result<Option<String>, ConfigError> {
    match (r.text(ours)?, r.text(older)?) {
        (Some(a), Some(b)) if a != b => Err(ConfigError::contradiction(
            r.file(),
            ours,
            older,
            format!("{a} and {b} are both the codec's file; keep one"),
        )),
        (a, b) => Ok(a.or(b)),
    }
}

fn choice(r: &mut Reader, key: &'static str, allowed: &[&str]) -> Result<Option<String>, ConfigError> {
    match r.text(key)? {
        Some(found) if !allowed.contains(&found.as_str()) => {
            Err(r.wrong(key, &found.into(), &format!("one of {}", allowed.join(", "))))
        }
        found => Ok(found),
    }
}
