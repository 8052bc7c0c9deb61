//! Where a model is: a folder, a file, or a repository of the hub.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{Error, Result};

/// A model's whereabouts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder that holds what a repository holds.
    Folder(PathBuf),
    /// One file, the rest beside it.
    File(PathBuf),
    /// A repository of the hub, or one file of it.
    Hub(HubSource),
}

/// A repository of the hub, or one file of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubSource {
    /// `owner/name`.
    pub repo: String,
    /// Branch, tag or commit; `main` where none is given.
    pub revision: Option<String>,
    /// The file inside the repository, where one is meant.
    pub file: Option<String>,
}

impl Source {
    /// Understands a folder, a file, `file:///path`, `owner/name[@revision]` and
    /// `hf://owner/name[@revision][/file]`. What exists on disk wins over a repository of the same name.
    ///
    /// # Errors
    /// [`Error::Source`] when it is none of these.
    pub fn parse(given: &str) -> Result<Self> {
        let error = |problem: &str| Error::Source { given: given.to_owned(), problem: problem.to_owned() };
        if let Some(rest) = given.strip_prefix("hf://") {
            return HubSource::parse(rest).map(Self::Hub).map_err(error);
        }
        if let Some((scheme, _)) = given.split_once("://")
            && scheme != "file"
        {
            return Err(error(&format!("{scheme}:// is not understood")));
        }
        let path = Path::new(given.strip_prefix("file://").unwrap_or(given));
        if path.is_dir() {
            return Ok(Self::Folder(path.to_path_buf()));
        }
        if path.exists() {
            return Ok(Self::File(path.to_path_buf()));
        }
        match HubSource::parse(given) {
            Ok(hub) if hub.file.is_none() && !looks_like_file(given) => Ok(Self::Hub(hub)),
            _ if given.trim().is_empty() => Err(error("nothing is given")),
            _ => Err(error("there is no such folder or file")),
        }
    }
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        Self::parse(s)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) | Self::File(path) => write!(f, "{}", path.display()),
            Self::Hub(hub) => write!(f, "{hub}"),
        }
    }
}

impl fmt::Display for HubSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf://{}", self.repo)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        match &self.file {
            Some(file) => write!(f, "/{file}"),
            None => Ok(()),
        }
    }
}

impl HubSource {
    /// A whole repository at its main branch.
    pub fn new(repo: impl Into<String>) -> Self {
        Self { repo: repo.into(), revision: None, file: None }
    }

    /// `owner/name[@revision][/file]`; the error says what is wrong.
    fn parse(text: &str) -> std::result::Result<Self, &'static str> {
        let mut parts = text.splitn(3, '/');
        let (owner, name, file) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
        let (name, revision) = match name.split_once('@') {
            Some((name, revision)) => (name, Some(revision)),
            None => (name, None),
        };
        if !is_word(owner) || !is_word(name) || revision.is_some_and(|r| !is_word(r)) {
            return Err("not of the form owner/name");
        }
        if file.is_some_and(|f| !is_inside(f)) {
            return Err("the file is not inside the repository");
        }
        Ok(Self {
            repo: format!("{owner}/{name}"),
            revision: revision.map(str::to_owned),
            file: file.map(str::to_owned),
        })
    }
}

/// A name that the hub allows and that is safe in a path.
fn is_word(s: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !s.is_empty() && s.len() <= 96 && !s.starts_with('.') && s.chars().all(allowed)
}

/// A relative path that stays below its folder.
pub(crate) fn is_inside(file: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':', '\0']);
    file.split('/').all(plain)
}

fn looks_like_file(s: &str) -> bool {
    [".safetensors", ".gguf", ".json", ".model", ".bin", ".pt", ".pth"].iter().any(|end| s.ends_with(end))
}
