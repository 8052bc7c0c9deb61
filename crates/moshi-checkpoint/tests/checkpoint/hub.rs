//! Downloads, against a server that behaves like the hub.

use std::path::{Path, PathBuf};
use std::time::Duration;

use moshi_checkpoint::hub::Hub;
use moshi_checkpoint::{HubError, HubOptions, HubSource, OpenOptions, Progress, Repository, Source};
use tempfile::TempDir;

use crate::hub_server::{FakeHub, Request, State};
use crate::{assert_says, golden};

pub(crate) const REPO: &str = "someone/tiny-moshi";

/// A hub that holds the tiny model, and an empty cache.
pub(crate) fn hub() -> (FakeHub, TempDir, OpenOptions) {
    let names = ["config.json", "model.safetensors", "mimi.safetensors", "mimi_config.json", "tokenizer.model"];
    let files = names.map(|n| (n.to_owned(), std::fs::read(golden("tiny-moshi").join(n)).unwrap()));
    let commit = "0123456789abcdef0123456789abcdef01234567".to_owned();
    let state = State { repo: REPO.to_owned(), commit, files: files.into(), large: 100_000, ..State::default() };
    let hub = FakeHub::start(state);
    let cache = tempfile::tempdir().unwrap();
    let options = HubOptions {
        cache: Some(cache.path().join("hub")),
        endpoint: hub.endpoint.clone(),
        retry_pause: Duration::from_millis(1),
        patience: Duration::from_secs(10),
        ..HubOptions::default()
    };
    (hub, cache, OpenOptions { hub: options, ..OpenOptions::default() })
}

pub(crate) fn source() -> Source {
    Source::parse(REPO).unwrap()
}

pub(crate) fn fetch(options: &OpenOptions, file: &str) -> Result<PathBuf, HubError> {
    Hub::new(&options.hub, &HubSource::new(REPO))?.fetch(file, &mut ())
}

pub(crate) fn original(file: &str) -> Vec<u8> {
    std::fs::read(golden("tiny-moshi").join(file)).unwrap()
}

fn gets(requests: &[Request]) -> Vec<&Request> {
    requests.iter().filter(|r| r.method == "GET").collect()
}

pub(crate) fn refusal(result: Result<PathBuf, HubError>) -> String {
    result.unwrap_err().to_string()
}

/// Remembers what it was told.
#[derive(Default)]
struct Listener {
    started: Vec<(String, u64, u64)>,
    last: u64,
    finished: usize,
}

impl Progress for Listener {
    fn start(&mut self, file: &str, done: u64, size: u64) {
        self.started.push((file.to_owned(), done, size));
        self.last = done;
    }
    fn update(&mut self, done: u64) {
        self.last = done;
    }
    fn finish(&mut self) {
        let size = self.started.last().unwrap().2;
        assert_eq!(self.last, size, "a finished file was reported as a whole");
        self.finished += 1;
    }
}

#[test]
fn a_repository_is_downloaded_once_and_then_asked_about_once() {
    let (hub, _cache, options) = hub();
    let mut listener = Listener::default();
    let repo = Repository::open(&source(), &options, &mut listener).unwrap();
    let local = crate::open(&golden("tiny-moshi")).unwrap();
    for name in local.lm().unwrap().names() {
        assert_eq!(repo.lm().unwrap().bytes(name), local.lm().unwrap().bytes(name), "{name}");
    }
    assert_eq!(repo.tokenizer_bytes().unwrap(), local.tokenizer_bytes().unwrap());
    assert_eq!((listener.started.len(), listener.finished), (5, 5));
    let sizes = (original("config.json").len() as u64, original("model.safetensors").len() as u64);
    assert_eq!(listener.started[0], ("config.json".to_owned(), 0, sizes.0));
    assert_eq!(listener.started[1], ("model.safetensors".to_owned(), 0, sizes.1));
    hub.requests();
    Repository::open(&source(), &options, &mut ()).unwrap();
    let again = hub.requests();
    assert!(gets(&again).is_empty(), "{again:?}");
    assert!(again.iter().all(|r| r.path.contains("config.json")), "{again:?}");
}

#[test]
fn the_cache_is_laid_out_as_other_tools_expect() {
    let (_hub, cache, options) = hub();
    let path = fetch(&options, "model.safetensors").unwrap();
    let folder = cache.path().join("hub/models--someone--tiny-moshi");
    let commit = std::fs::read_to_string(folder.join("refs/main")).unwrap();
    assert_eq!(path, folder.join("snapshots").join(commit).join("model.safetensors"));
    let sum = crate::hub_server::sha256(&original("model.safetensors"));
    assert_eq!(std::fs::read(folder.join("blobs").join(sum)).unwrap(), original("model.safetensors"));
    let other = hf_hub::Cache::new(cache.path().join("hub")).model(REPO.to_owned());
    assert_eq!(other.get("model.safetensors"), Some(path));
}

#[test]
fn an_interrupted_download_goes_on_where_it_broke_off() {
    let (hub, _cache, options) = hub();
    hub.change(|s| s.cuts = vec![50_000, 30_000]);
    let mut listener = Listener::default();
    let path =
        Hub::new(&options.hub, &HubSource::new(REPO)).unwrap().fetch("model.safetensors", &mut listener).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), original("model.safetensors"));
    assert_eq!(listener.finished, 1);
    let requests = hub.requests();
    let ranges: Vec<_> = requests.iter().filter(|r| r.storage).map(|r| r.range.clone()).collect();
    assert_eq!(ranges, [None, Some("bytes=50000-".to_owned()), Some("bytes=80000-".to_owned())]);
}

#[test]
fn what_an_earlier_run_downloaded_is_kept() {
    let (hub, _cache, mut options) = hub();
    options.hub.retries = 0;
    hub.change(|s| s.cuts = vec![70_000]);
    let message = refusal(fetch(&options, "model.safetensors"));
    assert_says(&message, &[REPO, "model.safetensors", "cannot reach", "kept"]);
    let mut listener = Listener::default();
    let path =
        Hub::new(&options.hub, &HubSource::new(REPO)).unwrap().fetch("model.safetensors", &mut listener).unwrap();
    assert_eq!(listener.started[0].1, 70_000);
    assert_eq!(std::fs::read(path).unwrap(), original("model.safetensors"));
}

#[test]
fn a_hub_that_cannot_resume_is_read_from_the_start() {
    let (hub, _cache, options) = hub();
    hub.change(|s| (s.cuts, s.no_ranges) = (vec![70_000, 20_000], true));
    let path = fetch(&options, "model.safetensors").unwrap();
    assert_eq!(std::fs::read(path).unwrap(), original("model.safetensors"));
}

#[test]
fn a_connection_that_always_breaks_is_given_up() {
    let (hub, _cache, options) = hub();
    hub.change(|s| s.cuts = vec![0; 100]);
    assert_says(&refusal(fetch(&options, "model.safetensors")), &["cannot reach"]);
    assert_eq!(hub.requests().iter().filter(|r| r.storage).count(), 6, "the first try and five more");
}

#[test]
fn a_busy_hub_is_asked_again() {
    let (hub, _cache, options) = hub();
    hub.change(|s| s.statuses = vec![503]);
    assert_eq!(std::fs::read(fetch(&options, "config.json").unwrap()).unwrap(), original("config.json"));
    hub.change(|s| s.statuses = vec![503; 10]);
    assert_says(&refusal(fetch(&options, "mimi_config.json")), &["status 503"]);
}

#[test]
fn a_file_that_is_not_what_was_announced_is_removed() {
    let (hub, cache, options) = hub();
    let wrong = "f".repeat(64);
    hub.change(|s| s.etag = Some(wrong.clone()));
    assert_says(&refusal(fetch(&options, "model.safetensors")), &["SHA-256", &wrong, "removed", "try again"]);
    let blobs = cache.path().join("hub/models--someone--tiny-moshi/blobs");
    let left: Vec<_> = std::fs::read_dir(blobs).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(left.iter().all(|n| n.to_string_lossy().ends_with(".lock")), "{left:?}");
    hub.change(|s| s.etag = None);
    assert!(fetch(&options, "model.safetensors").is_ok());
}

#[test]
fn a_private_repository_needs_the_token_and_storage_never_sees_it() {
    let (hub, _cache, mut options) = hub();
    hub.change(|s| s.token = Some("hf_secret".to_owned()));
    let message = refusal(fetch(&options, "model.safetensors"));
    assert_says(&message, &["refuses access", "401", "set HF_TOKEN"]);
    options.hub.token = Some("hf_wrong".to_owned());
    assert_says(&refusal(fetch(&options, "model.safetensors")), &["no such repository", "HF_TOKEN"]);
    hub.requests();
    options.hub.token = Some("hf_secret".to_owned());
    fetch(&options, "model.safetensors").unwrap();
    let requests = hub.requests();
    assert!(requests.iter().any(|r| r.storage));
    assert!(requests.iter().all(|r| r.authorization.is_some() != r.storage), "{requests:?}");
    assert!(!format!("{options:?}").contains("secret"), "the token is not printed");
}

#[test]
fn a_gated_repository_says_what_to_do() {
    let (hub, _cache, mut options) = hub();
    hub.change(|s| s.gated = true);
    let message = refusal(fetch(&options, "config.json"));
    assert_says(&message, &["403", "Access to this model is restricted", "accept its terms", "HF_TOKEN"]);
    options.hub.token = Some("hf_mine".to_owned());
    assert_says(&refusal(fetch(&options, "config.json")), &["ask for access"]);
}

#[test]
fn what_is_not_there_is_told_apart() {
    let (hub, _cache, options) = hub();
    assert!(matches!(fetch(&options, "nothing.json"), Err(HubError::NoFile { .. })));
    let other = HubSource::new("someone/else");
    let options_with_token = HubOptions { token: Some("hf_mine".to_owned()), ..options.hub.clone() };
    let error = Hub::new(&options_with_token, &other).unwrap().fetch("config.json", &mut ()).unwrap_err();
    assert!(matches!(error, HubError::NoRepository { .. }), "{error}");
    assert_says(&error.to_string(), &["someone/else", &hub.endpoint]);
    // The codec's file is missing: the repository is named, and the file.
    hub.change(|s| drop(s.files.remove("mimi.safetensors")));
    let error = Repository::open(&source(), &options, &mut ()).unwrap_err();
    assert_says(&error.to_string(), &["hf:", REPO, "codec", "mimi.safetensors"]);
}

#[test]
fn offline_the_cache_serves_and_nothing_is_sent() {
    let (hub, _cache, mut options) = hub();
    options.hub.offline = true;
    let message = Repository::open(&source(), &options, &mut ()).unwrap_err().to_string();
    assert_says(&message, &["not in the cache", "offline", "HF_HUB_OFFLINE"]);
    assert_eq!(hub.requests(), []);
    options.hub.offline = false;
    Repository::open(&source(), &options, &mut ()).unwrap();
    hub.requests();
    options.hub.offline = true;
    Repository::open(&source(), &options, &mut ()).unwrap();
    assert_eq!(hub.requests(), []);
    assert!(matches!(fetch(&options, "other.json"), Err(HubError::Offline { .. })));
}

#[test]
fn an_optional_file_that_the_hub_lacks_is_no_riddle_offline() {
    let (hub, _cache, mut options) = hub();
    hub.change(|s| drop(s.files.remove("config.json")));
    // What nobody says comes from the tensors and from Moshi 7B.
    for offline in [false, true] {
        options.hub.offline = offline;
        let repository = Repository::open(&source(), &options, &mut ()).unwrap();
        assert_eq!(repository.config().lm.dim, 128);
        assert_says(&repository.warnings().join(" "), &["no configuration", "Moshi 7B"]);
    }
}

#[test]
fn without_a_network_the_cache_serves() {
    let (_hub, _cache, mut options) = hub();
    fetch(&options, "config.json").unwrap();
    // A port where nobody listens.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    options.hub.endpoint = format!("http://{nobody}");
    assert!(fetch(&options, "config.json").is_ok());
    let message = refusal(fetch(&options, "model.safetensors"));
    assert_says(&message, &["cannot reach", &nobody.to_string(), "check the network"]);
}

#[test]
fn all_files_come_from_one_commit_and_a_new_commit_is_noticed() {
    let (hub, _cache, options) = hub();
    let mut session = Hub::new(&options.hub, &HubSource::new(REPO)).unwrap();
    let old = session.fetch("config.json", &mut ()).unwrap();
    let new = "89abcdef0123456789abcdef0123456789abcdef";
    hub.change(|s| {
        s.commit = new.to_owned();
        s.files.insert("config.json".to_owned(), b"{}".to_vec());
    });
    // The old commit is gone from this hub: the session asks for it rather than mixing in the new one.
    assert!(session.fetch("mimi_config.json", &mut ()).is_err());
    let path = fetch(&options, "config.json").unwrap();
    assert!(path.to_string_lossy().contains(new));
    assert_eq!(std::fs::read(path).unwrap(), b"{}");
    assert_eq!(std::fs::read(old).unwrap(), original("config.json"));
}

#[test]
fn a_single_file_of_a_repository_brings_its_siblings() {
    let (_hub, _cache, options) = hub();
    let source = Source::parse(&format!("hf://{REPO}/mimi.safetensors")).unwrap();
    let repo = Repository::open(&source, &options, &mut ()).unwrap();
    assert_eq!(repo.mimi_config().unwrap().seanet.dimension, 64);
    assert!(repo.lm().is_err());
}

#[test]
fn nonsense_from_the_hub_is_an_error_not_a_crash() {
    let (hub, cache, options) = hub();
    let unusable = |change: &dyn Fn(&mut State), expected: &str| {
        hub.change(|s| change(s));
        assert_says(&refusal(fetch(&options, "model.safetensors")), &["unusable answer", expected]);
        hub.change(|s| (s.etag, s.nowhere, s.circle, s.large) = (None, false, false, 100_000));
    };
    unusable(&|s| s.etag = Some("../../../../escaped".to_owned()), "etag");
    unusable(&|s| s.nowhere = true, "redirect to nowhere");
    unusable(&|s| (s.circle, s.large) = (true, usize::MAX), "more than 5 redirects");
    unusable(&|s| s.statuses = vec![418], "status 418");
    hub.change(|s| s.commit = "../..".to_owned());
    assert_says(&refusal(fetch(&options, "model.safetensors")), &["x-repo-commit"]);
    let outside: Vec<_> = std::fs::read_dir(cache.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(outside.len() <= 1, "{outside:?}");
}

#[test]
fn a_hub_that_falls_silent_is_given_up() {
    let (hub, _cache, mut options) = hub();
    hub.change(|s| s.silent = true);
    (options.hub.patience, options.hub.retries) = (Duration::from_millis(200), 0);
    assert_says(&refusal(fetch(&options, "model.safetensors")), &["cannot reach", "timeout"]);
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let (_hub, cache, options) = hub();
    let with = |change: &dyn Fn(&mut HubOptions)| {
        let mut options = options.clone();
        change(&mut options.hub);
        refusal(fetch(&options, "config.json"))
    };
    assert_says(&with(&|o| o.cache = None), &["HF_HOME"]);
    assert_says(&with(&|o| o.endpoint = "huggingface.co".to_owned()), &["HF_ENDPOINT", "huggingface.co", "https://"]);
    let message = with(&|o| o.token = Some("two words\n".to_owned()));
    assert_says(&message, &["HF_TOKEN"]);
    assert!(!message.contains("two words"));
    let file = cache.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    assert_says(&with(&|o| o.cache = Some(file.clone())), &["file", "cannot", "HF_HOME"]);
}

#[test]
fn the_environment_is_read_as_other_tools_read_it() {
    let home = tempfile::tempdir().unwrap();
    let from = |table: &[(&str, &str)]| {
        let table: Vec<(String, String)> = table.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        HubOptions::from_lookup(&|name| table.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
    };
    let options = from(&[("HOME", "/home/me")]);
    assert_eq!(options.cache.as_deref(), Some(Path::new("/home/me/.cache/huggingface/hub")));
    assert_eq!((options.endpoint.as_str(), options.offline, options.token), ("https://huggingface.co", false, None));
    std::fs::write(home.path().join("token"), "hf_saved\n").unwrap();
    let home_text = home.path().display().to_string();
    let options = from(&[("HF_HOME", &home_text), ("HF_HUB_OFFLINE", "1"), ("HF_ENDPOINT", "http://mirror")]);
    assert_eq!(options.cache, Some(home.path().join("hub")));
    assert_eq!((options.endpoint.as_str(), options.offline), ("http://mirror", true));
    assert_eq!(options.token.as_deref(), Some("hf_saved"));
    let options =
        from(&[("HF_HOME", &home_text), ("HF_TOKEN", " hf_given "), ("HF_HUB_CACHE", "/big"), ("HF_HUB_OFFLINE", "0")]);
    assert_eq!((options.token.as_deref(), options.cache.as_deref()), (Some("hf_given"), Some(Path::new("/big"))));
    assert!(!options.offline);
    assert_eq!(from(&[]).cache, None);
}
