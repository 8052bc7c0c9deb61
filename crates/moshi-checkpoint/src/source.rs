//! Where a model is: a folder, a file, or a repository of the hub.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::hub_source::HubSource;
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

impl Source {
    /// Understands a folder, a file, `file:///path`, `owner/name[@revision]`, `hf://owner/name[@revision][/file]` and the
    /// address of a repository or file on the hub's site ([`HubSource`] says more about revisions). What exists on disk
    /// wins over a repository of the same name.
    ///
    /// # Errors
    /// [`Error::Source`] when it is none of these.
    pub fn parse(given: &str) -> Result<Self> {
        let error = |problem: &str| Error::Source { given: given.to_owned(), problem: problem.to_owned() };
        if let Some(hub) = HubSource::parse_address(given) {
            return hub.map(Self::Hub).map_err(error);
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
            Ok(hub) if hub.file.is_none() && !looks_like_file(&hub.repo) => Ok(Self::Hub(hub)),
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

/// A relative path that stays below its folder.
pub(crate) fn is_inside(file: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':', '\0']);
    file.split('/').all(plain)
}

fn looks_like_file(s: &str) -> bool {
    [".safetensors", ".gguf", ".json", ".model", ".bin", ".pt", ".pth"].iter().any(|end| s.ends_with(end))
}
