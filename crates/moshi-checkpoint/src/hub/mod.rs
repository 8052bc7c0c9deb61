//! Downloads from the hub into a cache shared with other tools.
//!
//! The cache has the layout that `hf-hub` and the Python `huggingface_hub` use. The transfer is our own, on `ureq`:
//! `hf-hub` 0.5 has no time limits, sends the token to hosts that the hub redirects to, checks no checksum, trusts an
//! answer's file names and asserts on malformed answers.
//!
//! All files of one opened repository come from one commit: the first request finds out which, the others ask for it.
//! When the hub does not help (no network, a refusal, an answer without sense) or the cache cannot be written, the commit
//! last seen is used, as far as its files are in the cache, and the hub is asked no more: files of two moods of the hub
//! would be no model.

mod cache;
mod download;
mod error;
mod http;
mod names;
mod options;
mod progress;
mod refusal;

use std::path::PathBuf;

pub use error::HubError;
pub use options::HubOptions;
pub use progress::Progress;

use cache::Cache;
use download::Job;
use http::{Answer, Client, Remote};
use names::is_commit;

use crate::hub_source::HubSource;

/// One repository of the hub at one revision.
pub struct Hub<'a> {
    options: &'a HubOptions,
    source: HubSource,
    cache: Cache,
    client: Client,
    commit: Option<String>,
    /// A newer commit than the cache has noted, whose files are not all here yet.
    newer: Option<String>,
    /// Why the hub is asked no more.
    complaint: Option<String>,
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
        Ok(Self { options, source, cache, client, commit: None, newer: None, complaint: None })
    }

    /// Why the hub is asked no more, if it has failed once: whoever goes on with the cache alone should be told.
    pub fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }

    /// Brings `file` into the cache, unless it is there, and returns its path.
    ///
    /// # Errors
    /// [`HubError::NoFile`] when the repository has none of that name, [`HubError::Stopped`] when `progress` says so;
    /// others as [`HubError`] says. After the first of these others the hub is not asked again.
    pub fn fetch(&mut self, file: &str, progress: &mut dyn Progress) -> Result<PathBuf, HubError> {
        let fetched = self.fetch_once(file, progress);
        if let Err(error) = &fetched
            && error.leaves_the_cache()
            && !self.options.offline
            && self.complaint.is_none()
        {
            self.complaint = Some(error.to_string());
        }
        fetched
    }

    /// Notes that the files of the newest commit have all come. Until then the cache stands for the commit before it,
    /// which is whole: a download that is broken off takes no model away.
    pub fn settle(&mut self) {
        if let Some(newer) = self.newer.take() {
            // Where it cannot be noted, the hub is asked again.
            let _ = self.cache.set_commit(&newer);
        }
    }

    /// Whether the repository has a file, as far as anybody can tell without a download.
    pub fn has(&mut self, file: &str) -> bool {
        let Ok((commit, known)) = self.resolve(file, &()) else { return false };
        let asks = !self.options.offline && self.complaint.is_none();
        self.cache.find(&commit, file).is_some()
            || asks && matches!(self.answer(&commit, file, known, &()), Ok(Answer::File(_)))
    }

    fn fetch_once(&mut self, file: &str, progress: &mut dyn Progress) -> Result<PathBuf, HubError> {
        let (commit, known) = self.resolve(file, progress)?;
        if let Some(path) = self.cache.find(&commit, file) {
            return Ok(path);
        }
        let what = || self.what(file);
        if self.cache.is_known_missing(&commit, file) && (self.options.offline || self.complaint.is_some()) {
            return Err(HubError::NoFile { what: what() });
        }
        self.may_ask(file)?;
        match self.answer(&commit, file, known, progress)? {
            Answer::File(remote) => self.download(&commit, file, &remote, progress),
            Answer::NoFile { .. } => {
                self.cache.remember_missing(&commit, file);
                Err(HubError::NoFile { what: what() })
            }
        }
    }

    fn answer(
        &self,
        commit: &str,
        file: &str,
        known: Option<Answer>,
        progress: &dyn Progress,
    ) -> Result<Answer, HubError> {
        known.map_or_else(|| self.client.describe(commit, file, &self.what(file), progress), Ok)
    }

    /// The commit to read from, and the hub's answer about `file` if it was asked.
    fn resolve(&mut self, file: &str, progress: &dyn Progress) -> Result<(String, Option<Answer>), HubError> {
        if let Some(commit) = &self.commit {
            return Ok((commit.clone(), None));
        }
        let revision = self.source.revision.clone().unwrap_or_else(|| "main".to_owned());
        let (commit, answer) = if is_commit(&revision) {
            (revision, None)
        } else if let Err(error) = self.may_ask(file) {
            (self.cache.commit().ok_or(error)?, None)
        } else {
            match self.client.describe(&revision, file, &self.what(file), progress) {
                Ok(answer) => self.adopt(answer),
                // A model that is in the cache starts whatever the hub says.
                Err(e) => (self.held_in_spite_of(e)?, None),
            }
        };
        self.commit = Some(commit.clone());
        Ok((commit, answer))
    }

    /// The commit that the cache holds, for a hub that did not name one.
    fn held_in_spite_of(&mut self, error: HubError) -> Result<String, HubError> {
        if error.leaves_the_cache() {
            self.complaint = Some(error.to_string());
        } else if !matches!(error, HubError::NoFile { .. }) {
            return Err(error);
        }
        self.cache.commit().ok_or(error)
    }

    /// The commit of an answer; where the cache cannot take a new one, the commit that it holds.
    fn adopt(&mut self, answer: Answer) -> (String, Option<Answer>) {
        let new = answer.commit().to_owned();
        match self.cache.commit().filter(|held| *held != new) {
            Some(held) => {
                if let Err(e) = self.cache.make_room(&new) {
                    self.complaint = Some(format!("{}: the hub has a newer commit, {new}, and {e}", self.source));
                    return (held, None);
                }
                self.newer = Some(new.clone());
            }
            // Where it cannot be noted, the hub is asked again.
            None => drop(self.cache.set_commit(&new)),
        }
        (new, Some(answer))
    }

    /// Errs where only the cache counts.
    fn may_ask(&self, file: &str) -> Result<(), HubError> {
        match &self.complaint {
            _ if self.options.offline => Err(HubError::Offline { what: self.what(file) }),
            Some(why) => Err(HubError::NotCached { what: self.what(file), why: why.clone() }),
            None => Ok(()),
        }
    }

    fn download(
        &self,
        commit: &str,
        file: &str,
        remote: &Remote,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, HubError> {
        let what = self.what(file);
        if !self.cache.has_blob(&remote.etag) {
            let _lock = self.cache.lock(&remote.etag, &what, progress)?;
            // Another process may have brought it while we waited for the lock.
            if !self.cache.has_blob(&remote.etag) {
                let part = self.cache.part(&remote.etag);
                let job = Job { commit, file, what: &what, part: &part, size: remote.size };
                self.client.download(&job, progress)?;
                cache::verify(&part, remote, &what, progress)?;
                self.cache.keep(&part, &remote.etag)?;
                progress.finish();
            }
        }
        Ok(self.cache.link(commit, file, &remote.etag))
    }

    /// A file for messages.
    fn what(&self, file: &str) -> String {
        self.source.with_file(file).to_string()
    }
}
