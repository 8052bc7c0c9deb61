//! Files that are not what they should be: always an answer, never a crash.

use std::path::{Path, PathBuf};

use moshi_checkpoint::{Error, OpenOptions, Parts, Repository, Source, Tensors};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{assert_says, golden, open};

/// A safetensors file of a header and data.
fn file(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// Header and data of a golden file.
fn parts(path: &Path) -> (Value, Vec<u8>) {
    let bytes = std::fs::read(path).unwrap();
    let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..8 + size]).unwrap(), bytes[8 + size..].to_vec())
}

fn written(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The error message for a file of these bytes.
fn refusal(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let message = Tensors::open(&written(&folder, bytes)).unwrap_err().to_string();
    assert_says(&message, &["model.safetensors", "expected"]);
    message
}

/// The tiny model with its LM file's header changed.
fn tiny_with(change: impl FnOnce(&mut Value)) -> Result<Repository, Error> {
    let folder = tempfile::tempdir().unwrap();
    let (mut header, data) = parts(&golden("tiny-moshi/model.safetensors"));
    change(&mut header);
    written(&folder, &file(header.to_string().as_bytes(), &data));
    std::fs::copy(golden("tiny-moshi/config.json"), folder.path().join("config.json")).unwrap();
    let options = OpenOptions { parts: Parts::LM, ..OpenOptions::default() };
    Repository::open(&Source::Folder(folder.path().to_path_buf()), &options, &mut ())
}

#[test]
fn files_of_other_kinds_are_named() {
    for (bytes, expected) in [
        (b"".as_slice(), "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n", "Git LFS pointer"),
        (b"Dear reader, this is no model at all.\n", "a text file that begins \"Dear reader"),
        (b"<!DOCTYPE html><html>503</html>", "a web page"),
        (b"PK\x03\x04archive/data.pkl", "PyTorch pickle"),
        (b"RIFF\0\0\0\0WAVEfmt ", "wav"),
        (b"\x01\x02\x03", "3 bytes, too short"),
        (&[0xff; 64], "header length of 18446744073709551615"),
        (&file(b"{\"a\": [1, 2", b""), "does not describe tensors"),
        (&file(b"[1, 2, 3, 4]", b""), "does not describe tensors"),
        (&file(b"\xff\xfe\xff\xfe", b""), "not text"),
    ] {
        assert_says(&refusal(bytes), &[expected]);
    }
}

#[test]
fn headers_that_lie_about_the_data_are_refused() {
    let entry =
        |dtype: &str, shape: Value, offsets: [u64; 2]| json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
    let eight = |header: Value| refusal(&file(header.to_string().as_bytes(), &[0; 8]));
    assert_says(&eight(json!({"a": entry("F32", json!([4]), [0, 16])})), &["truncated"]);
    assert_says(&eight(json!({"a": entry("F32", json!([1]), [0, 4])})), &["something was added"]);
    let overlap = json!({"a": entry("F32", json!([2]), [0, 8]), "b": entry("F32", json!([1]), [4, 8])});
    assert_says(&eight(overlap), &["\"b\"", "overlaps"]);
    assert_says(&eight(json!({"a": entry("F32", json!([1]), [4, 8])})), &["\"a\"", "gap"]);
    assert_says(&eight(json!({"a": entry("F32", json!([3]), [0, 8])})), &["damaged header"]);
    assert_says(&eight(json!({"a": entry("F32", json!([u64::MAX, u64::MAX]), [0, 8])})), &["damaged header"]);
    let nothing = json!({"a": entry("F32", json!([0, 1u64 << 62, 8]), [0, 0]), "b": entry("F32", json!([2]), [0, 8])});
    assert_says(&eight(nothing), &["\"a\"", "more than can be counted"]);
    assert_says(&eight(json!({"a": entry("Q9", json!([2]), [0, 8])})), &["Q9"]);
    assert_says(&eight(json!({"a": entry("F32", json!([-2]), [0, 8])})), &["-2"]);
}

#[test]
fn a_truncated_model_says_so() {
    let bytes = std::fs::read(golden("tiny-moshi/model.safetensors")).unwrap();
    for keep in [4, 100, 5000, 20_000, bytes.len() - 1] {
        let message = refusal(&bytes[..keep]);
        assert!(message.contains("truncated") || message.contains("too short"), "{keep}: {message}");
    }
}

#[test]
fn wrong_shapes_name_tensor_file_expected_and_found() {
    let error = tiny_with(|h| h["text_emb.weight"]["shape"] = json!([128, 57])).unwrap_err();
    assert_says(&error.to_string(), &["model.safetensors", "text_emb.weight", "[128, 57]", "[57, 128]"]);
    let stacked = "depformer.layers.0.self_attn.in_proj_weight";
    let error = tiny_with(|h| h[stacked]["shape"] = json!([768, 128])).unwrap_err();
    assert_says(&error.to_string(), &[stacked, "[768, 128]", "[1536, 64]"]);
}

#[test]
fn missing_tensors_are_counted_and_five_of_them_named() {
    let rename = |h: &mut Value, names: &[&str]| {
        for name in names {
            let entry = h.as_object_mut().unwrap().remove(*name).unwrap();
            h[format!("renamed.{name}")] = entry;
        }
    };
    let error = tiny_with(|h| rename(h, &["out_norm.alpha", "emb.3.weight"])).unwrap_err().to_string();
    assert_says(&error, &["model.safetensors", "2 of", "out_norm.alpha", "emb.3.weight", "config.json"]);
    let all: Vec<String> = (0..16).map(|q| format!("emb.{q}.weight")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_says(&tiny_with(|h| rename(h, &all)).unwrap_err().to_string(), &["16 of", "emb.4.weight, and 11 more"]);
    let error = tiny_with(|h| rename(h, &["depformer.layers.1.self_attn.out_proj.weight"])).unwrap_err().to_string();
    assert_says(&error, &["8 of", "depformer.layers.1.self_attn.out_projs.0.weight"]);
}

#[test]
fn a_wrong_number_format_is_refused_when_its_values_are_asked_for() {
    let repo = tiny_with(|h| h["out_norm.alpha"]["dtype"] = json!("I16")).unwrap();
    let message = repo.lm().unwrap().vector("out_norm.alpha", &[128]).unwrap_err().to_string();
    assert_says(&message, &["out_norm.alpha", "I16", "bf16, f16 or f32"]);
}

#[test]
fn another_models_file_is_told_apart() {
    let lm_from = |file: &str| {
        let mut options = OpenOptions { parts: Parts::LM, ..OpenOptions::default() };
        options.files.moshi = Some(golden(file).display().to_string());
        Repository::open(&Source::Folder(golden("tiny-moshi")), &options, &mut ()).unwrap_err().to_string()
    };
    assert_says(&lm_from("tiny-moshi/mimi.safetensors"), &["language model of the Moshi family", "the Mimi codec"]);
    assert_says(&lm_from("tiny-moshi/golden.safetensors"), &["15 tensors of another model"]);
    let mut options = OpenOptions::default();
    options.files.mimi = Some(golden("tiny-moshi/model.safetensors").display().to_string());
    let error = Repository::open(&Source::Folder(golden("tiny-moshi")), &options, &mut ()).unwrap_err();
    assert_says(&error.to_string(), &["expected the codec Mimi", "a language model", "mimi_name"]);
}

#[test]
fn a_candle_file_whose_shared_norms_differ_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (header, mut data) = parts(&golden("tiny-moshi/model.candle.safetensors"));
    let norm = "depformer.3.transformer.layers.1.norm2.alpha";
    data[header[norm]["data_offsets"][0].as_u64().unwrap() as usize] ^= 1;
    written(&folder, &file(header.to_string().as_bytes(), &data));
    std::fs::copy(golden("tiny-moshi/config.json"), folder.path().join("config.json")).unwrap();
    let options = OpenOptions { parts: Parts::LM, ..OpenOptions::default() };
    let error = Repository::open(&Source::Folder(folder.path().to_path_buf()), &options, &mut ()).unwrap_err();
    assert_says(&error.to_string(), &[norm, "differ"]);
}

#[test]
fn missing_files_say_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(golden("tiny-moshi").join(name), folder.path().join(name)).unwrap();
    }
    let message = open(folder.path()).unwrap_err().to_string();
    assert_says(&message, &["codec", "mimi.safetensors", "config.json, model.safetensors"]);
    std::fs::write(folder.path().join("config.json"), "{not json").unwrap();
    assert_says(&open(folder.path()).unwrap_err().to_string(), &["config.json", "JSON"]);
    std::fs::write(folder.path().join("config.json"), "[]").unwrap();
    assert_says(&open(folder.path()).unwrap_err().to_string(), &["config.json", "JSON object"]);
}

/// A configuration is from whoever made the repository.
#[test]
fn a_configuration_names_files_of_its_repository_alone() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret.safetensors");
    std::fs::copy(golden("tiny-moshi/model.safetensors"), &secret).unwrap();
    let inside = folder.path().join("repository");
    std::fs::create_dir(&inside).unwrap();
    for name in ["mimi.safetensors", "mimi_config.json", "tokenizer.model", "lora.safetensors", "model.safetensors"] {
        std::fs::copy(golden("tiny-moshi").join(name), inside.join(name)).unwrap();
    }
    let text = std::fs::read_to_string(golden("tiny-moshi/lora_config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let named = |key: &str, name: &str| {
        let mut config = config.clone();
        config[key] = name.into();
        std::fs::write(inside.join("config.json"), config.to_string()).unwrap();
        open(&inside)
    };
    let secret = secret.display().to_string();
    for name in [
        format!("file://{secret}"),
        format!("FILE://{secret}"),
        format!("file:{secret}"),
        secret.clone(),
        format!("/{secret}"),
        "../secret.safetensors".to_owned(),
        "./../secret.safetensors".to_owned(),
        "a/../../secret.safetensors".to_owned(),
        "..\\secret.safetensors".to_owned(),
        "C:\\secret.safetensors".to_owned(),
        "https://example.org/secret.safetensors".to_owned(),
    ] {
        for key in ["moshi_name", "mimi_name", "tokenizer_name", "lora_name"] {
            let message = named(key, &name).unwrap_err().to_string();
            assert_says(&message, &["not a file inside the repository"]);
        }
    }
    #[cfg(unix)]
    {
        // A link is the doing of who laid out the folder here.
        std::os::unix::fs::symlink(&secret, inside.join("link.safetensors")).unwrap();
        named("moshi_name", "link.safetensors").unwrap();
    }
}

#[test]
fn sources_are_told_apart_or_refused() {
    let hub = |s: &str| match Source::parse(s).unwrap() {
        Source::Hub(hub) => (hub.repo, hub.revision, hub.file),
        other => panic!("{other:?}"),
    };
    assert_eq!(hub("kyutai/moshiko-pytorch-bf16"), ("kyutai/moshiko-pytorch-bf16".into(), None, None));
    assert_eq!(hub("hf://a/b@v1/c/d.safetensors"), ("a/b".into(), Some("v1".into()), Some("c/d.safetensors".into())));
    let folder = golden("tiny-moshi").display().to_string();
    assert_eq!(Source::parse(&folder).unwrap(), Source::Folder(golden("tiny-moshi")));
    let file = golden("tiny-moshi/config.json");
    assert_eq!(Source::parse(&format!("file://{}", file.display())).unwrap(), Source::File(file));
    for bad in [
        "",
        " ",
        "/no/such/folder",
        "model.safetensors",
        "a/b/c",
        "a/model.safetensors",
        "https://x/y",
        "hf://a",
        "hf://a/b/../c",
        "../a",
        "a b/c",
    ] {
        let message = Source::parse(bad).unwrap_err().to_string();
        assert_says(&message, &["give a folder"]);
    }
}

#[test]
fn a_sharded_model_is_one_model() {
    let folder = tempfile::tempdir().unwrap();
    let source = Tensors::open(&golden("tiny-moshi/model.safetensors")).unwrap();
    let names: Vec<&str> = source.names().collect();
    let mut map = serde_json::Map::new();
    for (i, half) in names.chunks(names.len().div_ceil(2)).enumerate() {
        let shard = format!("model-{i}.safetensors");
        let mut begin = 0;
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for name in half {
            let bytes = source.bytes(name).unwrap();
            let offsets = [begin, begin + bytes.len()];
            header.insert(
                name.to_string(),
                json!({"dtype": "BF16", "shape": source.shape(name), "data_offsets": offsets}),
            );
            data.extend_from_slice(bytes);
            begin += bytes.len();
            map.insert(name.to_string(), json!(shard));
        }
        // An odd header length: values are not aligned in the map and have to be copied.
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(2) + 1, b' ');
        std::fs::write(folder.path().join(shard), file(&header, &data)).unwrap();
    }
    let index = json!({"weight_map": map});
    std::fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    std::fs::copy(golden("tiny-moshi/config.json"), folder.path().join("config.json")).unwrap();
    let options = OpenOptions { parts: Parts::LM, ..OpenOptions::default() };
    let repo = Repository::open(&Source::Folder(folder.path().to_path_buf()), &options, &mut ()).unwrap();
    let (whole, sharded) = (open(&golden("tiny-moshi")).unwrap().lm().unwrap(), repo.lm().unwrap());
    assert_eq!(sharded.paths().count(), 2);
    for name in whole.names() {
        assert_eq!(whole.bytes(name), sharded.bytes(name), "{name}");
    }
    let (a, b) = (whole.matrix("emb.1.weight", 65, 128).unwrap(), sharded.matrix("emb.1.weight", 65, 128).unwrap());
    assert_eq!(a.to_f32().unwrap(), b.to_f32().unwrap());
    std::fs::write(folder.path().join("model.safetensors.index.json"), r#"{"weight_map": {"a": "../b"}}"#).unwrap();
    assert_says(
        &Repository::open(&Source::Folder(folder.path().to_path_buf()), &options, &mut ()).unwrap_err().to_string(),
        &["../b"],
    );
}

/// Replaces some bytes of the header, and reads whatever is left of the file's meaning.
fn poke(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder, bytes);
    let Ok(tensors) = Tensors::open(&path) else { return };
    for name in tensors.names() {
        let shape = tensors.shape(name).unwrap();
        let _ = tensors.vector(name, shape);
        let rows = shape.first().copied().unwrap_or(0);
        let _ = tensors.matrix(name, rows, shape.iter().skip(1).product());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let header = json!({
            "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
            "b": {"dtype": "BF16", "shape": [1, 1, 4], "data_offsets": [16, 24]},
        });
        let mut bytes = file(header.to_string().as_bytes(), &[7; 24]);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        poke(&bytes);
    }

    #[test]
    fn invented_headers_never_panic(
        entries in prop::collection::vec(
            ("[a-c]", prop::sample::select(vec!["F32", "BF16", "F16", "I8", "F4", "U64", "X"]),
             prop::collection::vec(prop_oneof![0u64..5, Just(u64::MAX), Just(1 << 40)], 0..4), 0u64..40, 0u64..40),
            0..4),
        data in 0usize..40,
    ) {
        let mut header = serde_json::Map::new();
        for (name, dtype, shape, begin, end) in entries {
            header.insert(name, json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}));
        }
        poke(&file(Value::Object(header).to_string().as_bytes(), &vec![1; data]));
    }

    #[test]
    fn mutated_configurations_never_panic(
        key in any::<prop::sample::Index>(),
        value in prop_oneof![
            Just(json!(null)), Just(json!(0)), Just(json!(1)), Just(json!(-1)), Just(json!(1e300)), Just(json!(u64::MAX)),
            Just(json!("x")), Just(json!([])), Just(json!([0])), Just(json!({})), Just(json!(true)), Just(json!(2.5)),
            (0u64..2000).prop_map(|n| json!(n)),
        ],
        variant in any::<bool>(),
    ) {
        let folder = if variant { "tiny-variant" } else { "tiny-moshi" };
        let bytes = std::fs::read(golden(folder).join("config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&bytes).unwrap();
        let keys: Vec<String> = config.as_object().unwrap().keys().cloned().collect();
        config[&keys[key.index(keys.len())]] = value;
        if let Ok((config, _)) = moshi_checkpoint::ModelConfig::from_json(Path::new("config.json"), config) {
            let _ = moshi_checkpoint::lm_tensors(&config.lm);
        }
    }
}
