//! A model in several files: all of them are read, or it is said which are missing.

use std::path::Path;

use moshi_checkpoint::{Error, OpenOptions, Parts, Repository, Source, Tensors};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::hub::hub;
use crate::{assert_says, golden};

const NAMES: [&str; 3] =
    ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"];

/// The tiny model's file cut into three whole ones, with an index as other programs write it.
fn cut() -> (TempDir, Value) {
    let folder = tempfile::tempdir().unwrap();
    let source = Tensors::open(&golden("tiny-moshi/model.safetensors")).unwrap();
    let names: Vec<&str> = source.names().collect();
    let mut map = serde_json::Map::new();
    for (part, names) in NAMES.iter().zip(names.chunks(names.len().div_ceil(3))) {
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for name in names {
            let bytes = source.bytes(name).unwrap();
            let offsets = [data.len(), data.len() + bytes.len()];
            let entry = json!({"dtype": source.dtype(name), "shape": source.shape(name), "data_offsets": offsets});
            header.insert((*name).to_owned(), entry);
            data.extend_from_slice(bytes);
            map.insert((*name).to_owned(), json!(part));
        }
        let header = Value::Object(header).to_string();
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
        std::fs::write(folder.path().join(part), bytes).unwrap();
    }
    copy(folder.path(), "config.json");
    (folder, json!({ "weight_map": map }))
}

fn copy(folder: &Path, name: &str) {
    std::fs::copy(golden("tiny-moshi").join(name), folder.join(name)).unwrap();
}

/// Changes a setting of a folder's config.json; `null` takes it away.
fn set(folder: &Path, key: &str, value: Value) {
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    std::fs::write(path, config.to_string()).unwrap();
}

fn open(path: &Path) -> Result<Repository, Error> {
    let options = OpenOptions { parts: Parts::LM, ..OpenOptions::default() };
    Repository::open(&Source::parse(&path.display().to_string()).unwrap(), &options, &mut ())
}

/// Checks that what lies at a path is the tiny model.
#[track_caller]
fn assert_whole(path: &Path) {
    let (whole, parts) = (open(&golden("tiny-moshi")).unwrap().lm().unwrap(), open(path).unwrap().lm().unwrap());
    for name in whole.names() {
        assert_eq!(whole.bytes(name), parts.bytes(name), "{name}");
    }
}

#[test]
fn parts_are_read_however_they_are_named() {
    let (folder, index) = cut();
    let at = |name: &str| folder.path().join(name);
    // Without an index: each of them leads to all.
    for name in NAMES {
        assert_whole(&at(name));
        set(folder.path(), "moshi_name", json!(name));
        assert_whole(folder.path());
    }
    for name in [Value::Null, json!("model.safetensors")] {
        set(folder.path(), "moshi_name", name);
        assert_whole(folder.path());
    }
    set(folder.path(), "moshi_name", json!("another.safetensors"));
    assert_says(&open(folder.path()).unwrap_err().to_string(), &["another.safetensors", NAMES[0]]);
    set(folder.path(), "moshi_name", Value::Null);
    std::fs::write(at("model.safetensors.index.json"), index.to_string()).unwrap();
    assert_whole(folder.path());
    assert_whole(&at("model.safetensors.index.json"));
}

#[test]
fn parts_that_are_missing_are_counted_and_named() {
    let (folder, index) = cut();
    std::fs::remove_file(folder.path().join(NAMES[1])).unwrap();
    let first = folder.path().join(NAMES[0]);
    assert_says(&open(&first).unwrap_err().to_string(), &[NAMES[0], "1 of the 3", NAMES[1], "beside"]);
    std::fs::remove_file(folder.path().join(NAMES[2])).unwrap();
    let path = folder.path().join("model.safetensors.index.json");
    std::fs::write(&path, index.to_string()).unwrap();
    set(folder.path(), "moshi_name", json!("model.safetensors"));
    for given in [folder.path(), &path] {
        let message = open(given).unwrap_err().to_string();
        assert_says(&message, &["index.json", "2 of the 3", NAMES[1], NAMES[2]]);
    }
}

#[test]
fn parts_come_from_the_hub_and_from_the_cache() {
    let (folder, _) = cut();
    let (hub, _cache, mut options) = hub();
    options.parts = Parts::LM;
    hub.change(|s| {
        s.files.remove("model.safetensors");
        let mut config: Value = serde_json::from_slice(&s.files["config.json"]).unwrap();
        config["moshi_name"] = json!(format!("weights/{}", NAMES[0]));
        s.files.insert("config.json".to_owned(), config.to_string().into_bytes());
        for name in NAMES {
            s.files.insert(format!("weights/{name}"), std::fs::read(folder.path().join(name)).unwrap());
        }
    });
    for offline in [false, true] {
        options.hub.offline = offline;
        let repository = Repository::open(&crate::hub::source(), &options, &mut ()).unwrap();
        assert_eq!(repository.lm().unwrap().paths().count(), 3);
    }
    options.hub.offline = false;
    options.hub.cache = Some(folder.path().join("cache"));
    hub.change(|s| drop(s.files.remove(&format!("weights/{}", NAMES[2]))));
    let message = Repository::open(&crate::hub::source(), &options, &mut ()).unwrap_err().to_string();
    assert_says(&message, &["1 of the 3", NAMES[2]]);
}

/// A GGUF file without tensors that says it is part `no` of `count`.
fn gguf_part(no: u16, count: u16) -> Vec<u8> {
    let mut bytes = [b"GGUF".as_slice(), &3u32.to_le_bytes(), &0u64.to_le_bytes(), &2u64.to_le_bytes()].concat();
    for (key, value) in [("split.no", no), ("split.count", count)] {
        bytes.extend_from_slice(&(key.len() as u64).to_le_bytes());
        bytes.extend_from_slice(key.as_bytes());
        bytes.extend_from_slice(&2u32.to_le_bytes());
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes
}

#[test]
fn a_split_gguf_file_under_another_name_says_that_it_is_a_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.q8.gguf");
    std::fs::write(&path, gguf_part(1, 4)).unwrap();
    let message = open(&path).unwrap_err().to_string();
    assert_says(&message, &["model.q8.gguf", "part 2 of 4", "NAME-00001-of-00004.gguf", "--merge"]);
    let named = folder.path().join("model.q8-00002-of-00004.gguf");
    std::fs::rename(&path, &named).unwrap();
    assert_says(&open(&named).unwrap_err().to_string(), &["3 of the 4", "model.q8-00001-of-00004.gguf"]);
}

#[test]
fn names_that_are_none_of_a_part_are_whole_files() {
    for name in [
        "model-00001-of-00001.safetensors",
        "model-00000-of-00002.safetensors",
        "model-00003-of-00002.safetensors",
        "model-1-of-2.safetensors",
        "model-00001-of-99999.safetensors",
        "00001-of-00002.safetensors",
    ] {
        let folder = tempfile::tempdir().unwrap();
        copy(folder.path(), "config.json");
        std::fs::copy(golden("tiny-moshi/model.safetensors"), folder.path().join(name)).unwrap();
        assert_whole(&folder.path().join(name));
    }
}
