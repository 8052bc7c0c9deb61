//! Files under every published name, named by the configuration or not.

use moshi_checkpoint::Parts;

use crate::{Derived, FAMILY, HIBIKI, MOSHI, PERSONAPLEX, STT, TTS, without};

const NAMES: [&str; 4] = ["moshi_name", "mimi_name", "mimi_config_name", "tokenizer_name"];
const CODECS: [&str; 5] = [
    "tokenizer-e351c8d8-checkpoint125.safetensors",
    "mimi.safetensors",
    "mimi-pytorch-e351c8d8@125.safetensors",
    "mimi-dbaa9758@125.safetensors",
    "some-mimi-of-tomorrow@1.safetensors",
];
const TOKENIZERS: [&str; 7] = [
    "tokenizer_spm_32k_3.model",
    "tokenizer.model",
    "tokenizer_spm_48k_multi6_2.model",
    "tokenizer_spm_8k_en_fr_audio.model",
    "tokenizer_en_fr_audio_8000.model",
    "tokenizer_en_audio_4000.model",
    "spiece.model",
];

#[test]
fn every_published_name_of_codec_and_tokenizer_is_found_where_nobody_names_it() {
    let config = without(STT.config_json(), &NAMES);
    for (i, tokenizer) in TOKENIZERS.into_iter().enumerate() {
        let codec = CODECS[i % CODECS.len()];
        let made = Derived::of(&STT, STT.lm, codec, tokenizer).config(&config);
        let repository = made.open(Parts::ALL);
        assert_eq!(repository.warnings(), Vec::<String>::new(), "{codec}, {tokenizer}");
        assert!(repository.mimi().unwrap().paths().all(|path| path.ends_with(codec)));
        assert!(!repository.tokenizer_bytes().unwrap().is_empty());
        STT.assert_is(tokenizer, &repository);
    }
}

#[test]
fn a_folder_with_one_file_of_weights_beside_the_codec_needs_no_name_for_it() {
    for member in [HIBIKI, TTS] {
        let made = Derived::like(&member).config(&without(member.config_json(), &NAMES));
        member.assert_is("unnamed", &made.open(Parts::ALL));
    }
}

#[test]
fn names_in_the_configuration_decide() {
    for member in FAMILY {
        let mut config = member.config_json();
        let names = ["a/../lm.safetensors", "sound.safetensors", "words.model"];
        let made = Derived::of(&member, "lm.safetensors", names[1], names[2]);
        made.link(&MOSHI.golden.path(MOSHI.lm), "model.safetensors");
        for (key, name) in [("moshi_name", "lm.safetensors"), ("mimi_name", names[1]), ("tokenizer_name", names[2])] {
            config.insert(key.to_owned(), name.into());
        }
        member.assert_is("under other names", &made.config(&config).open(Parts::ALL));
    }
}

#[test]
fn a_repository_without_any_configuration_has_the_sizes_of_its_tensors() {
    let made = Derived::of(&PERSONAPLEX, "model.safetensors", CODECS[0], TOKENIZERS[0]);
    let repository = made.open(Parts::ALL);
    PERSONAPLEX.assert_is("without config.json", &repository);
    assert!(repository.warnings().iter().any(|warning| warning.contains("no configuration")), "{repository:?}");
    assert_eq!(repository.mimi_config().unwrap().quantizer.bins, 2048);
    // What shapes tell does not depend on how the file spells them.
    for empty in ["{}", "{\"model_type\": \"moshi\"}"] {
        let made = Derived::of(&PERSONAPLEX, "model.safetensors", CODECS[0], TOKENIZERS[0]).write("config.json", empty);
        PERSONAPLEX.assert_is(empty, &made.open(Parts::ALL));
    }
}
