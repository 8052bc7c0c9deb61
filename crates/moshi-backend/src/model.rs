//! From a configuration to a model that the engine can drive.

use std::sync::Arc;

use anyhow::Context;
use moshi_checkpoint::config::FileNames;
use moshi_checkpoint::{HubOptions, OpenOptions, Progress, Repository, Source};
use moshi_engine::{EngineError, FrameModel, Loopback, ModelMemory, SessionParams, SpeechModel};
use moshi_model::{LoadOptions, Loaded, Roles};

use crate::config::{ModelSource, ModelSpec};
use crate::recognition::Recognition;

/// Makes a model's memory for a number of rows over weights that are shared.
pub type MakeModel = dyn FnMut(usize) -> Result<Box<dyn FrameModel>, EngineError> + Send;

/// A loaded model, and what is worth telling about it.
pub struct ModelHost {
    /// Name for people and metadata: a file, a repository, `loopback`.
    pub name: String,
    /// Something a caller must know, such as that the model is untrained.
    pub notice: Option<String>,
    /// What a session gets when its caller chooses nothing.
    pub defaults: SessionParams,
    /// What it and its sessions take; nothing for a model that does not say.
    pub memory: Option<ModelMemory>,
    /// What writes recordings down, where the model is for that.
    pub(crate) recognition: Option<Recognition>,
    /// What makes prompts of voices and roles, where the model plays them.
    pub roles: Option<Arc<Roles>>,
    make: Box<MakeModel>,
}

impl ModelHost {
    /// A host around any way of making a model.
    pub fn new(
        name: impl Into<String>,
        make: impl FnMut(usize) -> Result<Box<dyn FrameModel>, EngineError> + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            notice: None,
            defaults: SessionParams::default(),
            memory: None,
            recognition: None,
            roles: None,
            make: Box::new(make),
        }
    }

    /// No model at all: every caller hears itself.
    pub fn loopback() -> Self {
        let notice = "no model is loaded: every caller hears itself (loopback)".to_owned();
        Self { notice: Some(notice), ..Self::new("loopback", |rows| Ok(Box::new(Loopback::new(rows)))) }
    }

    /// Loads what the configuration asks for; downloads it first if it is on the hub. Blocks.
    ///
    /// # Errors
    /// Says which file or repository, what was found and what was expected.
    pub fn load(spec: &ModelSpec) -> anyhow::Result<Self> {
        if spec.source == ModelSource::Loopback {
            return Ok(Self::loopback());
        }
        Ok(Self::of_loaded(&load(spec)?))
    }

    /// A host of a loaded model, with what else it is for than calls.
    pub fn of_loaded(loaded: &Loaded) -> Self {
        Self { recognition: Recognition::of(loaded), roles: loaded.roles.clone(), ..Self::of(loaded.model.clone()) }
    }

    /// A host of a loaded model.
    pub fn of(model: Arc<dyn SpeechModel>) -> Self {
        let info = model.info();
        let (notice, defaults) = (info.notice.clone(), info.defaults);
        let memory = Some(info.memory);
        Self { notice, defaults, memory, ..Self::new(info.source.clone(), move |rows| model.new_rows(rows)) }
    }

    /// A model with fresh memory for `rows` sessions.
    ///
    /// # Errors
    /// When there is not enough memory, or the device failed.
    pub fn make(&mut self, rows: usize) -> Result<Box<dyn FrameModel>, EngineError> {
        (self.make)(rows)
    }
}

/// Loads a model and its codec.
///
/// # Errors
/// As [`ModelHost::load`]; the loopback is no model.
pub fn load(spec: &ModelSpec) -> anyhow::Result<Loaded> {
    let options = LoadOptions {
        device: spec.device.as_deref().unwrap_or("auto").parse()?,
        dtype: spec.dtype.as_deref().map(str::parse).transpose()?,
        quantize: spec.quantize,
        exact: spec.exact,
        threads: spec.threads,
        voices: spec.voices.clone(),
        ..LoadOptions::default()
    };
    let (source, name) = match &spec.source {
        ModelSource::BuiltIn => return Ok(moshi_model::builtin(&options)?),
        ModelSource::Loopback => anyhow::bail!("the loopback is no model; name a folder, a repository or \"built-in\""),
        ModelSource::Path(path) => (Source::parse(&path.to_string_lossy())?, path.display().to_string()),
        ModelSource::Repo(repo) => (Source::parse(repo)?, repo.clone()),
    };
    let files = FileNames {
        moshi: spec.lm_model_file.clone().filter(|_| !matches!(source, Source::File(_))),
        mimi: spec.mimi_model_file.clone(),
        tokenizer: spec.text_tokenizer_file.clone(),
        ..FileNames::default()
    };
    let open = OpenOptions { files, hub: HubOptions::from_env(), ..OpenOptions::default() };
    let repository = Repository::open(&source, &open, &mut DownloadLog::default())
        .with_context(|| format!("cannot open the model {name}"))?;
    for warning in repository.warnings() {
        tracing::warn!("{warning}");
    }
    moshi_model::load_model(&repository, &name, &options).with_context(|| format!("cannot load the model {name}"))
}

/// Downloads in the log: a line at the start, at every tenth, and at the end.
#[derive(Default)]
struct DownloadLog {
    file: String,
    size: u64,
    tenths: u64,
}

impl Progress for DownloadLog {
    fn start(&mut self, file: &str, done: u64, size: u64) {
        tracing::info!(file, megabytes = size >> 20, already = done >> 20, "downloading");
        *self = Self { file: file.to_owned(), size, tenths: 10 * done / size.max(1) };
    }

    fn update(&mut self, done: u64) {
        let tenths = 10 * done / self.size.max(1);
        if tenths != self.tenths {
            self.tenths = tenths;
            tracing::info!(file = self.file, percent = 10 * tenths, "downloading");
        }
    }

    fn finish(&mut self) {
        tracing::info!(file = self.file, "downloaded");
    }
}
