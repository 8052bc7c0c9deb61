//! The cache on disk: blobs by checksum, snapshots by commit, references by revision.

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};

use hf_hub::{Repo, RepoType};
use sha2::{Digest, Sha256};

use super::http::Remote;
use super::names::{is_commit, is_safe};
use super::{HubError, Progress};
use crate::hub_source::HubSource;
use crate::stop;

/// One repository's corner of the cache.
pub(super) struct Cache {
    cache: hf_hub::Cache,
    repo: Repo,
    folder: PathBuf,
}

impl Cache {
    pub(super) fn new(folder: PathBuf, source: &HubSource) -> Self {
        let revision = source.revision.clone().unwrap_or_else(|| "main".to_owned());
        let repo = Repo::with_revision(source.repo.clone(), RepoType::Model, revision);
        let own = folder.join(repo.folder_name());
        Self { cache: hf_hub::Cache::new(folder), repo, folder: own }
    }

    /// The commit that the revision pointed to when it was last asked for.
    pub(super) fn commit(&self) -> Option<String> {
        let commit = fs::read_to_string(self.folder.join("refs").join(self.repo.revision())).ok()?;
        Some(commit.trim().to_owned()).filter(|c| is_safe(c))
    }

    /// Notes what the revision points to, unless the cache says so already.
    pub(super) fn set_commit(&self, commit: &str) -> Result<(), HubError> {
        if is_commit(self.repo.revision()) || self.commit().as_deref() == Some(commit) {
            return Ok(());
        }
        self.cache.repo(self.repo.clone()).create_ref(commit).map_err(disk(&self.folder, "note the commit"))
    }

    /// Makes room for the files of a commit.
    pub(super) fn make_room(&self, commit: &str) -> Result<(), HubError> {
        let snapshot = self.snapshot(commit);
        fs::create_dir_all(&snapshot).map_err(disk(&snapshot, "create the folder"))
    }

    /// A file of a commit, if it is here.
    pub(super) fn find(&self, commit: &str, file: &str) -> Option<PathBuf> {
        Some(self.snapshot(commit).join(file)).filter(|p| p.exists())
    }

    /// Whether the hub has said that the commit has no such file.
    pub(super) fn is_known_missing(&self, commit: &str, file: &str) -> bool {
        self.folder.join(".no_exist").join(commit).join(file).exists()
    }

    /// Notes that the commit has no such file, so that an optional one is no riddle offline.
    pub(super) fn remember_missing(&self, commit: &str, file: &str) {
        let path = self.folder.join(".no_exist").join(commit).join(file);
        // A convenience: when it cannot be noted, the question is asked again.
        let _ = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| File::create(&path));
    }

    /// Waits until no other process downloads this blob, and keeps others waiting while the result lives.
    ///
    /// On a file system without locks there is nothing to wait for: two downloads at once spoil each other at worst,
    /// which the checksum tells.
    pub(super) fn lock(&self, etag: &str, what: &str, progress: &dyn Progress) -> Result<File, HubError> {
        let blobs = self.folder.join("blobs");
        fs::create_dir_all(&blobs).map_err(disk(&blobs, "create the folder"))?;
        let path = blobs.join(format!("{etag}.lock"));
        let file = File::create(&path).map_err(disk(&path, "create the lock"))?;
        while let Err(TryLockError::WouldBlock) = file.try_lock() {
            if !stop::sleep(stop::GLANCE, &mut || progress.is_stopped()) {
                return Err(HubError::Stopped { what: what.to_owned() });
            }
        }
        Ok(file)
    }

    pub(super) fn has_blob(&self, etag: &str) -> bool {
        self.blob(etag).exists()
    }

    /// The unfinished download of a blob.
    pub(super) fn part(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.part"))
    }

    /// Makes a finished download a blob.
    pub(super) fn keep(&self, part: &Path, etag: &str) -> Result<(), HubError> {
        fs::rename(part, self.blob(etag)).map_err(disk(part, "move into place"))
    }

    /// Lets a commit's file point to a blob, and returns its path: the blob's own where the cache takes no file.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> PathBuf {
        self.put_link(commit, file, etag).unwrap_or_else(|_| self.blob(etag))
    }

    fn put_link(&self, commit: &str, file: &str, etag: &str) -> std::io::Result<PathBuf> {
        let path = self.snapshot(commit).join(file);
        if path.exists() {
            return Ok(path);
        }
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        // A link to a blob that was deleted by hand.
        let _ = fs::remove_file(&path);
        let up = "../".repeat(file.split('/').count() + 1);
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        symlink(&target, &path)
            .or_else(|_| fs::hard_link(self.blob(etag), &path))
            .or_else(|_| fs::copy(self.blob(etag), &path).map(|_| ()))?;
        Ok(path)
    }

    fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }
}

/// Checks a download against what the hub announced, and removes it when it is something else.
pub(super) fn verify(part: &Path, remote: &Remote, what: &str, progress: &dyn Progress) -> Result<(), HubError> {
    let damaged = |property, expected: String, found: String| {
        let _ = fs::remove_file(part);
        Err(HubError::Damaged { what: what.to_owned(), property, expected, found })
    };
    let size = fs::metadata(part).map_err(disk(part, "read"))?.len();
    if size != remote.size {
        return damaged("size", remote.size.to_string(), size.to_string());
    }
    // Large files are named by their SHA-256; small ones by git's hash, which guards nothing that matters here.
    if remote.etag.len() != 64 || !remote.etag.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    match sha256(part, progress).map_err(disk(part, "read"))? {
        None => Err(HubError::Stopped { what: what.to_owned() }),
        Some(found) if found.eq_ignore_ascii_case(&remote.etag) => Ok(()),
        Some(found) => damaged("SHA-256", remote.etag.clone(), found),
    }
}

/// `None` where the work was stopped.
fn sha256(path: &Path, progress: &dyn Progress) -> std::io::Result<Option<String>> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            _ if progress.is_stopped() => return Ok(None),
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    Ok(Some(hash.finalize().iter().map(|b| format!("{b:02x}")).collect()))
}

/// An error of the disk.
pub(super) fn disk(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> HubError {
    let path = path.to_path_buf();
    move |source| HubError::Disk { path, doing, source }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}
