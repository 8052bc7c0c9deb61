//! Words, times and pauses of a recognition.

#![allow(clippy::expect_used)] // a failure is the test's answer

use moshi_lm::spelling::Speller;
use moshi_lm::words::{LiveWords, Pauses, SegmentedWords, SttTimes, WordEvent};
use moshi_testkit::Golden;
use proptest::prelude::*;

use crate::speller;

const TIMES: SttTimes = SttTimes { frame_rate: 12.5, prefix_seconds: 1.0, delay_seconds: 0.5 };

#[derive(Debug, PartialEq)]
struct Word {
    text: String,
    start: f64,
    stop: f64,
}

/// Pairs of events as words.
fn words(events: &[WordEvent]) -> Vec<Word> {
    let pair = |pair: &[WordEvent]| match pair {
        [WordEvent::Started { text, start }, WordEvent::Ended { stop }] => {
            Some(Word { text: text.clone(), start: *start, stop: *stop })
        }
        _ => None,
    };
    events.chunks(2).map(|events| pair(events).expect("each start is followed by its end")).collect()
}

fn segmented(speller: &Speller, tokens: &[i32]) -> Vec<Word> {
    let (mut rule, mut events) = (SegmentedWords::new(&TIMES), Vec::new());
    for &token in tokens {
        rule.push(token, speller, &mut events);
    }
    rule.finish(speller, &mut events);
    words(&events)
}

fn live(speller: &Speller, delay: usize, tokens: &[i32]) -> Vec<WordEvent> {
    let (mut rule, mut events) = (LiveWords::new(12.5, delay), Vec::new());
    for &token in tokens {
        rule.push(token, speller, &mut events);
    }
    rule.finish(speller, &mut events);
    events
}

fn stt() -> std::sync::Arc<Speller> {
    speller(Golden::TINY_STT, 88)
}

#[test]
fn words_and_times_are_those_of_the_published_script() {
    let meta = Golden::TINY_STT.meta().unwrap();
    assert_eq!(meta["frames_before"], TIMES.frames_before());
    assert_eq!(meta["frames_after"], TIMES.frames_after());
    assert_eq!(meta["offset_seconds"], TIMES.offset());
    let tokens = Golden::TINY_STT.results().unwrap().i32("text_tokens").unwrap();
    let found = segmented(&stt(), &tokens);
    let expected = meta["words"].as_array().unwrap();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.text, expected["text"].as_str().unwrap());
        assert!((found.start - expected["start"].as_f64().unwrap()).abs() < 1e-3, "{found:?}, {expected}");
        assert!((found.stop - expected["stop"].as_f64().unwrap()).abs() < 1e-3, "{found:?}, {expected}");
    }
}

/// The tokens of a word of the golden tokenizer.
fn spelled(text: &str) -> Vec<i32> {
    stt().spell(text).unwrap()
}

#[test]
fn the_last_word_ends_at_an_end_of_text_or_after_a_second_or_at_the_end() {
    let coat = spelled("coat");
    let silence = [3; 25];
    let stop = |rest: &[i32]| segmented(&stt(), &[&silence[..], &[0], &coat, rest].concat())[0].stop;
    let start = 26.0 / 12.5 - 1.5;
    let close = |found: f64, frames: f64| assert!((found - start - frames / 12.5).abs() < 1e-9, "{found}");
    close(stop(&[]), coat.len() as f64);
    close(stop(&[3, 3, 3, 2, 3, 3]), coat.len() as f64 + 3.0);
    close(stop(&[3; 40]), 12.0);
    // The end of a text is no boundary in the middle.
    close(stop(&[3, 2, 3, 0]), coat.len() as f64 + 3.0);
}

#[test]
fn what_comes_before_the_first_boundary_is_no_word() {
    let coat = spelled("coat");
    assert_eq!(segmented(&stt(), &coat), []);
    assert_eq!(segmented(&stt(), &[&coat[..], &[0, 3, 3]].concat()), []);
    assert_eq!(segmented(&stt(), &[]), []);
}

#[test]
fn a_live_word_is_told_at_the_first_padding_and_ends_at_the_next_boundary() {
    let (coat, over) = (spelled("coat"), spelled("over"));
    let tokens = [&[3, 3, 3, 3, 3, 3, 3, 0][..], &coat, &[3, 3], &[0], &over, &[3, 3]].concat();
    let ends = 9 + coat.len() + 2;
    let frames = |position: usize| (position - 6) as f64 / 12.5;
    let started = |text: &str, start| WordEvent::Started { text: text.to_owned(), start };
    let expected = [
        started("coat", frames(8)),
        WordEvent::Ended { stop: frames(ends) },
        started("over", frames(ends)),
        WordEvent::Ended { stop: frames(tokens.len()) },
    ];
    assert_eq!(live(&stt(), 6, &tokens), expected);
}

#[test]
fn live_words_without_a_boundary_between_them_start_together() {
    let (coat, over) = (spelled("coat"), spelled("over"));
    let tokens = [&[0][..], &coat, &[3], &over, &[3, 0]].concat();
    let starts: Vec<bool> =
        live(&stt(), 0, &tokens).iter().map(|event| matches!(event, WordEvent::Started { start: 0.08, .. })).collect();
    assert_eq!(starts, [true, true, false]);
}

#[test]
fn live_words_come_before_they_end() {
    let (mut rule, mut events, speller) = (LiveWords::new(12.5, 0), Vec::new(), stt());
    for token in [&[0][..], &spelled("coat")].concat() {
        rule.push(token, &speller, &mut events);
    }
    assert_eq!(events, []);
    rule.push(3, &speller, &mut events);
    assert!(matches!(&events[..], [WordEvent::Started { text, .. }] if text == "coat"), "{events:?}");
    let mut copy = rule.clone();
    rule.push(0, &speller, &mut events);
    assert_eq!(events.len(), 2);
    copy.push(3, &speller, &mut events);
    assert_eq!(events.len(), 2);
}

#[test]
fn live_words_before_the_delay_are_not_the_users() {
    let coat = spelled("coat");
    assert_eq!(live(&stt(), 6, &[&[0][..], &coat, &[3]].concat()), []);
}

#[test]
fn a_pause_is_told_once_until_the_next_word() {
    let heads = Golden::TINY_STT.results().unwrap().f32("extra_heads").unwrap();
    let mut pauses = Pauses::default();
    let begins: Vec<usize> = (0..72).filter(|&s| pauses.push(&heads[s * 24..(s + 1) * 24], 6)).collect();
    let above: Vec<usize> = (0..72).filter(|&s| heads[s * 24 + 12] > 0.5).collect();
    assert_eq!(above.len(), 2);
    assert_eq!(begins, above[..1]);
    pauses.word();
    assert!(pauses.push(&heads[above[1] * 24..][..24], 6));
    assert_eq!(Pauses::silences(&heads[..24], 6).collect::<Vec<_>>(), [heads[0], heads[6], heads[12], heads[18]]);
}

#[test]
fn a_model_without_the_head_has_no_pauses() {
    assert!(!Pauses::default().push(&[], 6));
    assert!(!Pauses::default().push(&[1.0; 12], 6));
}

proptest! {
    #[test]
    fn times_never_go_back_and_no_token_is_refused(tokens in prop::collection::vec(-3i32..95, 0..120), delay in 0usize..40) {
        let speller = stt();
        let mut last = 0.0;
        for word in segmented(&speller, &tokens) {
            prop_assert!(word.start >= last && word.stop >= word.start, "{word:?} after {last}");
            prop_assert!(!word.text.is_empty() && !word.text.contains(char::is_whitespace));
            last = word.stop;
        }
        let (mut last, mut open) = (0.0, false);
        for event in live(&speller, delay, &tokens) {
            let (time, starts) = match event {
                WordEvent::Started { start, .. } => (start, true),
                WordEvent::Ended { stop } => (stop, false),
            };
            prop_assert!(time >= last && (starts || open), "{time} after {last}");
            (last, open) = (time, starts);
        }
        prop_assert!(!open, "the last word ends");
    }
}
