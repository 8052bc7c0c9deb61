//! A model in the cache is used whatever the hub does, and whatever the cache forbids; work that is stopped stops.

use std::path::Path;
use std::time::{Duration, Instant};

use moshi_checkpoint::hub::Hub;
use moshi_checkpoint::{Error, HubError, HubSource, OpenOptions, Progress, Repository, Stop};

use crate::hub::{REPO, fetch, hub, original, refusal, source};
use crate::hub_server::{FakeHub, State};
use crate::{assert_says, golden};

/// A port where nobody listens.
fn nowhere() -> String {
    format!("http://{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

/// Takes `model.safetensors` out of the hub's files and puts a model under another name there.
fn rename_model(hub: &FakeHub, name: &str, bytes: Vec<u8>) {
    hub.change(|s| {
        s.files.remove("model.safetensors");
        let mut config: serde_json::Value = serde_json::from_slice(&s.files["config.json"]).unwrap();
        config.as_object_mut().unwrap().remove("moshi_name");
        s.files.insert("config.json".to_owned(), config.to_string().into_bytes());
        s.files.insert(name.to_owned(), bytes);
    });
}

fn open(options: &OpenOptions) -> Result<Repository, Error> {
    Repository::open(&source(), options, &mut ())
}

/// Forgets which names the hub has said to be missing, as a cache of the hub's own client knows nothing of it.
fn forget_missing(cache: &Path) {
    let _ = std::fs::remove_dir_all(cache.join("hub/models--someone--tiny-moshi/.no_exist"));
}

#[test]
fn a_name_that_is_not_in_the_cache_is_not_there_when_nobody_can_be_asked() {
    for (name, golden_name) in [("model.q8.gguf", "model.q8.gguf"), ("model.q8.safetensors", "model.safetensors")] {
        let (hub, cache, mut options) = hub();
        rename_model(&hub, name, std::fs::read(golden("tiny-moshi").join(golden_name)).unwrap());
        open(&options).unwrap();
        forget_missing(cache.path());
        options.hub.offline = true;
        open(&options).unwrap();
        options.hub.offline = false;
        hub.change(|s| s.refusal = Some(503));
        assert_says(&open(&options).unwrap().warnings().join("\n"), &["503", "cache"]);
        options.hub.endpoint = nowhere();
        assert_says(&open(&options).unwrap().warnings().join("\n"), &["cannot reach", "cache"]);
    }
}

#[test]
fn codec_and_tokenizer_are_found_under_their_usual_names_too() {
    let (hub, cache, mut options) = hub();
    hub.change(|s| {
        let mut config: serde_json::Value = serde_json::from_slice(&s.files["config.json"]).unwrap();
        for key in ["mimi_name", "tokenizer_name", "moshi_name"] {
            config.as_object_mut().unwrap().remove(key);
        }
        s.files.insert("config.json".to_owned(), config.to_string().into_bytes());
    });
    open(&options).unwrap();
    forget_missing(cache.path());
    options.hub.offline = true;
    open(&options).unwrap();
}

#[test]
fn what_is_missing_is_named_with_what_the_hub_said() {
    for (status, parts) in [
        (401, ["401", "HF_TOKEN"]),
        (403, ["403", "HF_TOKEN"]),
        (404, ["404", "check the name"]),
        (410, ["410", "another repository"]),
        (429, ["429", "wait"]),
        (451, ["451", "another repository"]),
        (500, ["500", "try again later"]),
        (503, ["503", "try again later"]),
    ] {
        let (hub, _cache, options) = hub();
        hub.change(|s| s.refusal = Some(status));
        assert_says(&open(&options).unwrap_err().to_string(), &parts);
        hub.change(|s| s.refusal = None);
        fetch(&options, "config.json").unwrap();
        hub.change(|s| s.refusal = Some(status));
        assert_says(&open(&options).unwrap_err().to_string(), &[&parts[..], &["model.safetensors"]].concat());
    }
}

#[test]
fn a_hub_that_does_not_help_is_a_warning_while_nothing_is_missing() {
    let (hub, _cache, mut options) = hub();
    open(&options).unwrap();
    for status in [401, 403, 404, 408, 410, 418, 429, 451, 500, 502, 503, 504] {
        hub.change(|s| s.refusal = Some(status));
        assert_says(&open(&options).unwrap().warnings().join("\n"), &[&status.to_string(), "cache"]);
    }
    let change = |change: &dyn Fn(&mut State), says: &[&str]| {
        hub.change(|s| {
            (s.refusal, s.page, s.nowhere, s.circle, s.large) = (None, false, false, false, 100_000);
            change(s);
        });
        assert_says(&open(&options).unwrap().warnings().join("\n"), says);
    };
    change(&|s| s.page = true, &["a web page", "login"]);
    change(&|s| (s.circle, s.large) = (true, usize::MAX), &["more than 5 redirects"]);
    change(&|s| s.nowhere = true, &["a redirect to nowhere"]);
    change(&|s| s.commit = "../..".to_owned(), &["cache"]);
    hub.change(|s| (s.nowhere, s.commit) = (false, "0123456789abcdef0123456789abcdef01234567".to_owned()));
    assert_eq!(open(&options).unwrap().warnings(), Vec::<String>::new());
    options.hub.token = Some("hf_of_last_year".to_owned());
    hub.change(|s| s.token = Some("hf_of_this_year".to_owned()));
    assert_says(&open(&options).unwrap().warnings().join("\n"), &["HF_TOKEN"]);
}

#[test]
fn a_hub_that_failed_is_asked_no_more() {
    let (hub, cache, options) = hub();
    rename_model(&hub, "model.q8.gguf", std::fs::read(golden("tiny-moshi/model.q8.gguf")).unwrap());
    open(&options).unwrap();
    forget_missing(cache.path());
    hub.requests();
    hub.change(|s| s.refusal = Some(401));
    open(&options).unwrap();
    assert_eq!(hub.requests().len(), 1);
}

#[test]
fn a_newer_commit_that_came_in_part_takes_no_model_away() {
    let (hub, _cache, mut options) = hub();
    open(&options).unwrap();
    let new = "89abcdef0123456789abcdef0123456789abcdef";
    hub.change(|s| {
        s.commit = new.to_owned();
        let config = String::from_utf8(s.files["config.json"].clone()).unwrap();
        s.files.insert("config.json".to_owned(), format!("{config}\n").into_bytes());
        s.files.get_mut("model.safetensors").unwrap().push(0);
        s.slow = true;
    });
    let mut stopper = Stopper { bytes: 20_000, ..Stopper::after(60_000) };
    assert!(Repository::open(&source(), &options, &mut stopper).is_err());
    options.hub.offline = true;
    let held = open(&options).unwrap();
    assert!(!held.config_path().unwrap().to_string_lossy().contains(new));
    options.hub.offline = false;
    hub.change(|s| {
        s.files.get_mut("model.safetensors").unwrap().pop();
        s.slow = false;
    });
    open(&options).unwrap();
    options.hub.offline = true;
    assert!(open(&options).unwrap().config_path().unwrap().to_string_lossy().contains(new));
}

#[cfg(unix)]
mod rights {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Whether rights hold this user back; nothing holds root back.
    fn is_held_back(folder: &Path) -> bool {
        let probe = folder.join("probe");
        let held = std::fs::write(&probe, "").is_err();
        let _ = std::fs::remove_file(probe);
        held
    }

    fn set_rights(path: &Path, folder: u32, file: u32) {
        for entry in std::fs::read_dir(path).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                set_rights(&entry.path(), folder, file);
            } else if kind.is_file() {
                std::fs::set_permissions(entry.path(), std::fs::Permissions::from_mode(file)).unwrap();
            }
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(folder)).unwrap();
    }

    /// Makes the cache one that takes nothing: by rights, and for root by files where folders should be.
    fn close(cache: &Path) {
        let repo = cache.join("hub/models--someone--tiny-moshi");
        set_rights(&repo, 0o555, 0o444);
        if !is_held_back(&repo) {
            set_rights(&repo, 0o755, 0o644);
            std::fs::remove_dir_all(repo.join(".no_exist")).unwrap_or_default();
            std::fs::write(repo.join(".no_exist"), "in the way").unwrap();
            let note = repo.join("refs/main");
            let commit = std::fs::read(&note).unwrap();
            std::fs::remove_file(&note).unwrap();
            // A link that can be read and not written.
            std::fs::write(cache.join("note"), commit).unwrap();
            std::os::unix::fs::symlink(cache.join("note"), &note).unwrap();
        }
    }

    #[test]
    fn a_cache_that_takes_nothing_is_read() {
        let (_hub, cache, options) = hub();
        open(&options).unwrap();
        close(cache.path());
        let repository = open(&options);
        set_rights(&cache.path().join("hub"), 0o755, 0o644);
        assert_eq!(repository.unwrap().warnings(), Vec::<String>::new());
    }

    #[test]
    fn a_newer_commit_that_a_cache_does_not_take_is_a_warning() {
        let (hub, cache, options) = hub();
        open(&options).unwrap();
        let new = "89abcdef0123456789abcdef0123456789abcdef";
        hub.change(|s| s.commit = new.to_owned());
        let snapshots = cache.path().join("hub/models--someone--tiny-moshi/snapshots");
        set_rights(&snapshots, 0o555, 0o444);
        if !is_held_back(&snapshots) {
            // Root is held back by a file where the folder should be.
            std::fs::write(snapshots.join(new), "in the way").unwrap();
        }
        let repository = open(&options);
        set_rights(&snapshots, 0o755, 0o644);
        assert_says(&repository.unwrap().warnings().join("\n"), &["newer commit", new, "cannot", "cache"]);
    }
}

/// Stops after a time, or after so many bytes.
struct Stopper {
    begun: Instant,
    after: Duration,
    stop: Stop,
    bytes: u64,
}

impl Stopper {
    fn after(millis: u64) -> Self {
        Self { begun: Instant::now(), after: Duration::from_millis(millis), stop: Stop::default(), bytes: u64::MAX }
    }
}

impl Progress for Stopper {
    fn start(&mut self, _file: &str, _done: u64, _size: u64) {}
    fn update(&mut self, done: u64) {
        if done >= self.bytes {
            self.stop.raise();
        }
    }
    fn finish(&mut self) {}
    fn is_stopped(&self) -> bool {
        self.stop.is_raised() || self.begun.elapsed() >= self.after
    }
}

fn stopped(options: &OpenOptions, mut stopper: Stopper) -> HubError {
    let mut hub = Hub::new(&options.hub, &HubSource::new(REPO)).unwrap();
    let error = hub.fetch("model.safetensors", &mut stopper).unwrap_err();
    assert!(matches!(error, HubError::Stopped { .. }), "{error}");
    assert!(stopper.begun.elapsed() < Duration::from_secs(5));
    error
}

#[test]
fn a_download_that_is_stopped_goes_on_the_next_time() {
    let (hub, _cache, options) = hub();
    hub.change(|s| s.slow = true);
    let message = stopped(&options, Stopper { bytes: 20_000, ..Stopper::after(60_000) }).to_string();
    assert_says(&message, &[REPO, "model.safetensors", "kept"]);
    hub.change(|s| s.slow = false);
    hub.requests();
    assert_eq!(std::fs::read(fetch(&options, "model.safetensors").unwrap()).unwrap(), original("model.safetensors"));
    let ranges: Vec<_> = hub.requests().into_iter().filter(|r| r.storage).filter_map(|r| r.range).collect();
    assert_eq!(ranges.len(), 1, "{ranges:?}");
}

#[test]
fn waiting_is_stopped_too() {
    let (hub, cache, mut options) = hub();
    // Between tries.
    options.hub.retry_pause = Duration::from_secs(600);
    hub.change(|s| s.refusal = Some(503));
    stopped(&options, Stopper::after(200));
    hub.change(|s| s.refusal = None);
    // For a lock that another holds.
    fetch(&options, "config.json").unwrap();
    let blobs = cache.path().join("hub/models--someone--tiny-moshi/blobs");
    let lock = blobs.join(format!("{}.lock", crate::hub_server::sha256(&original("model.safetensors"))));
    let held = std::fs::File::create(lock).unwrap();
    held.lock().unwrap();
    stopped(&options, Stopper::after(200));
    drop(held);
    fetch(&options, "model.safetensors").unwrap();
}

#[test]
fn a_page_in_place_of_a_file_leaves_what_was_downloaded() {
    let (hub, cache, mut options) = hub();
    options.hub.retries = 0;
    hub.change(|s| (s.cuts, s.large) = (vec![70_000], usize::MAX));
    refusal(fetch(&options, "model.safetensors"));
    let blobs = cache.path().join("hub/models--someone--tiny-moshi/blobs");
    let part = || {
        let entries = std::fs::read_dir(&blobs).unwrap().flatten();
        entries.filter(|e| e.path().extension().is_some_and(|e| e == "part")).map(|e| e.metadata().unwrap().len()).max()
    };
    assert_eq!(part(), Some(70_000));
    // A login page of the network, in the middle of it all.
    hub.change(|s| s.page = true);
    refusal(fetch(&options, "model.safetensors"));
    assert_eq!(part(), Some(70_000));
}
