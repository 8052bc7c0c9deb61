//! What is not ours is told what it is, and what to take instead.

use std::path::Path;

use moshi_checkpoint::{Error, OpenOptions, Parts, Repository, Source, Tensors};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::hub::hub;
use crate::{assert_says, golden, open};

/// A safetensors file of small tensors with these names.
fn safetensors(names: &[&str]) -> Vec<u8> {
    let entry = |(i, name): (usize, &&str)| {
        let value = json!({"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]});
        ((*name).to_owned(), value)
    };
    let header = Value::Object(names.iter().enumerate().map(entry).collect()).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; 4 * names.len()]].concat()
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// The message for a whole model, or the codec alone, at a path.
fn refusal(path: &Path, parts: Parts) -> String {
    let options = OpenOptions { parts, ..OpenOptions::default() };
    let source = Source::parse(&path.display().to_string()).unwrap();
    let opened = Repository::open(&source, &options, &mut ());
    let lm = |repository: Repository| if parts.lm { repository.lm().map(|_| ()) } else { Ok(()) };
    let message = opened.and_then(lm).unwrap_err().to_string();
    for word in ["OpenOptions", "Parts", "TensorFile", "::"] {
        assert!(!message.contains(word), "{word:?}, which no user knows, in {message:?}");
    }
    message
}

#[test]
fn files_of_other_programs_are_named_by_their_beginning() {
    let tar = [&[b'a'; 257][..], b"ustar\x0000", &[0; 300]].concat();
    let zip = |name: &str| [b"PK\x03\x04", &[0; 22][..], &[name.len() as u8, 0, 0, 0], name.as_bytes()].concat();
    for (bytes, parts) in [
        (zip("archive/data.pkl"), vec!["PyTorch pickle", ".safetensors"]),
        (zip("text_emb.weight.npy"), vec!["NumPy archive", ".safetensors"]),
        (zip("model.safetensors"), vec!["zip archive", "unpack"]),
        (b"PK\x07\x08PK\x03\x04".to_vec(), vec!["part of a zip archive"]),
        (b"\x80\x02}q\x00X".to_vec(), vec!["PyTorch pickle"]),
        (b"\x80\x04\x95\x10\0\0\0".to_vec(), vec!["PyTorch pickle"]),
        (b"\x89HDF\r\n\x1a\n\0\0\0".to_vec(), vec!["HDF5", "TensorFlow"]),
        (b"\x93NUMPY\x01\0v\0{'descr'".to_vec(), vec!["NumPy array"]),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.0.1".to_vec(), vec!["ONNX"]),
        (b"\x81\xa6params\x82\xa7decoder".to_vec(), vec!["msgpack", "Flax"]),
        (b"\x1c\0\0\0TFL3\0\0".to_vec(), vec!["TensorFlow Lite"]),
        (b"tjgg\x01\0\0\0".to_vec(), vec!["GGML"]),
        (tar, vec!["tar archive", "unpack"]),
        (b"\x1f\x8b\x08\0\0".to_vec(), vec!["gzip archive", "unpack"]),
        (b"\x28\xb5\x2f\xfd\0\0".to_vec(), vec!["zstd archive", "unpack"]),
        (b"7z\xbc\xaf\x27\x1c\0".to_vec(), vec!["7z archive"]),
        (b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02".to_vec(), vec!["SentencePiece tokenizer", "model"]),
        (b"\xef\xbb\xbf<!DOCTYPE HTML>".to_vec(), vec!["web page", "/resolve/"]),
        (b"  <html lang=en>".to_vec(), vec!["web page"]),
        (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied".to_vec(), vec!["web page"]),
        (b"fLaC\0\0\0\x22".to_vec(), vec!["FLAC", "audio"]),
        (vec![0; 4096], vec!["zeros", "has not finished"]),
        (Vec::new(), vec!["empty file"]),
    ] {
        let folder = folder(&[("model.safetensors", &bytes)]);
        let path = folder.path().join("model.safetensors");
        assert_says(&Tensors::open(&path).unwrap_err().to_string(), &parts);
        assert_says(&refusal(&path, Parts::ALL), &parts);
        assert_says(&refusal(&path, Parts::MIMI), &parts);
    }
}

#[test]
fn configurations_of_other_programs_are_named() {
    let transformers = |model_type: &str| json!({"model_type": model_type, "architectures": ["X"], "hidden_size": 8});
    for (config, parts) in [
        (transformers("mimi"), vec!["the codec Mimi", "transformers", ".safetensors"]),
        (transformers("moshi"), vec!["Moshi", "transformers", "kyutai/moshiko-pytorch-bf16"]),
        (transformers("kyutai_speech_to_text"), vec!["speech recognition", "transformers", "-trfs"]),
        (transformers("encodec"), vec!["encodec", "another one than Mimi", ".safetensors"]),
        (transformers("dac"), vec!["dac", "another one than Mimi"]),
        (transformers("llama"), vec!["llama", "transformers"]),
        (json!({"architectures": ["BertModel"], "transformers_version": "4.45.0"}), vec!["transformers"]),
        (json!({"model_type": "mimi"}), vec!["the codec Mimi", "transformers"]),
        (json!({"peft_type": "LORA", "r": 8}), vec!["PEFT", "lora.safetensors"]),
        (json!({"_class_name": "UNet2DModel", "_diffusers_version": "0.30"}), vec!["diffusers"]),
    ] {
        let config = config.to_string();
        let weights = safetensors(&["encoder.layers.0.conv.weight"]);
        let folder = folder(&[("config.json", config.as_bytes()), ("model.safetensors", &weights)]);
        for path in [folder.path().to_path_buf(), folder.path().join("model.safetensors")] {
            for wanted in [Parts::ALL, Parts::MIMI] {
                assert_says(&refusal(&path, wanted), &[&["config.json"], &parts[..]].concat());
            }
        }
    }
    // Our own are read as ever: published files of the family have model_type and nothing of transformers.
    let ours = std::fs::read(golden("tiny-moshi/config.json")).unwrap();
    let mut ours: Value = serde_json::from_slice(&ours).unwrap();
    ours["model_type"] = json!("moshi");
    moshi_checkpoint::ModelConfig::from_json(Path::new("config.json"), ours).unwrap();
}

#[test]
fn files_of_other_models_are_named_by_their_tensors() {
    for (names, parts) in [
        (
            vec!["quantizer.semantic_residual_vector_quantizer.layers.0.codebook.embed_sum"],
            vec!["Mimi", "transformers"],
        ),
        (vec!["decoder.model.layers.0.x", "depth_decoder.lm_heads.weight"], vec!["Moshi", "transformers"]),
        (vec!["codec_model.encoder.layers.0", "model.embed_tokens.weight"], vec!["speech recognition", "transformers"]),
        (vec!["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"], vec!["PEFT"]),
        (vec!["quantizer.layers.0.codebook.embed"], vec!["EnCodec", "Mimi", ".safetensors"]),
        (vec!["quantizer.quantizers.0.in_proj.weight_g"], vec!["DAC or SNAC"]),
        (vec!["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"], vec!["for text alone"]),
        (vec!["embeddings.word_embeddings.weight"], vec!["text encoder"]),
        (vec!["down_blocks.0.resnets.0.conv1.weight"], vec!["diffusion"]),
        (vec!["speaker_wavs"], vec!["a voice"]),
    ] {
        let folder = folder(&[("model.safetensors", &safetensors(&names))]);
        for wanted in [Parts::ALL, Parts::MIMI] {
            assert_says(&refusal(&folder.path().join("model.safetensors"), wanted), &parts);
        }
        assert_says(&refusal(folder.path(), Parts::LM), &parts);
    }
}

#[test]
fn a_gguf_file_of_another_architecture_is_named() {
    let mut bytes = [b"GGUF".as_slice(), &3u32.to_le_bytes(), &0u64.to_le_bytes(), &1u64.to_le_bytes()].concat();
    for (text, kind) in [("general.architecture", &8u32.to_le_bytes()[..]), ("llama", &[])] {
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend_from_slice(kind);
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    let folder = folder(&[("model.q8.gguf", &bytes)]);
    for path in [folder.path().to_path_buf(), folder.path().join("model.q8.gguf")] {
        assert_says(&refusal(&path, Parts::LM), &["GGUF", "\"llama\"", "kyutai/"]);
    }
    assert_says(&refusal(&folder.path().join("model.q8.gguf"), Parts::MIMI), &["GGUF", "\"llama\""]);
}

#[test]
fn a_tokenizer_that_is_something_else_is_named() {
    for (bytes, says) in [
        (&b"version https://git-lfs.github.com/spec/v1\n"[..], "Git LFS pointer"),
        (b"<!DOCTYPE html>", "web page"),
        (b"{\"version\": \"1.0\", \"added_tokens\": []}", "text file"),
        (b"", "empty file"),
    ] {
        let folder = folder(&[("tokenizer.model", bytes)]);
        let mut options = OpenOptions::default();
        options.files.tokenizer = Some(folder.path().join("tokenizer.model").display().to_string());
        let repository = Repository::open(&Source::Folder(golden("tiny-moshi")), &options, &mut ()).unwrap();
        let message = repository.tokenizer_bytes().unwrap_err().to_string();
        assert_says(&message, &["tokenizer.model", "SentencePiece", says]);
    }
    open(&golden("tiny-moshi")).unwrap().tokenizer_bytes().unwrap();
    open(&golden("tiny-variant")).unwrap().tokenizer_bytes().unwrap();
}

#[test]
fn a_configuration_that_an_editor_of_windows_wrote_is_read() {
    let config = std::fs::read(golden("tiny-moshi/config.json")).unwrap();
    let folder = folder(&[("config.json", &[b"\xef\xbb\xbf", &config[..]].concat())]);
    moshi_checkpoint::ModelConfig::read(&folder.path().join("config.json")).unwrap();
}

#[test]
fn a_folder_without_a_model_says_what_else_it_holds() {
    for (name, parts) in [
        ("pytorch_model.bin", vec!["pytorch_model.bin, a PyTorch pickle"]),
        ("moshi.pt", vec!["moshi.pt, a PyTorch pickle"]),
        ("model.ckpt", vec!["PyTorch pickle"]),
        ("model.onnx", vec!["ONNX"]),
        ("tf_model.h5", vec!["TensorFlow"]),
        ("flax_model.msgpack", vec!["Flax"]),
        ("weights.npz", vec!["NumPy"]),
        ("adapter_config.json", vec!["PEFT"]),
        ("lora.safetensors", vec!["a LoRA adapter", "moshi_name"]),
        ("model_index.json", vec!["diffusers"]),
        ("modules.json", vec!["sentence-transformers"]),
        ("moshi.tar.gz", vec!["archive", "unpack"]),
        ("model.safetensors.part", vec!["has not finished"]),
        ("model.safetensors.incomplete", vec!["has not finished"]),
        ("model.safetensors.crdownload", vec!["has not finished"]),
        ("model.safetensors.001", vec!["one piece", "cat model.safetensors.* > model.safetensors"]),
        ("moshi.zip.partaa", vec!["one piece"]),
        ("moshi.z01", vec!["one piece"]),
    ] {
        let folder = folder(&[(name, b"?")]);
        assert_says(&refusal(folder.path(), Parts::ALL), &[&["language model", name], &parts[..]].concat());
    }
}

#[test]
fn a_repository_without_a_model_says_what_else_it_holds() {
    for (name, parts) in [("adapter_config.json", "PEFT"), ("pytorch_model.bin", "pickle")] {
        let (hub, _cache, options) = hub();
        hub.change(|s| s.files = [(name.to_owned(), b"{}".to_vec())].into());
        let error = Repository::open(&crate::hub::source(), &options, &mut ()).unwrap_err();
        assert_says(&error.to_string(), &["language model", name, parts]);
    }
}

#[test]
fn a_part_of_a_model_in_the_place_of_another_is_told() {
    let tiny = |name: &str| golden("tiny-moshi").join(name);
    let message = refusal(&tiny("mimi.safetensors"), Parts::ALL);
    assert_says(&message, &["mimi.safetensors", "the codec Mimi alone", "whole model"]);
    assert_says(
        &refusal(&tiny("model.safetensors"), Parts::MIMI),
        &["the codec Mimi", "a language model", "mimi_name"],
    );
    assert_says(&refusal(&tiny("tokenizer.model"), Parts::ALL), &["SentencePiece tokenizer", "model's folder"]);
    assert_says(&refusal(&tiny("tokenizer.model"), Parts::MIMI), &["SentencePiece tokenizer"]);
    assert_says(&refusal(&tiny("config.json"), Parts::ALL), &["config.json", "weight_map", "give the model's folder"]);
    let adapter = safetensors(&["text_linear.lora_A.weight", "text_linear.lora_B.weight"]);
    let folder = folder(&[("lora.safetensors", &adapter)]);
    let adapter = folder.path().join("lora.safetensors");
    assert_says(&refusal(&adapter, Parts::ALL), &["a LoRA adapter", "lora_name"]);
    assert_says(&refusal(&adapter, Parts::MIMI), &["a LoRA adapter"]);
    let with = |change: &dyn Fn(&mut OpenOptions)| {
        let mut options = OpenOptions::default();
        change(&mut options);
        Repository::open(&Source::Folder(golden("tiny-moshi")), &options, &mut ())
    };
    let error = with(&|o| o.files.mimi = Some(tiny("tokenizer.model").display().to_string())).unwrap_err();
    assert_says(&error.to_string(), &["SentencePiece tokenizer"]);
    let error = with(&|o| o.files.moshi = Some(tiny("mimi.safetensors").display().to_string())).unwrap_err();
    assert_says(&error.to_string(), &["the Mimi codec alone"]);
    let error = with(&|o| o.config = Some(tiny("tokenizer.model").display().to_string())).unwrap_err();
    assert_says(&error.to_string(), &["SentencePiece tokenizer"]);
}

#[test]
fn a_codec_is_a_codec_whatever_lies_beside_it() {
    let codec = std::fs::read(golden("tiny-moshi/mimi.safetensors")).unwrap();
    let config = std::fs::read(golden("tiny-moshi/mimi_config.json")).unwrap();
    let foreign = json!({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}).to_string();
    let files = [("config.json", foreign.as_bytes()), ("mimi.safetensors", &codec), ("mimi_config.json", &config)];
    let folder = folder(&files);
    let repository = open(&folder.path().join("mimi.safetensors")).unwrap();
    assert_eq!(repository.mimi_config().unwrap().seanet.dimension, 64);
    assert!(matches!(repository.lm(), Err(Error::CodecAlone { .. })));
}

#[test]
fn a_download_that_has_not_finished_is_told_by_its_neighbour() {
    let model = std::fs::read(golden("tiny-moshi/model.safetensors")).unwrap();
    let config = std::fs::read(golden("tiny-moshi/config.json")).unwrap();
    let files = [("config.json", &config[..]), ("model.safetensors", &model), ("model.safetensors.aria2", b"")];
    assert_says(&refusal(folder(&files).path(), Parts::LM), &["model.safetensors.aria2", "has not finished"]);
    let folder = folder(&[("config.json", &config), ("model.safetensors.part", &model)]);
    let message = refusal(&folder.path().join("model.safetensors.part"), Parts::LM);
    assert_says(&message, &["has not finished", "rename"]);
}
