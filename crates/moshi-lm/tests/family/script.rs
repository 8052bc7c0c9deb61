//! From text to entries, against the entries of the published program.

use std::sync::Arc;

use moshi_lm::LmConfig;
use moshi_lm::script::{Entry, MAX_WORD, Script, ScriptError, ScriptRules, Speaker};
use moshi_lm::spelling::{SpellError, Speller};
use moshi_testkit::Golden;
use proptest::prelude::*;
use serde_json::Value;

use crate::{integers, speller, strings};

pub(crate) fn tts() -> Arc<Speller> {
    speller(Golden::TINY_TTS, 84)
}

pub(crate) fn golden_entries(run: &Value) -> Vec<Entry> {
    let entry = |entry: &Value| Entry {
        text: entry["text"].as_str().unwrap().to_owned(),
        tokens: integers(&entry["tokens"]),
        padding: entry["padding"].as_u64().unwrap() as u32,
    };
    run["entries"].as_array().unwrap().iter().map(entry).collect()
}

fn rules() -> ScriptRules {
    ScriptRules::new(12.5)
}

fn entries(turns: &[&str]) -> Result<Vec<Entry>, ScriptError> {
    Script::entries(tts(), rules(), turns)
}

fn texts(turns: &[&str]) -> Vec<String> {
    entries(turns).unwrap().into_iter().map(|entry| if entry.is_pause() { "|".into() } else { entry.text }).collect()
}

/// The entries of a tokenizer that spells every letter, in bytes where it has no piece.
fn spell_bytes(text: &str) -> Result<Vec<Entry>, ScriptError> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/text/bytes.model");
    let config = LmConfig { text_card: 305, ..LmConfig::moshi_7b() };
    let speller = Speller::from_bytes("bytes.model", &std::fs::read(path).unwrap(), &config).unwrap();
    Script::entries(Arc::new(speller), rules(), &[text])
}

/// The turns, cut at random places.
fn in_pieces(turns: &[&str], cuts: &[prop::sample::Index]) -> Result<Vec<Entry>, ScriptError> {
    let (mut script, mut out) = (Script::new(tts(), rules()), Vec::new());
    for (i, turn) in turns.iter().enumerate() {
        let letters: Vec<char> = turn.chars().collect();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(letters.len() + 1)).collect();
        places.extend([0, letters.len()]);
        places.sort_unstable();
        for pair in places.windows(2) {
            let piece: String = letters[pair[0]..pair[1]].iter().collect();
            script.push(&piece, Speaker::of_turn(i), &mut out)?;
        }
    }
    script.finish(&mut out)?;
    Ok(out)
}

#[test]
fn golden_scripts_give_the_entries_of_the_published_program() {
    let meta = Golden::TINY_TTS.meta().unwrap();
    for (name, run) in meta["runs"].as_object().unwrap() {
        let rules = ScriptRules {
            padding_between: run["padding_between"].as_u64().unwrap() as u32,
            speaker_tokens: run["config"] != "config_prefix.json",
            ..rules()
        };
        let found = Script::entries(tts(), rules, &strings(&run["script"])).unwrap();
        assert_eq!(found, golden_entries(run), "{name}");
    }
}

#[test]
fn text_is_cleaned_and_split() {
    assert_eq!(texts(&["how is it: (calm)"]), ["how", "is", "it", "calm"]);
    assert_eq!(texts(&["It’s a:b"]), ["It's", "a", "b"]);
    assert_eq!(texts(&["  a\tb\r\nc\u{a0}d\u{3000}e\u{1f}f  "]), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(texts(&["", " ", "()", "::"]), [""; 0]);
}

#[test]
fn breaks_may_touch_words() {
    assert_eq!(texts(&[r#"a<break time="1s"/>b"#]), ["a", "|", "b"]);
    assert_eq!(texts(&[r#"<break time="1s"/>"#]), ["|"]);
    assert_eq!(texts(&[r#"a <break  time="0.5s" > <break	time="0s"/> b"#]), ["a", "|", "|", "b"]);
    let words = spell_bytes("a < b > breaking <breakfast> 日本").unwrap();
    let words: Vec<&str> = words.iter().map(|entry| entry.text.as_str()).collect();
    assert_eq!(words, ["a", "<", "b", ">", "breaking", "<breakfast>", "日本"]);
}

#[test]
fn pauses_are_rounded_to_even_frames() {
    let padding = |time: &str| entries(&[&format!("<break time=\"{time}s\"/>")]).unwrap()[0].padding;
    for (time, frames) in
        [("0", 0), ("0.04", 0), ("0.12", 2), ("0.2", 2), ("0.4", 5), ("1", 12), ("1.", 12), ("10", 125)]
    {
        assert_eq!(padding(time), frames, "{time}");
    }
}

#[test]
fn what_is_no_break_is_told() {
    let error = |text: &str| entries(&[text]).unwrap_err();
    for text in [
        "<break/>",
        "<break>",
        "<break time=1s/>",
        "<break time='1s'/>",
        "<break time=\"1\"/>",
        "<break time=\"s\"/>",
        "<break time=\"1.2.3s\"/>",
        "<break time=\"infs\"/>",
        "<break time=\"NaNs\"/>",
        "<break time=\"1e9s\"/>",
        "<break time=\"+1s\"/>",
        "<break time=\"1 s\"/>",
        "<break time=\"500ms\"/>",
        "<break strength=\"weak\"/>",
    ] {
        assert_eq!(error(&format!("a {text} b")), ScriptError::Break { found: text.to_owned() }, "{text}");
    }
    for text in ["<break", "<break time=\"1s\"", "<break ", "a<break\ttime"] {
        let found = text.trim_start_matches('a').to_owned();
        assert_eq!(error(text), ScriptError::Break { found }, "{text}");
    }
    let endless = format!("<break {}", "x".repeat(100));
    assert!(matches!(error(&endless), ScriptError::Break { .. }));
}

#[test]
fn breaks_that_cannot_be_kept_are_told() {
    for time in ["-1", "-0.001", "10.1", "99999999999999999999999999"] {
        let found = format!("<break time=\"{time}s\"/>");
        let error = entries(&[&found]).unwrap_err();
        assert_eq!(error, ScriptError::BreakTime { found, max: 10.0 });
    }
}

#[test]
fn words_without_a_spelling_are_told() {
    let unknown = |word: &str, part: &str| {
        ScriptError::Spelling(SpellError::Unknown { word: word.to_owned(), part: part.to_owned() })
    };
    assert_eq!(entries(&["hello 日本 b"]).unwrap_err(), unknown("日本", "日本"));
    assert_eq!(entries(&["a caf\u{e9} b"]).unwrap_err(), unknown("caf\u{e9}", "\u{e9}"));
    let long = "a".repeat(MAX_WORD);
    assert_eq!(texts(&[&long]), [long.as_str()]);
    let start = "a".repeat(20);
    assert_eq!(entries(&[&format!("{long}a")]).unwrap_err(), ScriptError::Word { start });
}

#[test]
fn a_script_goes_on_after_an_error() {
    let (mut script, mut out) = (Script::new(tts(), rules()), Vec::new());
    for bad in
        ["one 日 lost", "<break/> lost", "<break time=\"99s\"/> lost", &"x".repeat(1_000), "日<break time=\"1s\"/>"]
    {
        assert!(script.push(bad, Speaker::Main, &mut out).is_err(), "{bad}");
    }
    script.push("日", Speaker::Main, &mut out).unwrap();
    assert!(script.push("lost", Speaker::Other, &mut out).is_err());
    script.push("two", Speaker::Other, &mut out).unwrap();
    script.finish(&mut out).unwrap();
    assert_eq!(out.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!((out[0].tokens[0], out[1].tokens[0]), (1, 2));
}

#[test]
fn speakers_are_named_where_they_change() {
    let first = |turns: &[&str]| entries(turns).unwrap().iter().map(|e| e.tokens[0]).collect::<Vec<_>>();
    assert_eq!(first(&["a", "b", "a b"])[..3], [1, 2, 1]);
    assert_eq!(first(&["", "b", "a"])[..2], [2, 1]);
    // An empty turn between two of the same speaker changes nobody.
    let found = entries(&["how", "", "how"]).unwrap();
    assert_eq!((found[0].tokens.len(), found[1].tokens.len()), (2, 1));
    assert_eq!((found[0].padding, found[1].padding), (2, 1));
    // A pause in front of the first word of a turn does not take its token.
    let found = entries(&["<break time=\"1s\"/>how"]).unwrap();
    assert_eq!(found[1].tokens[0], 1);
}

#[test]
fn another_speaker_ends_a_word() {
    let (mut script, mut out) = (Script::new(tts(), rules()), Vec::new());
    script.push("how", Speaker::Main, &mut out).unwrap();
    assert_eq!(out, []);
    let mut copy = script.clone();
    script.push("", Speaker::Other, &mut out).unwrap();
    assert_eq!(out.len(), 1);
    let mut other = Vec::new();
    copy.push("ever ", Speaker::Main, &mut other).unwrap();
    assert_eq!(other[0].text, "however");
}

#[test]
fn what_was_spelled_reads_the_same() {
    let speller = tts();
    for text in ["Hello", "It's", "blue?", "grey.", "how is it"] {
        assert_eq!(speller.read(speller.spell(text).unwrap()), text);
        assert_eq!(speller.pieces(text), speller.spell(text).unwrap().len());
    }
    assert_eq!(speller.read([-5, -1, 0, 1, 2, 3, 84, 9_999, i32::MAX]), "");
    assert!(speller.spell("").unwrap().is_empty());
}

/// Bits of text in which everything that matters is near everything else.
fn text() -> impl Strategy<Value = String> {
    let bits = prop::sample::select(vec![
        "a",
        "how",
        "b",
        " ",
        " ",
        "\n",
        ":",
        "(",
        ")",
        "’",
        "<",
        ">",
        "/",
        "<break",
        "<break ",
        "time=\"",
        "0.4",
        "s\"",
        "/>",
        "<break time=\"0.4s\"/>",
        "<break time=\"99s\"/>",
        "é",
        "日",
    ]);
    prop::collection::vec(bits, 0..12).prop_map(|bits| bits.concat())
}

proptest! {
    #[test]
    fn entries_do_not_depend_on_how_the_text_is_cut(
        turns in prop::collection::vec(text(), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let turns: Vec<&str> = turns.iter().map(String::as_str).collect();
        prop_assert_eq!(in_pieces(&turns, &cuts), entries(&turns));
    }

    #[test]
    fn no_text_panics_and_no_entry_steers_the_model(text in any::<String>()) {
        for (i, entry) in spell_bytes(&text).unwrap_or_default().iter().enumerate() {
            let pieces = entry.tokens.get(usize::from(i == 0)..).unwrap_or_default();
            prop_assert!(pieces.iter().all(|&token| (4..305).contains(&token)), "{entry:?}");
            prop_assert!(!entry.text.contains(char::is_whitespace));
        }
    }
}
