//! What each kind of model is used for: translations that end by themselves, adapters by their folders, and what is said to
//! whoever asks for another kind.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use moshi_checkpoint::{OpenOptions, Repository, Source};
use moshi_engine::{ModelKind, SessionParams, Sessions};
use moshi_model::{
    AdaptedSessions, AdapterPath, LoadOptions, Loaded, Sound, WholeTranslation, conversation, expect_kind, load_model,
};
use moshi_testkit::{Golden, assert_close};

fn load(golden: Golden, adapters: Vec<AdapterPath>) -> Loaded {
    let repository = Repository::open(&Source::Folder(golden.path("")), &OpenOptions::default(), &mut ()).unwrap();
    let options = LoadOptions { exact: true, adapters, ..LoadOptions::default() };
    load_model(&repository, golden.name(), &options).unwrap()
}

#[test]
fn a_file_is_translated_to_its_end() {
    for golden in [Golden::TINY_HIBIKI, Golden::TINY_HIBIKI_ZERO] {
        let model = load(golden, Vec::new()).model;
        let greedy = SessionParams { temperature: 0.0, text_temperature: 0.0, ..SessionParams::default() };
        let session = Sessions::new(model.clone()).open(conversation(model.info(), greedy)).unwrap();
        let mut file = WholeTranslation::new(Sound::file(&golden.path("speech.wav")).unwrap(), session);
        let (mut spoken, mut text) = (Vec::new(), String::new());
        while file.advance(&mut spoken, &mut text, &mut || true).unwrap() {}
        assert_close("sound", &spoken, &golden.results().unwrap().f32("pcm").unwrap(), 1e-3);
        let expected = golden.meta().unwrap()["runs"]["plain"]["text"].as_str().unwrap().to_owned();
        assert_eq!(text.trim(), expected.trim(), "{}", golden.name());
    }
}

#[test]
fn adapters_are_called_by_their_folders_and_loaded_when_a_session_asks() {
    let folder = |name: &str| Golden::TINY_LORA.path(name);
    let results = Golden::TINY_LORA.results().unwrap();
    let codes = results.i32("tf_codes").unwrap();
    let bytes = |sessions: &Sessions| sessions.model().info().memory.weights;
    for before in [Vec::new(), vec![AdapterPath::at(&folder("a"))]] {
        let loaded = load(Golden::TINY_MOSHI, before);
        let sessions = AdaptedSessions::new(&loaded);
        let plain = bytes(&Sessions::new(load(Golden::TINY_MOSHI, Vec::new()).model));
        for (name, path) in
            [("a", folder("a")), ("b", folder("c").join("../b")), ("c", folder("c")), ("b", folder("b"))]
        {
            let (adapted, adapter) = sessions.with(&path).unwrap();
            let found = adapted.model().forward_adapted(&codes, 16, Some(&adapter), &mut || true).unwrap();
            let expected = results.f32(&format!("bf16_{name}_tf_text_logits")).unwrap();
            assert_close(name, &found.text, &expected, 1e-4);
        }
        let now = sessions.now();
        assert_eq!(now.model().info().adapters.len(), 3);
        // The base is there once, but for small tables that one of the adapters replaces.
        let eager = load(Golden::TINY_MOSHI, ["a", "b", "c"].map(|name| AdapterPath::at(&folder(name))).into());
        let adapters = bytes(&Sessions::new(eager.model)) - plain;
        let before = bytes(&Sessions::new(loaded.model.clone()));
        assert!(bytes(&now) <= before + adapters + plain / 20, "{} {before} {adapters}", bytes(&now));
    }
    let sessions = AdaptedSessions::new(&load(Golden::TINY_MOSHI, Vec::new()));
    let refused = sessions.with(&Golden::TINY_STT.path("")).err().unwrap().to_string();
    assert!(refused.contains("lora"), "{refused}");
    assert!(sessions.now().model().info().adapters.is_empty());
}

#[test]
fn whoever_asks_another_kind_is_told_which_it_takes() {
    let loaded = load(Golden::TINY_MOSHI, Vec::new());
    let refused = expect_kind(loaded.model.info(), "transcribe", ModelKind::Stt).unwrap_err().to_string();
    assert!(refused.starts_with("transcribe needs a model for recognition (kind \"stt\")"), "{refused}");
    assert!(refused.contains("this is one for dialogue (kind \"dialogue\"): tiny-moshi"), "{refused}");
    assert!(loaded.recognition("transcribe").is_err() && loaded.role_play().is_ok());
    let recognition = load(Golden::TINY_STT, Vec::new());
    assert!(recognition.recognition("transcribe").is_ok());
    let refused = recognition.role_play().err().unwrap().to_string();
    assert!(refused.contains("(kind \"dialogue\")") && refused.contains("(kind \"stt\"): tiny-stt"), "{refused}");
}
