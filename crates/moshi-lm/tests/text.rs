//! Words against what PyPI sentencepiece prints (`tests/fixtures/text/decoded.json`), and damaged input.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::path::PathBuf;

use moshi_lm::LmConfig;
use moshi_lm::text::{Detokenizer, TextError, TextState};
use moshi_testkit::Golden;
use proptest::prelude::*;

fn fixture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/text"));
    std::fs::read(folder.join(name)).unwrap()
}

fn config(text_card: usize) -> LmConfig {
    LmConfig { text_card, ..LmConfig::moshi_7b() }
}

/// 305 pieces, 256 of them bytes.
fn bytes() -> Detokenizer {
    Detokenizer::from_bytes("bytes.model", &fixture("bytes.model"), &config(305)).unwrap()
}

fn tiny(golden: Golden) -> Vec<u8> {
    std::fs::read(golden.path("tokenizer.model")).unwrap()
}

fn say(words: &Detokenizer, tokens: &[i32]) -> String {
    let (mut state, mut text) = (TextState::default(), String::new());
    for &token in tokens {
        words.push(&mut state, token, &mut text);
    }
    state.finish(&mut text);
    text
}

/// The token of byte `b` in `bytes.model`: pieces 4 to 259.
fn byte(b: u8) -> i32 {
    4 + i32::from(b)
}

#[test]
fn tokens_print_what_sentencepiece_prints() {
    let expected: serde_json::Value = serde_json::from_slice(&fixture("decoded.json")).unwrap();
    let mut models = vec![("bytes", bytes())];
    for golden in Golden::ALL {
        models.push((golden.name(), Detokenizer::from_bytes(golden.name(), &tiny(golden), &config(56)).unwrap()));
    }
    for (name, words) in models {
        for case in expected[name].as_array().unwrap() {
            let ids: Vec<i32> = case["ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap() as i32).collect();
            // Only the space before the first word differs: there it is kept.
            assert_eq!(say(&words, &ids).trim_start(), case["text"].as_str().unwrap().trim_start(), "{name} {ids:?}");
        }
    }
}

#[test]
fn a_word_begins_with_its_space_and_silence_prints_nothing() {
    let words = Detokenizer::from_bytes("t", &tiny(Golden::TINY_MOSHI), &config(56)).unwrap();
    assert_eq!(say(&words, &[24, 3, 0, 3, 6]), " hello the");
    assert_eq!(say(&words, &[3, 0, 56, -1, 1, 2, i32::MAX, i32::MIN]), "");
}

#[test]
fn a_character_appears_once_it_is_whole_even_across_silence() {
    let words = bytes();
    let (mut state, mut text) = (TextState::default(), String::new());
    for (token, so_far) in [(byte(0xF0), ""), (3, ""), (byte(0x9F), ""), (byte(0x8E), ""), (0, ""), (byte(0x89), "🎉")]
    {
        words.push(&mut state, token, &mut text);
        assert_eq!(text, so_far);
        let (mut fork, mut end) = (state, String::new());
        fork.finish(&mut end);
        assert_eq!(end, if so_far.is_empty() { "\u{FFFD}" } else { "" }, "a fork ends without its original");
    }
    assert_eq!(state, TextState::default());
}

#[test]
fn bytes_that_are_no_text_print_replacement_characters() {
    let words = bytes();
    let bytes = |bytes: &[u8]| say(&words, &bytes.iter().map(|&b| byte(b)).collect::<Vec<_>>());
    assert_eq!(bytes(b"\xC3"), "\u{FFFD}");
    assert_eq!(bytes(b"\xC3a"), "\u{FFFD}a");
    assert_eq!(bytes(b"\x80\xFF"), "\u{FFFD}\u{FFFD}");
    assert_eq!(bytes("\u{4F60}".as_bytes()), "\u{4F60}");
}

proptest! {
    #[test]
    fn any_bytes_print_as_the_standard_library_prints_them(b in prop::collection::vec(any::<u8>(), 0..40)) {
        let tokens: Vec<i32> = b.iter().map(|&b| byte(b)).collect();
        prop_assert_eq!(say(&bytes(), &tokens), String::from_utf8_lossy(&b));
    }

    #[test]
    fn a_damaged_tokenizer_is_refused_or_works_but_never_panics(
        cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), value: u8, tokens: Vec<i32>,
    ) {
        let whole = tiny(Golden::TINY_MOSHI);
        let mut flipped = whole.clone();
        flipped[at.index(whole.len())] = value;
        for damaged in [&whole[..cut.index(whole.len())], &flipped] {
            if let Ok(words) = Detokenizer::from_bytes("damaged", damaged, &config(56)) {
                say(&words, &tokens);
            }
        }
    }
}

#[test]
fn a_wrong_tokenizer_is_refused_with_its_name() {
    let message =
        |bytes: &[u8], card| Detokenizer::from_bytes("x.model", bytes, &config(card)).unwrap_err().to_string();
    assert!(message(b"", 56).contains("x.model: not a SentencePiece model (the file is empty)"));
    assert!(message(b"{\"model\": 1}", 56).contains("not a SentencePiece model"));
    let other = message(&tiny(Golden::TINY_MOSHI), 32_000);
    assert!(other.contains("has 56 pieces") && other.contains("32000"), "{other}");
    let error = Detokenizer::from_bytes("x", &tiny(Golden::TINY_MOSHI), &config(55)).unwrap_err();
    assert!(matches!(error, TextError::Vocabulary { expected: 55, found: 56, .. }));
}
