//! A model at a revision, in every way it is written.

use moshi_checkpoint::{OpenOptions, Repository, Source};

use crate::assert_says;
use crate::hub::{REPO, hub};

fn parsed(given: &str) -> (String, Option<String>, Option<String>) {
    match Source::parse(given).unwrap() {
        Source::Hub(hub) => (hub.repo, hub.revision, hub.file),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_revision_is_written_in_one_way_everywhere() {
    let whole = |revision: Option<&str>| ("a/b".to_owned(), revision.map(str::to_owned), None);
    for (given, revision) in [
        ("a/b", None),
        ("a/b@v1.0", Some("v1.0")),
        ("a/b@refs/pr/1", Some("refs/pr/1")),
        ("a/b@feature/x", Some("feature/x")),
        ("a/b@feature%2Fx", Some("feature/x")),
        ("hf://a/b", None),
        ("hf://a/b/", None),
        ("hf://a/b@v1.0", Some("v1.0")),
        ("hf://a/b@refs/pr/1", Some("refs/pr/1")),
        ("hf://a/b@refs%2Fpr%2F1", Some("refs/pr/1")),
        ("https://huggingface.co/a/b", None),
        ("https://huggingface.co/a/b/", None),
        ("huggingface.co/a/b", None),
        ("https://hf.co/a/b/tree/main", Some("main")),
        ("https://huggingface.co/a/b/tree/refs%2Fpr%2F1", Some("refs/pr/1")),
        ("http://www.huggingface.co/a/b/tree/v1.0?not-for-all-audiences=true", Some("v1.0")),
    ] {
        assert_eq!(parsed(given), whole(revision), "{given}");
    }
    let file = |revision: &str| ("a/b".to_owned(), Some(revision.to_owned()), Some("c/d.safetensors".to_owned()));
    for (given, revision) in [
        ("hf://a/b@v1/c/d.safetensors", "v1"),
        ("hf://a/b@refs/pr/1/c/d.safetensors", "refs/pr/1"),
        ("hf://a/b@feature%2Fx/c/d.safetensors", "feature/x"),
        ("https://huggingface.co/a/b/resolve/v1/c/d.safetensors", "v1"),
        ("https://huggingface.co/a/b/blob/v1/c/d.safetensors?download=true", "v1"),
    ] {
        assert_eq!(parsed(given), file(revision), "{given}");
        let again = Source::parse(given).unwrap().to_string();
        assert_eq!(parsed(&again), file(revision), "{again}");
    }
}

#[test]
fn what_cannot_be_a_revision_is_refused() {
    for bad in [
        "a/b@",
        "a/b@../../x",
        "a/b@/x",
        "a/b@x/",
        "a/b@x y",
        "a/b@.x",
        "hf://a/b@..%2F..%2Fx",
        "a/b@x\\y",
        "https://huggingface.co/a",
        "https://huggingface.co/a/b/tree/main/folder",
        "https://huggingface.co/a/b/discussions/1",
    ] {
        assert_says(&Source::parse(bad).unwrap_err().to_string(), &["give a folder"]);
    }
}

#[test]
fn a_revision_with_a_slash_is_one_segment_of_the_address_and_found_offline() {
    for name in ["v1.0", "refs/pr/1", "feature/x"] {
        let (hub, cache, mut options) = hub();
        hub.change(|s| s.revision = Some(name.to_owned()));
        let source = Source::parse(&format!("{REPO}@{name}")).unwrap();
        Repository::open(&source, &options, &mut ()).unwrap();
        let first = hub.requests().remove(0).path;
        assert!(first.contains(&format!("/resolve/{}/config.json", name.replace('/', "%2F"))), "{first}");
        assert!(cache.path().join("hub/models--someone--tiny-moshi/refs").join(name).is_file());
        options.hub.offline = true;
        Repository::open(&source, &options, &mut ()).unwrap();
        let other = Source::parse(&format!("{REPO}@other/{name}")).unwrap();
        let message = Repository::open(&other, &options, &mut ()).unwrap_err().to_string();
        assert_says(&message, &["not in the cache", "offline"]);
    }
}

#[test]
fn a_file_given_at_a_revision_comes_from_there() {
    let (hub, _cache, options) = hub();
    hub.change(|s| s.revision = Some("refs/pr/1".to_owned()));
    let mut options = OpenOptions { hub: options.hub, ..OpenOptions::default() };
    options.files.moshi = Some(format!("hf://{REPO}@refs/pr/1/model.safetensors"));
    Repository::open(&crate::hub::source(), &options, &mut ()).unwrap();
    assert!(hub.requests().iter().any(|r| r.path.contains("/resolve/refs%2Fpr%2F1/model.safetensors")));
}
