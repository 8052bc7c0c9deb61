//! The end of a translation, against the golden runs.

use moshi_lm::translation::{Ending, Hear, Translation};
use moshi_testkit::Golden;
use proptest::prelude::*;

/// Runs a translation whose model writes `text` (by step; emitted two steps later), and returns what it heard.
fn run(frames: usize, text: &[i32], limit: u64) -> (Vec<Hear>, Translation) {
    let mut translation = Translation::new(64, limit);
    let mut heard = Vec::new();
    while translation.ending().is_none() && heard.len() < text.len() {
        if heard.len() == frames {
            translation.end();
        }
        heard.push(translation.hear());
        let emitted = heard.len().checked_sub(3).map(|row| text[row]);
        translation.stepped(emitted);
    }
    (heard, translation)
}

#[test]
fn golden_translations_hear_the_marker_and_end_where_the_published_program_ends() {
    for golden in [Golden::TINY_HIBIKI, Golden::TINY_HIBIKI_ZERO] {
        let (results, meta) = (golden.results().unwrap(), golden.meta().unwrap());
        for (name, options) in meta["runs"].as_object().unwrap() {
            let prefix = if name == "plain" { "" } else { "cfg_" };
            let codes = results.i32(&format!("{prefix}codes")).unwrap();
            let text = results.i32(&format!("{prefix}text_tokens")).unwrap();
            let frames = options["input_frames"].as_u64().unwrap() as usize;
            let (heard, translation) = run(frames, &text, 1_000);
            assert_eq!(heard.len(), text.len(), "{} {name}", golden.name());
            assert_eq!(heard.len() as u64, options["steps"].as_u64().unwrap());
            assert_eq!(translation.ending(), Some(Ending::Complete));
            let marker = codes.iter().position(|&code| code == 64);
            assert_eq!(marker, heard.iter().position(|&hear| hear == Hear::Marker(64)));
            let drained = heard.iter().filter(|&&hear| hear != Hear::Speech).count();
            assert_eq!(drained as u64, options["drained_frames"].as_u64().unwrap());
            assert_eq!(translation.hear(), Hear::Over);
        }
    }
}

#[test]
fn a_model_that_never_ends_is_stopped() {
    let (heard, translation) = run(5, &[3; 100], 10);
    assert_eq!(translation.ending(), Some(Ending::Limit));
    assert_eq!(heard.len(), 5 + 1 + 10);
    assert_eq!(run(0, &[3; 100], 0).0, [Hear::Marker(64)]);
}

#[test]
fn ends_before_the_marker_do_not_end() {
    let mut translation = Translation::new(64, 10);
    for _ in 0..20 {
        translation.stepped(Some(2));
        assert_eq!(translation.hear(), Hear::Speech);
    }
    translation.end();
    translation.end();
    translation.stepped(Some(2));
    assert_eq!(translation.ending(), Some(Ending::Complete));
    translation.end();
    assert_eq!(translation.hear(), Hear::Over);
}

proptest! {
    #[test]
    fn one_marker_and_no_speech_after_it(frames in 0usize..20, text in prop::collection::vec(0i32..6, 40), limit in 0u64..30) {
        let (heard, translation) = run(frames, &text, limit);
        prop_assert!(heard[..frames.min(heard.len())].iter().all(|&hear| hear == Hear::Speech));
        if heard.len() > frames {
            prop_assert_eq!(heard[frames], Hear::Marker(64));
            prop_assert!(heard[frames + 1..].iter().all(|&hear| hear == Hear::Silence));
            prop_assert!(heard.len() - frames - 1 <= limit as usize);
        }
        let early = heard.len() < text.len();
        prop_assert!(!early || translation.ending().is_some());
    }
}
