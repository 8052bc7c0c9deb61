//! Why a file could not be had from the hub, and what to do.

use std::path::PathBuf;

/// Why a file could not be had from the hub.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The repository is there, the file is not.
    #[error("{what}: the repository has no such file")]
    NoFile {
        /// What was asked for, as `hf://owner/name/file`.
        what: String,
    },
    /// There is no such repository or revision, or it is hidden from us.
    #[error(
        "{what}: the hub at {endpoint} knows no such repository or revision (status 404); check the name, and if it is \
         private log in (`hf auth login`) or set HF_TOKEN"
    )]
    NoRepository {
        /// What was asked for.
        what: String,
        /// The hub asked.
        endpoint: String,
    },
    /// Access is refused.
    #[error("{what}: the hub refuses access (status {status}{message}); {advice}")]
    Denied {
        /// What was asked for.
        what: String,
        /// HTTP status: 401, 403, 410 or 451.
        status: u16,
        /// What the hub adds, with a separator in front, or nothing.
        message: String,
        /// What to do.
        advice: &'static str,
    },
    /// The hub has no time for us, or a problem of its own.
    #[error("{what}: {host} cannot answer now (status {status}{message}); {advice}; what was downloaded is kept")]
    Busy {
        /// What was asked for.
        what: String,
        /// The host that answered.
        host: String,
        /// HTTP status: 408, 429 or 500 and more.
        status: u16,
        /// What the hub adds, with a separator in front, or nothing.
        message: String,
        /// What to do.
        advice: &'static str,
    },
    /// The file is not in the cache and offline mode forbids to ask for it.
    #[error("{what} is not in the cache, and offline mode is on; download it once with HF_HUB_OFFLINE unset")]
    Offline {
        /// What was asked for.
        what: String,
    },
    /// The file is not in the cache, and the hub has failed us before: it is not asked again.
    #[error("{what} is not in the cache, and it cannot be downloaded: {why}")]
    NotCached {
        /// What was asked for.
        what: String,
        /// The failure that came first.
        why: String,
    },
    /// The hub cannot be reached, or the connection broke again and again.
    #[error(
        "{what}: cannot reach {host}: {problem}; check the network, HF_ENDPOINT and proxy settings; what was downloaded is kept"
    )]
    Network {
        /// What was asked for.
        what: String,
        /// The host that was tried.
        host: String,
        /// What went wrong.
        problem: String,
    },
    /// The hub answered something that makes no sense.
    #[error("{what}: {host} gave an unusable answer: {problem}; is HF_ENDPOINT a hub?")]
    Answer {
        /// What was asked for.
        what: String,
        /// The host that answered.
        host: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// The downloaded file is not what the hub announced; it has been removed.
    #[error("{what}: downloaded file has {property} {found}, the hub announced {expected}; it was removed, try again")]
    Damaged {
        /// What was asked for.
        what: String,
        /// Size or checksum.
        property: &'static str,
        /// What the hub announced.
        expected: String,
        /// What arrived.
        found: String,
    },
    /// The cache cannot be read or written: a full disk, missing rights.
    #[error("{}: cannot {doing}: {source}; choose another cache folder with HF_HOME", .path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb.
        doing: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// [`super::Progress::is_stopped`] became true.
    #[error("{what}: stopped; what was downloaded is kept, and the next try goes on from there")]
    Stopped {
        /// What was asked for.
        what: String,
    },
    /// No cache folder is known.
    #[error("no folder to download to: set HF_HOME to one that may grow large")]
    NoCache,
    /// A setting cannot be used.
    #[error("{setting} is {found}, expected {expected}")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// Its value, or a description where it is secret.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
}

impl HubError {
    /// Whether another try may bring what this one did not.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Network { .. } | Self::Busy { .. })
    }

    /// Whether the hub, or the way from it to the disk, has failed: what is in the cache can be used all the same.
    pub(crate) fn leaves_the_cache(&self) -> bool {
        !matches!(self, Self::NoFile { .. } | Self::Stopped { .. } | Self::NoCache | Self::Setting { .. })
    }
}
