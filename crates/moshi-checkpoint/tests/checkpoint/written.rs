//! Files that this crate writes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use half::{bf16, f16};
use moshi_checkpoint::save::{NamedTensor, write_safetensors};
use moshi_checkpoint::{MimiConfig, ModelConfig, Tensors, lm_tensors, mimi_tensors, random};
use moshi_tensor::weight::WeightData;

use crate::{assert_says, golden, open};

fn tensor(name: &str, shape: &[usize], data: WeightData<'static>) -> NamedTensor<'static> {
    NamedTensor { name: name.to_owned(), shape: shape.to_vec(), data }
}

#[test]
fn what_is_written_is_read_back_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.safetensors");
    let values = [1.0_f32, -2.5, 0.0, 3.25, 1e-3, 7.0];
    let tensors = [
        tensor("z.bf16", &[2, 3], WeightData::Bf16(Cow::Owned(values.iter().map(|v| bf16::from_f32(*v)).collect()))),
        tensor("a.f16", &[6], WeightData::F16(Cow::Owned(values.iter().map(|v| f16::from_f32(*v)).collect()))),
        tensor("m.f32", &[3, 1, 2], WeightData::F32(Cow::Owned(values.to_vec()))),
        tensor("empty", &[0, 4], WeightData::F32(Cow::Owned(Vec::new()))),
    ];
    write_safetensors(&path, &tensors, &BTreeMap::from([("format".to_owned(), "pt".to_owned())])).unwrap();
    let read = Tensors::open(&path).unwrap();
    assert_eq!(read.names().collect::<Vec<_>>(), ["a.f16", "empty", "m.f32", "z.bf16"]);
    assert_eq!(read.metadata().unwrap()["format"], "pt");
    assert_eq!(read.vector("m.f32", &[3, 2]).unwrap(), values);
    assert_eq!(read.matrix("z.bf16", 2, 3).unwrap().to_f32().unwrap(), values.map(|v| bf16::from_f32(v).to_f32()));
    assert_eq!(read.vector("a.f16", &[6]).unwrap(), values.map(|v| f16::from_f32(v).to_f32()));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    // The reference reader of the format agrees.
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(safetensors::SafeTensors::deserialize(&bytes).unwrap().len(), 4);
}

#[test]
fn what_cannot_be_written_is_refused_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.safetensors");
    let one = || WeightData::F32(Cow::Owned(vec![1.0]));
    let none = BTreeMap::new();
    let message = write_safetensors(&path, &[tensor("a", &[2], one())], &none).unwrap_err().to_string();
    assert_says(&message, &["\"a\"", "8 bytes", "4"]);
    let message = write_safetensors(&path, &[tensor("a", &[1], one()), tensor("a", &[1], one())], &none).unwrap_err();
    assert_says(&message.to_string(), &["\"a\"", "twice"]);
    let message = write_safetensors(&path, &[tensor("a", &[usize::MAX, 8], one())], &none).unwrap_err();
    assert_says(&message.to_string(), &["\"a\"", "too large"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let nowhere = folder.path().join("no/such/folder.safetensors");
    assert_says(&write_safetensors(&nowhere, &[], &none).unwrap_err().to_string(), &["cannot write", "no/such"]);
}

#[test]
fn a_random_repository_opens_like_a_published_one() {
    for name in ["tiny-moshi", "tiny-variant"] {
        let model = open(&golden(name)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = model.tokenizer_bytes().unwrap();
        let mimi = model.mimi_config().unwrap();
        random::write_checkpoint(folder.path(), model.config(), mimi, &tokenizer, 7).unwrap();
        let repo = open(folder.path()).unwrap();
        assert_eq!(repo.warnings(), Vec::<String>::new());
        assert_eq!((&repo.config().lm, repo.mimi_config().unwrap()), (&model.config().lm, mimi));
        assert_eq!(repo.tokenizer_bytes().unwrap(), tokenizer);
        let (lm, codec) = (repo.lm().unwrap(), repo.mimi().unwrap());
        let spread = lm.matrix("text_linear.weight", 56, 128).unwrap().to_f32().unwrap();
        let power = spread.iter().map(|v| v * v).sum::<f32>() / spread.len() as f32;
        assert!((power * 128.0 - 1.0).abs() < 0.1, "a linear layer keeps the size of its input: {power}");
        assert_eq!(codec.names().count(), mimi_tensors(mimi).len());
        assert_eq!(lm.names().count(), lm_tensors(&repo.config().lm).len());
    }
}

#[test]
fn a_seed_decides_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (config, _) = ModelConfig::read(&golden("tiny-variant/config.json")).unwrap();
    let write = |name: &str, seed: u64| {
        let path = folder.path().join(name);
        random::write_lm(&path, &config.lm, seed).unwrap();
        std::fs::read(path).unwrap()
    };
    let (a, b, c) = (write("a", 1), write("b", 1), write("c", 2));
    assert_eq!(a, b);
    assert_ne!(a, c);
}

#[test]
fn a_random_codec_has_the_published_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mimi.safetensors");
    let published = Tensors::open(&golden("tiny-moshi/mimi.safetensors")).unwrap();
    let (config, _) = MimiConfig::read(&golden("tiny-moshi/mimi_config.json")).unwrap();
    random::write_mimi(&path, &config, 3).unwrap();
    let random = Tensors::open(&path).unwrap();
    assert_eq!(random.names().collect::<Vec<_>>(), published.names().collect::<Vec<_>>());
    for name in random.names() {
        assert_eq!(random.shape(name), published.shape(name), "{name}");
        assert_eq!(random.dtype(name), published.dtype(name), "{name}");
    }
}
