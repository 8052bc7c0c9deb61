//! Finding a repository's files, on disk or on the hub.

use std::path::{Path, PathBuf};

use crate::foreign;
use crate::hub::{Hub, HubError, Progress};
use crate::hub_source::HubSource;
use crate::part_name::PartName;
use crate::repository::OpenOptions;
use crate::source::{Source, is_inside};
use crate::{Error, Result};

/// Names that published repositories give their language model, in the order they are tried.
const LM_NAMES: [&str; 5] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "model.q8.gguf",
    "model.q8.safetensors",
    "model.q4.safetensors",
];
const MIMI_NAMES: [&str; 4] = [
    "tokenizer-e351c8d8-checkpoint125.safetensors",
    "mimi.safetensors",
    "mimi-pytorch-e351c8d8@125.safetensors",
    "mimi-dbaa9758@125.safetensors",
];
const TOKENIZER_NAMES: [&str; 6] = [
    "tokenizer_spm_32k_3.model",
    "tokenizer.model",
    "tokenizer_spm_48k_multi6_2.model",
    "tokenizer_spm_8k_en_fr_audio.model",
    "tokenizer_en_fr_audio_8000.model",
    "tokenizer_en_audio_4000.model",
];
/// What says how large a model is, in the order it is looked for: most repositories have the first, some the arguments of
/// the PyTorch constructor, those of the Rust programs the last.
const CONFIG_NAMES: [&str; 3] = ["config.json", "moshi_lm_kwargs.json", "config.toml"];
const ADAPTER_NAME: &str = "lora.safetensors";

/// Where the files of a repository lie.
enum Root<'a> {
    Folder(PathBuf),
    Hub(HubSource, Box<Hub<'a>>),
}

/// A file that was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    place: Place,
}

/// Where the files are that belong to a found one.
#[derive(Debug, Clone)]
enum Place {
    /// Beside it.
    Disk,
    /// In the repository, where it has this name.
    Repository(String),
    /// In another repository.
    Elsewhere(HubSource),
}

/// Finds, and downloads where needed, the files of one repository.
pub(crate) struct Locator<'a> {
    root: Root<'a>,
    single: Option<Single>,
    options: &'a OpenOptions,
    progress: &'a mut dyn Progress,
    /// Names of which nobody could say whether they are in the repository, and why.
    unknown: Vec<(String, HubError)>,
    warnings: Vec<String>,
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
        Ok(Self { root, single, options, progress, unknown: Vec::new(), warnings: Vec::new() })
    }

    /// Says that everything that was looked for has been found.
    pub(crate) fn settle(&mut self) {
        if let Root::Hub(_, hub) = &mut self.root {
            hub.settle();
        }
    }

    /// What a person should know of how the files were found, one sentence each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let complaint = match &self.root {
            Root::Hub(_, hub) => hub.complaint().map(served_from_cache),
            Root::Folder(_) => None,
        };
        complaint.into_iter().chain(self.warnings.iter().cloned()).collect()
    }

    /// The file that the source names, when it names one.
    pub(crate) fn single_file(&mut self) -> Result<Option<Found>> {
        match self.single.clone() {
            None => Ok(None),
            Some(Single::Path(path)) => Ok(Some(Found { path, place: Place::Disk })),
            Some(Single::Hub(file)) => self.need("model", &file).map(Some),
        }
    }

    /// config.json or what stands for it, if there is one.
    pub(crate) fn config(&mut self) -> Result<Option<PathBuf>> {
        let found = match &self.options.config {
            Some(given) => Some(self.given(given)?),
            None => self.find_first(&CONFIG_NAMES)?,
        };
        Ok(found.map(|found| found.path))
    }

    /// The language model's file or index.
    pub(crate) fn lm(&mut self, name: Option<&str>) -> Result<Found> {
        if let Some(given) = &self.options.files.moshi {
            return self.given(given);
        }
        let Some(name) = name else {
            let usual = self.find_first(&LM_NAMES)?.or_else(|| self.only_first_part(None));
            return match usual.or_else(|| self.only_one(&may_be_model)) {
                Some(found) => Ok(found),
                None => Err(self.no_file("language model", LM_NAMES[0])),
            };
        };
        if let Some(found) = self.find(name)? {
            return Ok(found);
        }
        match self.find(&format!("{name}.index.json"))?.or_else(|| self.only_first_part(Some(name))) {
            Some(found) => Ok(found),
            None => Err(self.no_file("language model", name)),
        }
    }

    /// The codec's file.
    pub(crate) fn codec(&mut self, name: Option<&str>) -> Result<PathBuf> {
        let given = self.options.files.mimi.as_deref();
        self.part("codec", (given, name), &MIMI_NAMES, &|name| is_codec_name(name) && may_be_weights(name))
    }

    /// The tokenizer's file.
    pub(crate) fn tokenizer(&mut self, name: Option<&str>) -> Result<PathBuf> {
        let given = self.options.files.tokenizer.as_deref();
        self.part("tokenizer", (given, name), &TOKENIZER_NAMES, &|name| name.ends_with(".model"))
    }

    /// The file given, else the one named, else one with a usual name, else the only one that looks like it.
    fn part(
        &mut self,
        what: &'static str,
        (given, name): (Option<&str>, Option<&str>),
        usual: &[&'static str],
        looks: &dyn Fn(&str) -> bool,
    ) -> Result<PathBuf> {
        let found = match (given, name) {
            (Some(given), _) => self.given(given)?,
            (None, Some(name)) => self.need(what, name)?,
            (None, None) => match self.find_first(usual)?.or_else(|| self.only_one(looks)) {
                Some(found) => found,
                None => return Err(self.no_file(what, usual[0])),
            },
        };
        Ok(found.path)
    }

    /// The adapter's file.
    pub(crate) fn adapter(&mut self, name: Option<&str>) -> Result<PathBuf> {
        Ok(self.need("LoRA adapter", name.unwrap_or(ADAPTER_NAME))?.path)
    }

    /// The codec's configuration: the one named, or one that lies beside it on disk.
    pub(crate) fn mimi_config(&mut self, name: Option<&str>) -> Result<Option<PathBuf>> {
        let found = match (&self.options.files.mimi_config, name) {
            (Some(given), _) => Some(self.given(given)?),
            (None, Some(name)) => Some(self.need("codec configuration", name)?),
            (None, None) => match &self.root {
                Root::Folder(_) => self.find("mimi_config.json")?,
                Root::Hub(..) => None,
            },
        };
        Ok(found.map(|found| found.path))
    }

    /// The files `names`, which belong to a found one and lie beside it. All of them, or an error that counts.
    pub(crate) fn beside(&mut self, found: &Found, names: &[String]) -> Result<Vec<PathBuf>> {
        let (mut paths, mut missing) = (Vec::new(), Vec::new());
        for name in names {
            if !is_inside(name) {
                return Err(outside(name));
            }
            match self.sibling(found, name)? {
                Some(path) => paths.push(path),
                None => missing.push(name.clone()),
            }
        }
        if missing.is_empty() {
            return Ok(paths);
        }
        if let Some(error) = self.why_unknown(&missing[0]) {
            return Err(error.into());
        }
        Err(Error::MissingParts {
            path: found.path.clone(),
            count: missing.len(),
            needed: names.len(),
            names: crate::error::some_of(&missing),
        })
    }

    fn sibling(&mut self, found: &Found, name: &str) -> Result<Option<PathBuf>> {
        let beside =
            |file: &str| file.rsplit_once('/').map_or(name.to_owned(), |(folder, _)| format!("{folder}/{name}"));
        let sibling = match &found.place {
            Place::Disk => return Ok(Some(found.path.with_file_name(name)).filter(|p| p.exists())),
            Place::Repository(file) => self.find(&beside(file))?,
            Place::Elsewhere(hub) => {
                let file = beside(hub.file.as_deref().unwrap_or_default());
                Some(self.fetch_elsewhere(&hub.with_file(file))?)
            }
        };
        Ok(sibling.map(|found| found.path))
    }

    /// The first part of a model in parts that has no index: of the file `whole`, or of the only such model in a folder.
    fn only_first_part(&self, whole: Option<&str>) -> Option<Found> {
        let Root::Folder(folder) = &self.root else { return None };
        let is_first = |name: &String| {
            let readable = name.ends_with(".safetensors") || name.ends_with(".gguf");
            let is_meant = |part: &PartName| part.number == 1 && whole.is_none_or(|whole| part.whole() == whole);
            readable && PartName::parse(name).as_ref().is_some_and(is_meant)
        };
        let first: Vec<_> = names_in(folder).into_iter().filter(is_first).collect();
        let [only] = &first[..] else { return None };
        Some(Found { path: folder.join(only), place: Place::Repository(only.clone()) })
    }

    /// The only file of a folder whose name may be meant.
    fn only_one(&self, may_be: &dyn Fn(&str) -> bool) -> Option<Found> {
        let Root::Folder(folder) = &self.root else { return None };
        let names: Vec<_> = names_in(folder).into_iter().filter(|name| may_be(name)).collect();
        let [only] = &names[..] else { return None };
        Some(Found { path: folder.join(only), place: Place::Repository(only.clone()) })
    }

    /// A file that the caller chose: a path, `file:///path` or `hf://owner/name/file`.
    fn given(&mut self, given: &str) -> Result<Found> {
        match Source::parse(given)? {
            Source::File(path) => Ok(Found { path, place: Place::Disk }),
            Source::Hub(hub) if hub.file.is_some() => self.fetch_elsewhere(&hub),
            _ => Err(Error::Source { given: given.to_owned(), problem: "expected a file".to_owned() }),
        }
    }

    /// A file of another repository.
    fn fetch_elsewhere(&mut self, source: &HubSource) -> Result<Found> {
        let mut hub = Hub::new(&self.options.hub, source)?;
        let path = hub.fetch(source.file.as_deref().unwrap_or_default(), self.progress)?;
        hub.settle();
        self.warnings.extend(hub.complaint().map(served_from_cache));
        Ok(Found { path, place: Place::Elsewhere(source.clone()) })
    }

    fn need(&mut self, what: &'static str, name: &str) -> Result<Found> {
        match self.find(name)? {
            Some(found) => Ok(found),
            None => Err(self.no_file(what, name)),
        }
    }

    fn find_first(&mut self, names: &[&str]) -> Result<Option<Found>> {
        for name in names {
            if let Some(found) = self.find(name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A file that the configuration names: inside the repository, or `hf://owner/name/file`. It comes from somebody else,
    /// who may not name other files of this machine.
    ///
    /// When nobody can be asked, a file that is not in the cache is not there: what it is needed for says so.
    fn find(&mut self, name: &str) -> Result<Option<Found>> {
        if name.starts_with("hf://") {
            return self.given(name).map(Some);
        }
        if !is_inside(name) {
            return Err(outside(name));
        }
        let path = match &mut self.root {
            Root::Folder(folder) => Some(folder.join(name)).filter(|p| p.exists()),
            Root::Hub(_, hub) => match hub.fetch(name, self.progress) {
                Ok(path) => Some(path),
                Err(HubError::NoFile { .. }) => None,
                Err(e) if e.leaves_the_cache() => {
                    self.unknown.push((name.to_owned(), e));
                    None
                }
                Err(e) => return Err(e.into()),
            },
        };
        Ok(path.map(|path| Found { path, place: Place::Repository(name.to_owned()) }))
    }

    /// Why nobody could say whether a file is in the repository; of several reasons the one about this file.
    fn why_unknown(&mut self, name: &str) -> Option<HubError> {
        let about = self.unknown.iter().position(|(unknown, _)| unknown == name).unwrap_or(0);
        (!self.unknown.is_empty()).then(|| self.unknown.remove(about).1)
    }

    fn no_file(&mut self, what: &'static str, name: &str) -> Error {
        if let Some(error) = self.why_unknown(name) {
            return error.into();
        }
        let (folder, advice) = match &mut self.root {
            Root::Hub(source, hub) => {
                let probe = foreign::PROBES.iter().find(|probe| what == "language model" && hub.has(probe));
                let hint = probe.and_then(|probe| told(probe)).map(|hint| format!("the repository holds {hint}"));
                let advice = hint.unwrap_or_else(|| "name the file in config.json".to_owned());
                (PathBuf::from(HubSource { file: None, ..source.clone() }.to_string()), advice)
            }
            Root::Folder(folder) => (folder.clone(), contents(folder)),
        };
        Error::NoFile { folder, what, name: name.to_owned(), advice }
    }
}

/// Whether a name is one of weights that can be read: no part of several, and nothing that is known to be something else.
fn may_be_weights(name: &str) -> bool {
    let readable = name.ends_with(".safetensors") || name.ends_with(".gguf");
    readable && PartName::parse(name).is_none() && foreign::by_name(name).is_none()
}

/// Whether a file of weights is a codec, by its name.
fn is_codec_name(name: &str) -> bool {
    name.contains("mimi") || name.starts_with("tokenizer")
}

fn may_be_model(name: &str) -> bool {
    may_be_weights(name) && !is_codec_name(name)
}

fn served_from_cache(complaint: &str) -> String {
    format!("{complaint} (what is in the cache is used)")
}

fn outside(name: &str) -> Error {
    let problem = "not a file inside the repository".to_owned();
    Error::Source { given: name.to_owned(), problem }
}

/// What a file that cannot be used is, by its name.
fn told(name: &str) -> Option<String> {
    foreign::by_name(name).map(|what| format!("{name}, {what}"))
}

/// What a folder holds, for a message: some names, and what is to be said about one of them.
fn contents(folder: &Path) -> String {
    let names = names_in(folder);
    let some = if names.is_empty() { "no files".to_owned() } else { crate::error::some_of(&names) };
    match names.iter().find_map(|name| told(name)) {
        Some(hint) => format!("the folder holds {some}; there is {hint}"),
        None => format!("the folder holds {some}"),
    }
}

/// The names of a folder's files, sorted; none where it cannot be read.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
