//! Every layout of one model gives the same tensors, bit for bit.

use moshi_checkpoint::{
    EmbeddedRepository, Error, Layout, OpenOptions, Parts, Repository, Source, lm_tensors, mimi_tensors,
};
use moshi_nn::WeightSource;
use moshi_tensor::weight::WeightData;

use crate::{assert_says, golden, open};

fn open_lm(folder: &str, file: &str) -> Result<Repository, Error> {
    let mut options = OpenOptions { parts: Parts::LM, ..OpenOptions::default() };
    options.files.moshi = Some(golden(folder).join(file).display().to_string());
    Repository::open(&Source::Folder(golden(folder)), &options, &mut ())
}

/// Checks that `a` and `b` hold the same bytes under every canonical name of the configuration.
fn assert_identical(a: &Repository, b: &Repository) {
    let specs = lm_tensors(&a.config().lm);
    let (ta, tb) = (a.lm().unwrap(), b.lm().unwrap());
    for spec in &specs {
        assert_eq!(ta.bytes(&spec.name).unwrap(), tb.bytes(&spec.name).unwrap(), "{}", spec.name);
        let count: usize = spec.shape.iter().product();
        assert_eq!(ta.bytes(&spec.name).unwrap().len(), 2 * count, "{}", spec.name);
    }
}

#[test]
fn pytorch_and_candle_layouts_hold_identical_tensors() {
    let (pytorch, candle) =
        (open(&golden("tiny-moshi")).unwrap(), open_lm("tiny-moshi", "model.candle.safetensors").unwrap());
    assert_eq!(pytorch.lm_layout().unwrap(), Layout::PyTorch);
    assert_eq!(candle.lm_layout().unwrap(), Layout::Candle);
    assert_identical(&pytorch, &candle);
    assert_eq!(pytorch.warnings(), Vec::<String>::new());
    assert_eq!(candle.warnings(), Vec::<String>::new());
}

#[test]
fn a_stacked_projection_is_cut_without_copying() {
    let repo = open(&golden("tiny-moshi")).unwrap();
    let tensors = repo.lm().unwrap();
    let stacked = moshi_checkpoint::Tensors::open(&golden("tiny-moshi/model.safetensors")).unwrap();
    let whole = stacked.bytes("depformer.layers.1.self_attn.in_proj_weight").unwrap();
    for j in 0..8 {
        let name = format!("depformer.layers.1.self_attn.in_projs.{j}.weight");
        assert_eq!(tensors.bytes(&name).unwrap(), &whole[j * 192 * 64 * 2..(j + 1) * 192 * 64 * 2]);
        let matrix = tensors.matrix(&name, 192, 64).unwrap();
        let WeightData::Bf16(values) = matrix.data() else { panic!("not bf16") };
        assert!(matches!(values, std::borrow::Cow::Borrowed(_)), "copied");
    }
}

#[test]
fn the_variant_has_one_weight_set_for_each_entry_of_its_schedule() {
    let repo = open(&golden("tiny-variant")).unwrap();
    let lm = &repo.config().lm;
    let depth = lm.depformer.as_ref().unwrap();
    assert_eq!(depth.schedule, [0, 1, 2, 3, 3]);
    assert_eq!((depth.weight_sets(), depth.inputs(), depth.set_of(4)), (4, 4, 3));
    assert_eq!((0..4).map(|j| depth.hidden(j)).collect::<Vec<_>>(), [192, 128, 128, 160]);
    let tensors = repo.lm().unwrap();
    let names: Vec<_> = lm_tensors(lm).into_iter().map(|s| s.name).collect();
    assert!(names.iter().map(String::as_str).eq(names.iter().map(String::as_str).filter(|n| tensors.has(n))));
    assert_eq!(names.len(), 93, "as many as the file holds");
    assert_eq!(tensors.len(), 93);
    assert_eq!(repo.warnings(), Vec::<String>::new());
    assert_eq!(tensors.shape("transformer.layers.0.self_attn.in_projs.0.weight"), Some([256, 128].as_slice()));
    assert_eq!(tensors.vector("depformer_norms.4.alpha", &[64]).unwrap().len(), 64);
    assert_eq!(tensors.matrix("depformer_text_emb.low_rank.weight", 64, 16).unwrap().rows(), 64);
}

#[test]
fn every_tensor_of_a_translation_and_a_synthesis_has_its_place() {
    for folder in ["tiny-hibiki", "tiny-hibiki/zero", "tiny-tts"] {
        let repo = open(&golden(folder)).unwrap();
        assert_eq!(repo.warnings(), Vec::<String>::new(), "{folder}");
        let (tensors, specs) = (repo.lm().unwrap(), lm_tensors(&repo.config().lm));
        for spec in &specs {
            let cols = spec.shape.iter().skip(1).product();
            assert_eq!(tensors.matrix(&spec.name, spec.shape[0], cols).unwrap().cols(), cols, "{}", spec.name);
        }
    }
    let repo = open(&golden("tiny-tts")).unwrap();
    let tensors = repo.lm().unwrap();
    assert_eq!(tensors.matrix("transformer.layers.1.cross_attention.in_projs.0.weight", 192, 64).unwrap().rows(), 192);
    assert!(tensors.has("condition_provider.conditioners.speaker_wavs.learnt_padding"));
    assert!(tensors.has("depformer_text_emb.out2.weight"));
}

#[test]
fn older_spellings_of_single_projections_are_answered() {
    let repo = open(&golden("tiny-variant")).unwrap();
    let (lm, mimi) = (repo.lm().unwrap(), repo.mimi().unwrap());
    assert!(lm.has("transformer.layers.0.self_attn.in_proj_weight"));
    assert!(lm.has("transformer.layers.0.self_attn.out_proj.weight"));
    assert!(!lm.has("depformer.layers.0.self_attn.in_proj_weight"), "there are four of them");
    for name in ["in_proj_weight", "in_projs.0.weight"] {
        let name = format!("encoder_transformer.transformer.layers.1.self_attn.{name}");
        assert_eq!(mimi.matrix(&name, 192, 64).unwrap().cols(), 64);
    }
}

#[test]
fn the_codec_has_the_tensors_that_its_configuration_says() {
    let repo = open(&golden("tiny-moshi")).unwrap();
    let (config, mimi) = (repo.mimi_config().unwrap(), repo.mimi().unwrap());
    assert_eq!((config.frame_samples(), config.downsample, config.quantizer.n_q), (1920, 2, 16));
    let specs = mimi_tensors(config);
    assert_eq!(specs.len(), 150);
    for spec in specs {
        assert_eq!(mimi.shape(&spec.name), Some(spec.shape.as_slice()), "{}", spec.name);
    }
    // A convolution as a matrix, and a quotient that must not be one of zeros.
    assert_eq!(mimi.matrix("encoder.model.3.conv.conv.weight", 16, 64).unwrap().cols(), 64);
    let usage = mimi.vector("quantizer.rvq_first.vq.layers.0._codebook.cluster_usage", &[64]).unwrap();
    assert!(usage.iter().all(|u| u.is_finite()));
}

#[test]
fn norm_weights_are_had_with_or_without_leading_ones() {
    let tensors = open(&golden("tiny-moshi")).unwrap().lm().unwrap();
    assert_eq!(
        tensors.vector("out_norm.alpha", &[128]).unwrap(),
        tensors.vector("out_norm.alpha", &[1, 1, 128]).unwrap()
    );
    let message = tensors.vector("out_norm.alpha", &[64]).unwrap_err().to_string();
    assert_says(&message, &["out_norm.alpha", "[1, 1, 128]", "[64]"]);
}

#[test]
fn tensors_serve_as_a_weight_source() {
    let tensors = open(&golden("tiny-moshi")).unwrap().lm().unwrap();
    let source: &dyn WeightSource = &tensors;
    assert_eq!(source.shape("text_emb.weight"), Some(vec![57, 128]));
    assert_eq!(source.matrix("text_emb.weight", 57, 128).unwrap().rows(), 57);
    let message = source.matrix("text_emb.weight", 56, 128).unwrap_err().to_string();
    assert_says(&message, &["model.safetensors", "[56, 128]"]);
    assert!(source.vector("nothing", &[1]).unwrap_err().to_string().contains("nothing"));
}

#[test]
fn a_single_file_takes_the_rest_from_its_folder() {
    let repo = open(&golden("tiny-moshi/model.candle.safetensors")).unwrap();
    assert_eq!(repo.lm_layout().unwrap(), Layout::Candle);
    assert!(repo.mimi().is_ok() && !repo.tokenizer_bytes().unwrap().is_empty());
    let codec = open(&golden("tiny-moshi/mimi.safetensors")).unwrap();
    assert_eq!(codec.mimi_config().unwrap().seanet.dimension, 64);
    assert!(matches!(codec.lm(), Err(Error::CodecAlone { .. })));
}

#[test]
fn a_repository_inside_the_program_is_the_same_model() {
    macro_rules! bytes {
        ($name:literal) => {
            include_bytes!(concat!("../../../../tests/fixtures/golden/tiny-moshi/", $name))
        };
    }
    let files = EmbeddedRepository {
        name: "inside",
        config: std::str::from_utf8(bytes!("config.json")).unwrap(),
        lm: bytes!("model.candle.safetensors"),
        mimi: bytes!("mimi.safetensors"),
        mimi_config: std::str::from_utf8(bytes!("mimi_config.json")).unwrap(),
        tokenizer: bytes!("tokenizer.model"),
    };
    let (inside, outside) = (Repository::embedded(&files).unwrap(), open(&golden("tiny-moshi")).unwrap());
    assert_identical(&inside, &outside);
    assert_eq!(inside.tokenizer_bytes().unwrap(), outside.tokenizer_bytes().unwrap());
    let config = std::str::from_utf8(bytes!("lora_config.json")).unwrap();
    let message = Repository::embedded(&EmbeddedRepository { config, ..files }).unwrap_err().to_string();
    assert_says(&message, &["inside", "LoRA"]);
    let message = Repository::embedded(&EmbeddedRepository { lm: b"words", ..files }).unwrap_err().to_string();
    assert_says(&message, &["inside", "model.safetensors", "text file"]);
}
