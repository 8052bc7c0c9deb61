//! Checkpoints written in every layout and number format, read back.

use std::num::NonZeroUsize;
use std::path::Path;

use moshi_checkpoint::export::{Export, Numbers, WriteLayout, write_model, write_repository};
use moshi_checkpoint::{Layout, OpenOptions, Parts, Repository, Source, Tensors, lm_tensors};

use crate::{assert_says, golden, open};

const LAYOUTS: [(WriteLayout, Layout); 4] = [
    (WriteLayout::PyTorch, Layout::PyTorch),
    (WriteLayout::Candle, Layout::Candle),
    (WriteLayout::Mlx, Layout::Mlx),
    (WriteLayout::Gguf, Layout::Candle),
];

fn export(layout: WriteLayout, numbers: Numbers) -> Export {
    Export { layout, numbers, requantize: false, threads: NonZeroUsize::MIN.saturating_add(1) }
}

/// A repository of a golden folder with another model file.
fn from(folder: &str, file: &str) -> Repository {
    let mut options = OpenOptions::default();
    options.files.moshi = Some(golden(folder).join(file).display().to_string());
    Repository::open(&Source::Folder(golden(folder)), &options, &mut ()).unwrap()
}

fn written(repository: &Repository, folder: &Path, export: &Export) -> Repository {
    write_repository(repository, folder, export, &mut |_, _| ()).unwrap();
    open(folder).unwrap()
}

/// The largest difference over the largest value, tensor by tensor.
fn worst(a: &Repository, b: &Repository) -> f32 {
    let (ta, tb) = (a.lm().unwrap(), b.lm().unwrap());
    let specs = lm_tensors(&a.config().lm);
    let of = |spec: &moshi_checkpoint::TensorSpec| {
        let (a, b) = (ta.vector(&spec.name, &spec.shape).unwrap(), tb.vector(&spec.name, &spec.shape).unwrap());
        let largest = a.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
        a.iter().zip(&b).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest
    };
    specs.iter().map(of).fold(0.0, f32::max)
}

#[test]
fn every_layout_of_a_model_is_the_same_model_to_the_bit() {
    for (source, file) in [
        ("tiny-moshi", "model.safetensors"),
        ("tiny-moshi", "model.q8.gguf"),
        ("tiny-moshi", "model.mlx.q4.safetensors"),
        ("tiny-moshi", "model.torch.q8.safetensors"),
        ("tiny-variant", "model.safetensors"),
    ] {
        let repository = from(source, file);
        for (layout, read) in LAYOUTS {
            // The variant's steps share weights through a schedule, and their own norms follow; both survive.
            let folder = tempfile::tempdir().unwrap();
            let again = written(&repository, folder.path(), &export(layout, Numbers::Keep));
            assert_eq!(again.lm_layout().unwrap(), read, "{file}");
            assert_eq!(worst(&repository, &again), 0.0, "{source}/{file} as {layout:?}");
            assert_eq!(again.warnings(), Vec::<String>::new(), "{source}/{file} as {layout:?}");
            assert_eq!(again.config().lm, repository.config().lm);
            assert_eq!(again.tokenizer_bytes().unwrap(), repository.tokenizer_bytes().unwrap());
        }
    }
}

#[test]
fn a_file_in_its_own_layout_is_copied_with_the_published_names() {
    for (file, layout) in [
        ("model.safetensors", WriteLayout::PyTorch),
        ("model.candle.safetensors", WriteLayout::Candle),
        ("model.mlx.q8.safetensors", WriteLayout::Mlx),
        ("model.mlx.q4.safetensors", WriteLayout::Mlx),
        ("model.torch.q8.safetensors", WriteLayout::PyTorch),
        ("model.q8.gguf", WriteLayout::Gguf),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        write_model(&from("tiny-moshi", file), &path, &export(layout, Numbers::Keep), &mut |_, _| ()).unwrap();
        let (a, b) = (Tensors::open(&golden("tiny-moshi").join(file)).unwrap(), Tensors::open(&path).unwrap());
        assert!(a.names().eq(b.names()), "{file}");
        for name in a.names() {
            assert_eq!(a.shape(name), b.shape(name), "{file} {name}");
            assert_eq!(a.dtype(name), b.dtype(name), "{file} {name}");
            assert_eq!(a.bytes(name), b.bytes(name), "{file} {name}");
        }
    }
}

#[test]
fn quantized_files_hold_what_the_published_ones_hold() {
    let repository = open(&golden("tiny-moshi")).unwrap();
    for (numbers, layout, published, allowed) in [
        (Numbers::Q8_0, WriteLayout::Gguf, "model.q8.gguf", 0.006),
        (Numbers::Int8Rows, WriteLayout::PyTorch, "model.torch.q8.safetensors", 0.006),
        (Numbers::MlxQ8, WriteLayout::Mlx, "model.mlx.q8.safetensors", 0.01),
        (Numbers::MlxQ4, WriteLayout::Mlx, "model.mlx.q4.safetensors", 0.15),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let again = written(&repository, folder.path(), &export(layout, numbers));
        assert!(worst(&repository, &again) < allowed, "{numbers}: {}", worst(&repository, &again));
        let name = again.config().names.moshi.clone().unwrap();
        let (ours, theirs) = (folder.path().join(name), golden("tiny-moshi").join(published));
        let (ours, theirs) = (Tensors::open(&ours).unwrap(), Tensors::open(&theirs).unwrap());
        assert!(ours.names().eq(theirs.names()), "{numbers}");
        for name in ours.names() {
            assert_eq!(ours.shape(name), theirs.shape(name), "{numbers} {name}");
            assert_eq!(ours.dtype(name), theirs.dtype(name), "{numbers} {name}");
        }
        let says = again.config().raw.get("quantize").is_some();
        assert_eq!(says, numbers == Numbers::Int8Rows);
    }
}

#[test]
fn int4_in_gguf_keeps_bytes_outside_of_the_temporal_transformer() {
    let folder = tempfile::tempdir().unwrap();
    let repository = open(&golden("tiny-moshi")).unwrap();
    let again = written(&repository, folder.path(), &export(WriteLayout::Gguf, Numbers::Q4_0));
    let lm = again.lm().unwrap();
    let dtype = |name: &str| lm.dtype(name).unwrap();
    assert_eq!(dtype("transformer.layers.0.gating.linear_in.weight"), "Q4_0");
    assert_eq!(dtype("depformer.layers.0.gating.3.linear_in.weight"), "Q8_0");
    assert_eq!((dtype("text_emb.weight"), dtype("out_norm.alpha")), ("Q8_0".to_owned(), "F32".to_owned()));
    assert!(worst(&repository, &again) < 0.15);
}

#[test]
fn an_adapter_is_merged_into_what_is_written() {
    let mut options = OpenOptions { parts: Parts::ALL, ..OpenOptions::default() };
    options.config = Some(golden("tiny-moshi/lora_config.json").display().to_string());
    let repository = Repository::open(&Source::Folder(golden("tiny-moshi")), &options, &mut ()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let again = written(&repository, folder.path(), &export(WriteLayout::PyTorch, Numbers::F32));
    assert_eq!(again.config().lora, None);
    assert_eq!(worst(&repository, &again), 0.0);
}

#[test]
fn what_would_be_lost_or_overwritten_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let refusal = |file: &str, layout, numbers| {
        let result = write_model(&from("tiny-moshi", file), &path, &export(layout, numbers), &mut |_, _| ());
        result.unwrap_err().to_string()
    };
    let twice = refusal("model.mlx.q4.safetensors", WriteLayout::Gguf, Numbers::Q4_0);
    assert_says(&twice, &["model.mlx.q4.safetensors", "U32", "q4_0", "--requantize"]);
    assert_says(&refusal("model.q8.gguf", WriteLayout::Candle, Numbers::Bf16), &["Q8_0", "bf16", "--requantize"]);
    assert_says(&refusal("model.safetensors", WriteLayout::Mlx, Numbers::Q8_0), &["q8_0", "Mlx"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    let again = Export { requantize: true, ..export(WriteLayout::Gguf, Numbers::Q4_0) };
    write_model(&from("tiny-moshi", "model.mlx.q4.safetensors"), &path, &again, &mut |_, _| ()).unwrap();
    assert_says(&refusal("model.safetensors", WriteLayout::Gguf, Numbers::Q8_0), &["model.gguf", "exists already"]);
}
