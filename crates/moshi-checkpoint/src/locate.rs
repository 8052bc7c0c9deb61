//! Finding a repository's files, on disk or on the hub.

use std::path::{Path, PathBuf};

use crate::hub::{Hub, HubError, Progress};
use crate::repository::OpenOptions;
use crate::source::{HubSource, Source, is_inside};
use crate::{Error, Result};

/// Names that published repositories give their language model, in the order they are tried.
const LM_NAMES: [&str; 5] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "model.q8.gguf",
    "model.q8.safetensors",
    "model.q4.safetensors",
];
const MIMI_NAME: &str = "tokenizer-e351c8d8-checkpoint125.safetensors";
const ADAPTER_NAME: &str = "lora.safetensors";
const TOKENIZER_NAME: &str = "tokenizer_spm_32k_3.model";

/// Where the files of a repository lie.
enum Root<'a> {
    Folder(PathBuf),
    Hub(HubSource, Box<Hub<'a>>),
}

/// Finds, and downloads where needed, the files of one repository.
pub(crate) struct Locator<'a> {
    root: Root<'a>,
    single: Option<Single>,
    options: &'a OpenOptions,
    progress: &'a mut dyn Progress,
}

#[derive(Clone)]
enum Single {
    Path(PathBuf),
    Hub(String),
}

impl<'a> Locator<'a> {
    pub(crate) fn new(source: &Source, options: &'a OpenOptions, progress: &'a mut dyn Progress) -> Result<Self> {
        let (root, single) = match source {
            Source::Folder(path) => (Root::Folder(path.clone()), None),
            Source::File(path) => {
                let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                (Root::Folder(folder.to_path_buf()), Some(Single::Path(path.clone())))
            }
            Source::Hub(hub) => {
                let root = Root::Hub(hub.clone(), Box::new(Hub::new(&options.hub, hub)?));
                (root, hub.file.clone().map(Single::Hub))
            }
        };
        Ok(Self { root, single, options, progress })
    }

    /// The file that the source names, when it names one.
    pub(crate) fn single_file(&mut self) -> Result<Option<PathBuf>> {
        match self.single.clone() {
            None => Ok(None),
            Some(Single::Path(path)) => Ok(Some(path)),
            Some(Single::Hub(file)) => self.need("model", &file).map(Some),
        }
    }

    /// config.json, if there is one.
    pub(crate) fn config(&mut self) -> Result<Option<PathBuf>> {
        match &self.options.config {
            Some(given) => self.given(given).map(Some),
            None => self.find("config.json"),
        }
    }

    /// The language model's file or index.
    pub(crate) fn lm(&mut self, name: Option<&str>) -> Result<PathBuf> {
        if let Some(given) = &self.options.files.moshi {
            return self.given(given);
        }
        let Some(name) = name else {
            for name in LM_NAMES {
                if let Some(path) = self.find(name)? {
                    return Ok(path);
                }
            }
            return Err(self.no_file("language model", LM_NAMES[0]));
        };
        if let Some(path) = self.find(name)? {
            return Ok(path);
        }
        match self.find(&format!("{name}.index.json"))? {
            Some(path) => Ok(path),
            None => Err(self.no_file("language model", name)),
        }
    }

    /// The codec's or tokenizer's file.
    pub(crate) fn file(&mut self, what: &'static str, name: Option<&str>) -> Result<PathBuf> {
        let files = &self.options.files;
        let (given, default) =
            if what == "codec" { (&files.mimi, MIMI_NAME) } else { (&files.tokenizer, TOKENIZER_NAME) };
        match given {
            Some(given) => self.given(given),
            None => self.need(what, name.unwrap_or(default)),
        }
    }

    /// The adapter's file.
    pub(crate) fn adapter(&mut self, name: Option<&str>) -> Result<PathBuf> {
        self.need("LoRA adapter", name.unwrap_or(ADAPTER_NAME))
    }

    /// The codec's configuration: the one named, or one that lies beside it on disk.
    pub(crate) fn mimi_config(&mut self, name: Option<&str>) -> Result<Option<PathBuf>> {
        match (&self.options.files.mimi_config, name) {
            (Some(given), _) => self.given(given).map(Some),
            (None, Some(name)) => self.need("codec configuration", name).map(Some),
            (None, None) => match &self.root {
                Root::Folder(_) => self.find("mimi_config.json"),
                Root::Hub(..) => Ok(None),
            },
        }
    }

    /// A file that an index names, beside the index.
    pub(crate) fn beside(&mut self, index: &Path, name: &str) -> Result<PathBuf> {
        match (&self.root, index.parent()) {
            (Root::Hub(..), _) => self.need("language model", name),
            (Root::Folder(_), Some(folder)) if is_inside(name) => Ok(folder.join(name)),
            _ => Err(outside(name)),
        }
    }

    /// A file that the caller chose: a path, `file:///path` or `hf://owner/name/file`.
    fn given(&mut self, given: &str) -> Result<PathBuf> {
        match Source::parse(given)? {
            Source::File(path) => Ok(path),
            Source::Hub(HubSource { file: Some(file), repo, revision }) => {
                let repo = HubSource { repo, revision, file: None };
                Ok(Hub::new(&self.options.hub, &repo)?.fetch(&file, self.progress)?)
            }
            _ => Err(Error::Source { given: given.to_owned(), problem: "expected a file".to_owned() }),
        }
    }

    fn need(&mut self, what: &'static str, name: &str) -> Result<PathBuf> {
        self.find(name)?.ok_or_else(|| self.no_file(what, name))
    }

    /// A file that the configuration names: inside the repository, `file:///path` or `hf://owner/name/file`.
    fn find(&mut self, name: &str) -> Result<Option<PathBuf>> {
        if name.contains("://") {
            return self.given(name).map(Some);
        }
        if !is_inside(name) {
            return Err(outside(name));
        }
        match &mut self.root {
            Root::Folder(folder) => Ok(Some(folder.join(name)).filter(|p| p.exists())),
            Root::Hub(_, hub) => match hub.fetch(name, self.progress) {
                Ok(path) => Ok(Some(path)),
                Err(HubError::NoFile { .. }) => Ok(None),
                Err(e) => Err(e.into()),
            },
        }
    }

    fn no_file(&self, what: &'static str, name: &str) -> Error {
        let (folder, advice) = match &self.root {
            Root::Hub(hub, _) => (PathBuf::from(hub.to_string()), "name the file in config.json".to_owned()),
            Root::Folder(folder) => (folder.clone(), format!("the folder holds {}", listing(folder))),
        };
        Error::NoFile { folder, what, name: name.to_owned(), advice }
    }
}

fn outside(name: &str) -> Error {
    let problem = "not a file inside the repository".to_owned();
    Error::Source { given: name.to_owned(), problem }
}

/// Some files of a folder, for a message.
fn listing(folder: &Path) -> String {
    let Ok(entries) = std::fs::read_dir(folder) else { return "nothing that can be read".to_owned() };
    let mut names: Vec<_> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    if names.is_empty() { "no files".to_owned() } else { crate::error::some_of(&names) }
}
