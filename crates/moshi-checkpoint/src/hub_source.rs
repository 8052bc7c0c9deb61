//! A repository of the hub, or a file of it, as people write it.
//!
//! ```
//! use moshi_checkpoint::{HubSource, Source};
//! let Source::Hub(hub) = Source::parse("kyutai/moshiko-pytorch-bf16@refs/pr/1")? else { panic!() };
//! assert_eq!((hub.repo.as_str(), hub.revision.as_deref()), ("kyutai/moshiko-pytorch-bf16", Some("refs/pr/1")));
//! assert_eq!(hub.to_string(), "hf://kyutai/moshiko-pytorch-bf16@refs%2Fpr%2F1");
//! # Ok::<(), moshi_checkpoint::Error>(())
//! ```

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::source::is_inside;

/// What needs no escape in an address.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A repository of the hub, or one file of it.
///
/// It is written `owner/name`, `owner/name@revision`, with `hf://` in front where a file may follow
/// (`hf://owner/name@revision/file`), or as the address in a browser (`https://huggingface.co/owner/name/tree/revision`).
/// A slash in a revision is written `%2F`; in front of a file only pull requests (`refs/pr/1`) and conversions
/// (`refs/convert/parquet`) may have it plain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubSource {
    /// `owner/name`.
    pub repo: String,
    /// Branch, tag or commit; `main` where none is given.
    pub revision: Option<String>,
    /// The file inside the repository, where one is meant.
    pub file: Option<String>,
}

impl HubSource {
    /// A whole repository at its main branch.
    pub fn new(repo: impl Into<String>) -> Self {
        Self { repo: repo.into(), revision: None, file: None }
    }

    /// The same at another revision.
    ///
    /// # Errors
    /// What is wrong with a revision that cannot be one.
    pub fn at_revision(self, revision: &str) -> Result<Self, &'static str> {
        if !is_revision(revision) {
            return Err("the revision is neither a branch, a tag nor a commit");
        }
        Ok(Self { revision: Some(revision.to_owned()), ..self })
    }

    /// The same repository and revision, another file.
    #[must_use]
    pub fn with_file(&self, file: impl Into<String>) -> Self {
        Self { file: Some(file.into()), ..self.clone() }
    }

    /// `hf://...` or an address of the hub's site; `None` for anything else.
    pub(crate) fn parse_address(given: &str) -> Option<Result<Self, &'static str>> {
        if let Some(rest) = given.strip_prefix("hf://") {
            return Some(Self::parse_with_file(rest));
        }
        let rest = ["https://", "http://"].iter().find_map(|scheme| given.strip_prefix(scheme)).unwrap_or(given);
        let rest = rest.strip_prefix("www.").unwrap_or(rest);
        let rest = ["huggingface.co/", "hf.co/"].iter().find_map(|site| rest.strip_prefix(site))?;
        let path = rest.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        Some(Self::parse_page(path))
    }

    /// `owner/name[@revision]`, where whatever follows `@` is the revision.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        match text.split_once('@') {
            Some((repo, revision)) if !revision.is_empty() => Self::repository(repo)?.at_revision(&decoded(revision)),
            Some(_) => Err("no revision follows the @"),
            None => Self::repository(text),
        }
    }

    /// `owner/name[@revision][/file]`.
    fn parse_with_file(text: &str) -> Result<Self, &'static str> {
        let text = text.trim_end_matches('/');
        let end = text.match_indices('/').nth(1).map_or(text.len(), |(at, _)| at);
        let at = text.find('@').filter(|at| *at < end);
        let end = at.map_or(end, |at| at + 1 + revision_length(&text[at + 1..]));
        let source = Self::parse(&text[..end])?;
        match text[end..].strip_prefix('/') {
            Some(file) if is_inside(file) => Ok(source.with_file(file)),
            Some(_) => Err("the file is not inside the repository"),
            None => Ok(source),
        }
    }

    /// What follows the site's name in the address of a repository, a branch, or a file.
    fn parse_page(path: &str) -> Result<Self, &'static str> {
        let parts: Vec<&str> = path.splitn(4, '/').collect();
        let (&[owner, name, ..], page) = (&parts[..], parts.get(2)) else {
            return Err("not the address of a repository");
        };
        let source = Self::repository(&format!("{owner}/{name}"))?;
        let rest = match (page, parts.get(3)) {
            (None, _) => return Ok(source),
            (Some(&("tree" | "blob" | "resolve" | "raw" | "commit")), Some(rest)) => *rest,
            _ => return Err("not the address of a repository, a branch or a file"),
        };
        let (revision, file) = rest.split_at(revision_length(rest));
        let source = source.at_revision(&decoded(revision))?;
        match file.strip_prefix('/').map(decoded) {
            Some(file) if page != Some(&"tree") && is_inside(&file) => Ok(source.with_file(file)),
            Some(_) => Err("a folder of a repository, not the whole of it"),
            None => Ok(source),
        }
    }

    fn repository(text: &str) -> Result<Self, &'static str> {
        match text.split_once('/') {
            Some((owner, name)) if is_word(owner) && is_word(name) => Ok(Self::new(text)),
            _ => Err("not of the form owner/name"),
        }
    }
}

impl fmt::Display for HubSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf://{}", self.repo)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{}", escape_segment(revision))?;
        }
        match &self.file {
            Some(file) => write!(f, "/{file}"),
            None => Ok(()),
        }
    }
}

/// A text as one segment of an address: slashes are escaped too.
pub(crate) fn escape_segment(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// A path as several segments of an address.
pub(crate) fn escape_path(path: &str) -> String {
    path.split('/').map(escape_segment).collect::<Vec<_>>().join("/")
}

/// Bytes of a revision in front of a file: up to the next slash, but for the two kinds that have slashes everywhere.
fn revision_length(text: &str) -> usize {
    let special = ["refs/pr/", "refs/convert/"].iter().find(|s| text.starts_with(**s)).map_or(0, |s| s.len());
    text[special..].find('/').map_or(text.len(), |length| special + length)
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A name that the hub allows and that is safe in a path.
fn is_word(s: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !s.is_empty() && s.len() <= 96 && !s.starts_with('.') && s.chars().all(allowed)
}

/// A name that git allows for a branch, tag or commit, and that is safe in a path.
fn is_revision(s: &str) -> bool {
    let allowed = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '~' | '^' | '?' | '*' | '[' | '\\');
    s.len() <= 255 && is_inside(s) && !s.split('/').any(|part| part.starts_with('.')) && s.chars().all(allowed)
}
