//! Downloads from the hub into a cache shared with other tools.
//!
//! The cache has the layout that `hf-hub` and the Python `huggingface_hub` use. The transfer is our own, on `ureq`:
//! `hf-hub` 0.5 has no time limits, sends the token to hosts that the hub redirects to, checks no checksum, trusts an
//! answer's file names and asserts on malformed answers.
//!
//! All files of one opened repository come from one commit: the first request finds out which, the others ask for it.
//! When the hub cannot be reached, the commit last seen is used, as far as its files are in the cache.

mod cache;
mod error;
mod http;
mod options;

use std::path::PathBuf;

pub use error::HubError;
pub use options::HubOptions;

use cache::Cache;
use http::{Answer, Client, Job, Remote};

use crate::source::HubSource;

/// Told how a download goes on. `()` does not listen.
pub trait Progress {
    /// A download of `size` bytes begins; `done` of them are there from an earlier try.
    fn start(&mut self, file: &str, done: u64, size: u64);
    /// `done` bytes of the file are there now. It can be less than before, when the hub would not resume.
    fn update(&mut self, done: u64);
    /// The file is complete and checked.
    fn finish(&mut self);
}

impl Progress for () {
    fn start(&mut self, _file: &str, _done: u64, _size: u64) {}
    fn update(&mut self, _done: u64) {}
    fn finish(&mut self) {}
}

/// One repository of the hub at one revision.
pub struct Hub<'a> {
    options: &'a HubOptions,
    source: HubSource,
    cache: Cache,
    client: Client,
    commit: Option<String>,
}

impl<'a> Hub<'a> {
    /// Prepares access; nothing is sent yet.
    ///
    /// # Errors
    /// [`HubError::NoCache`], [`HubError::Setting`] for an endpoint or token that cannot be used.
    pub fn new(options: &'a HubOptions, source: &HubSource) -> Result<Self, HubError> {
        let source = HubSource { file: None, ..source.clone() };
        let folder = options.cache.clone().ok_or(HubError::NoCache)?;
        let cache = Cache::new(folder, &source);
        let client = Client::new(options, &source.repo)?;
        Ok(Self { options, source, cache, client, commit: None })
    }

    /// Brings `file` into the cache, unless it is there, and returns its path.
    ///
    /// # Errors
    /// [`HubError::NoFile`] when the repository has none of that name; others as [`HubError`] says.
    pub fn fetch(&mut self, file: &str, progress: &mut dyn Progress) -> Result<PathBuf, HubError> {
        let (commit, known) = self.resolve(file)?;
        if let Some(path) = self.cache.find(&commit, file) {
            return Ok(path);
        }
        let what = || format!("{}/{file}", self.source);
        if self.options.offline {
            return Err(match self.cache.is_known_missing(&commit, file) {
                true => HubError::NoFile { what: what() },
                false => HubError::Offline { what: what() },
            });
        }
        let answer = match known {
            Some(answer) => answer,
            None => self.client.describe(&commit, file, &what())?,
        };
        match answer {
            Answer::File(remote) => self.download(&commit, file, &remote, progress),
            Answer::NoFile { .. } => {
                self.cache.remember_missing(&commit, file);
                Err(HubError::NoFile { what: what() })
            }
        }
    }

    /// The commit to read from, and the hub's answer about `file` if it was asked.
    fn resolve(&mut self, file: &str) -> Result<(String, Option<Answer>), HubError> {
        if let Some(commit) = &self.commit {
            return Ok((commit.clone(), None));
        }
        let what = format!("{}/{file}", self.source);
        let revision = self.source.revision.clone().unwrap_or_else(|| "main".to_owned());
        let (commit, answer) = if is_commit(&revision) {
            (revision, None)
        } else if self.options.offline {
            (self.cache.commit().ok_or(HubError::Offline { what })?, None)
        } else {
            match self.client.describe(&revision, file, &what) {
                Ok(answer) => (answer.commit().to_owned(), Some(answer)),
                // A model that is in the cache starts without a network.
                Err(e @ HubError::Network { .. }) => (self.cache.commit().ok_or(e)?, None),
                Err(e) => return Err(e),
            }
        };
        if answer.is_some() {
            self.cache.set_commit(&commit)?;
        }
        self.commit = Some(commit.clone());
        Ok((commit, answer))
    }

    fn download(
        &self,
        commit: &str,
        file: &str,
        remote: &Remote,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, HubError> {
        let what = format!("{}/{file}", self.source);
        let _lock = self.cache.lock(&remote.etag)?;
        // Another process may have brought it while we waited for the lock.
        if !self.cache.has_blob(&remote.etag) {
            let part = self.cache.part(&remote.etag);
            let job = Job { commit, file, what: &what, part: &part, size: remote.size };
            self.client.download(&job, progress)?;
            cache::verify(&part, remote, &what)?;
            self.cache.keep(&part, &remote.etag)?;
            progress.finish();
        }
        self.cache.link(commit, file, &remote.etag)
    }
}

/// Whether a revision is a whole commit hash rather than a branch or tag.
fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}
