//! Quantized layouts and adapters: what is kept as it is, and what is refused.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use moshi_checkpoint::{Error, Layout, OpenOptions, Parts, Repository, Source, Tensors, lm_tensors};
use moshi_tensor::weight::{Quants, WeightData};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{assert_says, golden};

/// The tiny model with another LM file.
fn open_lm(file: &Path) -> Result<Repository, Error> {
    let mut options = OpenOptions { parts: Parts::LM, ..OpenOptions::default() };
    options.files.moshi = Some(file.display().to_string());
    Repository::open(&Source::Folder(golden("tiny-moshi")), &options, &mut ())
}

fn tiny(file: &str) -> Repository {
    open_lm(&golden("tiny-moshi").join(file)).unwrap()
}

/// Header and data of a golden file, changed and written anew.
fn changed(file: &str, change: impl FnOnce(&mut Value, &mut Vec<u8>)) -> (tempfile::TempDir, std::path::PathBuf) {
    let bytes = std::fs::read(golden("tiny-moshi").join(file)).unwrap();
    let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (mut header, mut data) = (serde_json::from_slice(&bytes[8..8 + size]).unwrap(), bytes[8 + size..].to_vec());
    change(&mut header, &mut data);
    let header = header.to_string().into_bytes();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes(), &header[..], &data].concat()).unwrap();
    (folder, path)
}

fn refusal(file: &str, change: impl FnOnce(&mut Value)) -> String {
    let (_folder, path) = changed(file, |header, _| change(header));
    open_lm(&path).unwrap_err().to_string()
}

fn rename(header: &mut Value, name: &str) {
    let entry = header.as_object_mut().unwrap().remove(name).unwrap();
    header[format!("{name}.renamed")] = entry;
}

#[test]
fn quantized_matrices_stay_as_the_file_holds_them() {
    for (file, layout, bytes) in [
        ("model.torch.q8.safetensors", Layout::PyTorch, 384 * 128 + 384 * 4),
        ("model.mlx.q8.safetensors", Layout::Mlx, 384 * 128 + 384 * 4 * 8),
        ("model.mlx.q4.safetensors", Layout::Mlx, 384 * 64 + 384 * 4 * 8),
        ("model.q8.gguf", Layout::Candle, 384 * 128 + 384 * 4 * 4),
    ] {
        let repository = tiny(file);
        assert_eq!(repository.lm_layout().unwrap(), layout, "{file}");
        let tensors = repository.lm().unwrap();
        let weight = tensors.matrix("transformer.layers.1.self_attn.in_projs.0.weight", 384, 128).unwrap();
        assert_eq!(weight.bytes(), bytes, "{file}");
        match weight.data() {
            WeightData::Int8 { values, .. } => assert!(matches!(values, Cow::Borrowed(_)), "{file}: copied"),
            WeightData::Grouped(g) if g.quants != Quants::I8 => {
                assert!(matches!(g.packed, Cow::Borrowed(_)), "{file}: copied");
            }
            WeightData::Grouped(_) => {}
            other => panic!("{file}: {other:?}"),
        }
    }
}

#[test]
fn quantized_weights_are_near_the_ones_they_were_made_from() {
    let exact = tiny("model.safetensors");
    for (file, allowed) in [
        ("model.torch.q8.safetensors", 0.01),
        ("model.mlx.q8.safetensors", 0.02),
        ("model.mlx.q4.safetensors", 0.15),
        ("model.q8.gguf", 0.01),
    ] {
        let (a, b) = (exact.lm().unwrap(), tiny(file).lm().unwrap());
        for spec in lm_tensors(&exact.config().lm) {
            let (a, b) = (a.vector(&spec.name, &spec.shape).unwrap(), b.vector(&spec.name, &spec.shape).unwrap());
            let largest = a.iter().fold(0f32, |m, x| m.max(x.abs()));
            let worst = a.iter().zip(&b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst <= allowed * largest, "{file} {}: {worst} of {largest}", spec.name);
        }
    }
}

#[test]
fn missing_or_misshapen_scales_are_named() {
    let (torch, mlx) = ("model.torch.q8.safetensors", "model.mlx.q4.safetensors");
    let stacked = "depformer.layers.0.self_attn.in_proj_weight";
    let scb = format!("{stacked}_scb");
    assert_says(&refusal(torch, |h| rename(h, &scb)), &["model.safetensors", stacked, "I8", &scb, "not there"]);
    assert_says(&refusal(torch, |h| h[&scb]["shape"] = json!([768, 2])), &[&scb, "[768, 2]", "[1536]"]);
    assert_says(&refusal(torch, |h| h[&scb]["dtype"] = json!("I32")), &[&scb, "I32"]);
    for part in ["scales", "biases"] {
        let part = format!("text_emb.{part}");
        assert_says(&refusal(mlx, |h| rename(h, &part)), &["text_emb.weight", "U32", &part, "not there"]);
        assert_says(&refusal(mlx, |h| h[&part]["shape"] = json!([4, 57])), &[&part, "[4, 57]"]);
    }
    assert_says(&refusal(mlx, |h| h["text_emb.weight"]["shape"] = json!([114, 8])), &["MLX q2", "q4"]);
    assert_says(&refusal(mlx, |h| h["text_emb.weight"]["shape"] = json!([16, 57])), &["text_emb.weight", "[16, 57]"]);
}

/// A repository of tiny-moshi's model and an adapter with the changed header.
fn adapted(base: &str, config: impl FnOnce(&mut Value), change: impl FnOnce(&mut Value)) -> Result<Repository, Error> {
    let (folder, path) = changed("lora.safetensors", |header, _| change(header));
    std::fs::rename(path, folder.path().join("lora.safetensors")).unwrap();
    let text = std::fs::read(golden("tiny-moshi/lora_config.json")).unwrap();
    let mut json: Value = serde_json::from_slice(&text).unwrap();
    config(&mut json);
    std::fs::write(folder.path().join("config.json"), json.to_string()).unwrap();
    std::fs::copy(golden("tiny-moshi").join(base), folder.path().join("model.safetensors")).unwrap();
    let options = OpenOptions { parts: Parts::LM, ..OpenOptions::default() };
    Repository::open(&Source::Folder(folder.path().to_path_buf()), &options, &mut ())
}

const LINEAR: &str = "transformer.layers.1.gating.linear_out";

#[test]
fn an_adapter_is_merged_by_its_definition_in_either_spelling() {
    let older = |header: &mut Value| {
        for half in ["A", "B"] {
            let newer = format!("transformer.layers.0.self_attn.in_projs.0.lora_{half}.weight");
            let entry = header.as_object_mut().unwrap().remove(&newer).unwrap();
            header[newer.replace("in_projs.0", "in_proj")] = entry;
        }
    };
    // Without a name in the configuration it is lora.safetensors.
    let unnamed = |config: &mut Value| config["lora_name"] = Value::Null;
    let (repository, base) = (adapted("model.safetensors", unnamed, older).unwrap(), tiny("model.safetensors"));
    let adapter = Tensors::open(&golden("tiny-moshi/lora.safetensors")).unwrap();
    for (name, rows, cols) in [(LINEAR, 128, 352), ("transformer.layers.0.self_attn.in_projs.0", 384, 128)] {
        let a = adapter.vector(&format!("{name}.lora_A.weight"), &[4, cols]).unwrap();
        let b = adapter.vector(&format!("{name}.lora_B.weight"), &[rows, 4]).unwrap();
        let name = format!("{name}.weight");
        let w = base.lm().unwrap().matrix(&name, rows, cols).unwrap().to_f32().unwrap();
        let tensors = repository.lm().unwrap();
        let merged = tensors.matrix(&name, rows, cols).unwrap();
        assert!(matches!(merged.data(), WeightData::F32(_)));
        for (i, found) in merged.to_f32().unwrap().iter().enumerate() {
            let delta: f32 = (0..4).map(|r| b[i / cols * 4 + r] * a[r * cols + i % cols]).sum();
            assert!((found - (w[i] + 2.0 * delta)).abs() < 1e-5, "{name} {i}");
        }
    }
}

#[test]
fn the_adapter_of_a_quantized_matrix_is_kept_apart_and_means_the_same() {
    for file in ["model.torch.q8.safetensors", "model.q8.gguf", "model.mlx.q4.safetensors"] {
        let (repository, base) = (adapted(file, |_| (), |_| ()).unwrap(), tiny(file));
        let (tensors, base) = (repository.lm().unwrap(), base.lm().unwrap());
        let name = format!("{LINEAR}.weight");
        let apart = tensors.matrix(&name, 128, 352).unwrap();
        assert_eq!(apart.bytes(), base.matrix(&name, 128, 352).unwrap().bytes(), "{file}: not as the file holds it");
        let pair = tensors.low_rank(&name).unwrap().unwrap();
        let (w, down, up) = (apart.to_f32().unwrap(), pair.down.to_f32().unwrap(), pair.up.to_f32().unwrap());
        assert_eq!((pair.down.rows(), pair.up.cols()), (4, 4));
        for (i, merged) in tensors.vector(&name, &[128, 352]).unwrap().iter().enumerate() {
            let delta: f32 = (0..4).map(|r| up[i / 352 * 4 + r] * down[r * 352 + i % 352]).sum();
            assert!((merged - (w[i] + delta)).abs() < 1e-5, "{file} {i}");
        }
        assert!(tensors.low_rank("out_norm.alpha").unwrap().is_none());
        assert!(tiny("model.safetensors").lm().unwrap().low_rank(&name).unwrap().is_none());
    }
}

#[test]
fn adapters_that_do_not_fit_are_refused() {
    let message = |config: &dyn Fn(&mut Value), change: &dyn Fn(&mut Value)| {
        adapted("model.safetensors", config, change).unwrap_err().to_string()
    };
    let same = |_: &mut Value| {};
    let (a, b) = (format!("{LINEAR}.lora_A.weight"), format!("{LINEAR}.lora_B.weight"));
    assert_says(&message(&|c| c["lora_rank"] = json!(8), &same), &["lora.safetensors", "lora_A", "[8, "]);
    assert_says(&message(&same, &|h| h[&b]["shape"] = json!([64, 8])), &[&b, "[64, 8]", "[128, 4]"]);
    assert_says(&message(&same, &|h| rename(h, &b)), &["lora.safetensors", &b, "no tensor"]);
    let foreign = |h: &mut Value| {
        for name in [&a, &b] {
            rename(h, name);
        }
    };
    assert_says(&message(&same, &foreign), &["LoRA adapter of this model", "2 tensors", "renamed"]);
    assert_says(
        &message(&|c| c["lora_name"] = json!("none.safetensors"), &same),
        &["LoRA adapter", "none.safetensors"],
    );
    let alone = open_lm(&golden("tiny-moshi/lora.safetensors")).unwrap_err().to_string();
    assert_says(&alone, &["lora.safetensors", "a LoRA adapter", "lora_name"]);
}

#[test]
fn the_adapter_of_a_quantized_table_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let half = |half: &str, shape: [usize; 2]| moshi_checkpoint::save::NamedTensor {
        name: format!("text_emb.lora_{half}.weight"),
        shape: shape.to_vec(),
        data: WeightData::F32(Cow::Owned(vec![0.25; shape[0] * shape[1]])),
    };
    let tensors = [half("A", [4, 128]), half("B", [57, 4])];
    moshi_checkpoint::save::write_safetensors(&folder.path().join("lora.safetensors"), &tensors, &BTreeMap::new())
        .unwrap();
    std::fs::copy(golden("tiny-moshi/lora_config.json"), folder.path().join("config.json")).unwrap();
    for (file, fits) in [("model.safetensors", true), ("model.mlx.q4.safetensors", false)] {
        std::fs::copy(golden("tiny-moshi").join(file), folder.path().join("model.safetensors")).unwrap();
        let options = OpenOptions { parts: Parts::LM, ..OpenOptions::default() };
        let opened = Repository::open(&Source::Folder(folder.path().to_path_buf()), &options, &mut ());
        assert_eq!(opened.is_ok(), fits, "{file}");
        if let Err(error) = opened {
            assert_says(&error.to_string(), &["text_emb.weight", "U32", "bf16"]);
        }
    }
}

#[test]
fn tensors_that_were_trained_in_full_replace_the_models() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    let data = WeightData::F32(Cow::Owned(vec![0.25; 57 * 128]));
    let tensor = moshi_checkpoint::save::NamedTensor { name: "text_emb.weight".to_owned(), shape: vec![57, 128], data };
    moshi_checkpoint::save::write_safetensors(&path, &[tensor], &BTreeMap::new()).unwrap();
    for file in ["lora_config.json", "model.safetensors"] {
        std::fs::copy(golden("tiny-moshi").join(file), folder.path().join(file.replace("lora_", ""))).unwrap();
    }
    let options = OpenOptions { parts: Parts::LM, ..OpenOptions::default() };
    let repository = Repository::open(&Source::Folder(folder.path().to_path_buf()), &options, &mut ()).unwrap();
    assert_eq!(repository.lm().unwrap().vector("text_emb.weight", &[57, 128]).unwrap(), vec![0.25; 57 * 128]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn other_shapes_and_formats_of_the_same_size_never_panic(
        file in prop::sample::select(vec!["model.torch.q8.safetensors", "model.mlx.q4.safetensors"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0u32..12, any::<bool>()), 1..5),
    ) {
        let (_folder, path) = changed(file, |header, _| {
            let names: Vec<String> = header.as_object().unwrap().keys().cloned().collect();
            for (at, shift, format) in changes {
                let entry = &mut header[&names[at.index(names.len())]];
                let size: u64 = entry["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).product();
                let rows = (1 << shift).min(size);
                if size.is_multiple_of(rows) {
                    entry["shape"] = json!([rows, size / rows]);
                }
                if format {
                    let other = match entry["dtype"].as_str().unwrap() {
                        "U32" => "F32",
                        "F32" => "U32",
                        "BF16" => "I16",
                        other => other,
                    };
                    entry["dtype"] = json!(other);
                }
            }
        });
        if let Ok(repository) = open_lm(&path) {
            let tensors = repository.lm().unwrap();
            for spec in lm_tensors(&repository.config().lm) {
                let _ = tensors.vector(&spec.name, &spec.shape);
            }
        }
    }
}
