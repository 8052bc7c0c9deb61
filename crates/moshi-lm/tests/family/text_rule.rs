//! The text rule and the audio that follows it, against the golden runs and against the rule written plainly.

use moshi_lm::delay::Cell;
use moshi_lm::script::Entry;
use moshi_lm::text_rule::{Taken, TextRule, TextRuleConfig};
use moshi_testkit::Golden;
use proptest::prelude::*;
use serde_json::Value;

use crate::integers;
use crate::script::golden_entries;

fn config(run: &Value) -> TextRuleConfig {
    TextRuleConfig {
        second_stream_ahead: 2,
        prefix_frames: run["prefix_frames"].as_u64().unwrap() as usize,
        ..TextRuleConfig::new(84, run["delay_steps"].as_u64().unwrap() as usize)
    }
}

fn with_script(config: TextRuleConfig, entries: &[Entry]) -> TextRule {
    let mut rule = TextRule::new(config);
    entries.iter().for_each(|entry| rule.push(entry.clone()));
    rule.end();
    rule
}

#[test]
fn golden_runs_feed_what_the_published_program_feeds() {
    let (meta, results) = (Golden::TINY_TTS.meta().unwrap(), Golden::TINY_TTS.results().unwrap());
    for (name, run) in meta["runs"].as_object().unwrap() {
        let sampled = results.i32(&format!("{name}_sampled_text")).unwrap();
        let expected = results.i32(&format!("{name}_fed_text")).unwrap();
        let mut rule = with_script(config(run), &golden_entries(run));
        let (mut fed, mut taken) = (Vec::new(), Vec::new());
        while !rule.is_over() {
            assert!(rule.ready());
            let step = rule.step(sampled[rule.steps() as usize]);
            fed.push(step.token);
            taken.extend(step.taken);
        }
        assert_eq!(fed, expected, "{name}");
        assert_eq!(rule.end_step(), run["end_step"].as_u64(), "{name}");
        assert_eq!(rule.run_length(), run["steps"].as_u64(), "{name}");
        let steps: Vec<i32> = taken.iter().map(|taken| taken.step as i32).collect();
        assert_eq!(steps, integers(&run["consumption"]), "{name}");
        assert_words(&taken, run);
    }
}

fn assert_words(taken: &[Taken], run: &Value) {
    let lead = config(run).audio_lead();
    let words: Vec<&Taken> = taken.iter().filter(|taken| !taken.entry.is_pause()).collect();
    let expected = run["words"].as_array().unwrap();
    assert_eq!(words.len(), expected.len());
    for (word, expected) in words.iter().zip(expected) {
        assert_eq!(word.entry.text, expected["text"].as_str().unwrap());
        assert_eq!(word.step, expected["step"].as_u64().unwrap());
        let start = lead.word_start(word.step, 12.5);
        assert!((start - expected["start"].as_f64().unwrap()).abs() < 1e-9, "{word:?}");
    }
}

#[test]
fn golden_audio_begins_after_the_lead_with_the_spoken_prefix() {
    let (meta, results) = (Golden::TINY_TTS.meta().unwrap(), Golden::TINY_TTS.results().unwrap());
    for (name, run) in meta["runs"].as_object().unwrap() {
        let (lead, streams) = (config(run).audio_lead(), run["n_q"].as_u64().unwrap() as usize);
        let tokens = results.i32(&format!("{name}_tokens")).unwrap();
        let prefix = results.i32(&format!("{name}_prefix")).unwrap_or_default();
        for (row, frame) in tokens.chunks(1 + streams).enumerate() {
            for q in 0..streams {
                let delay = if q == 0 { 0 } else { 2 };
                // Row r is frame r + 1, whose value for this stream step r + delay wrote.
                let of_prefix = |frame: usize| prefix[(1 + q) * lead.prefix_frames as usize + frame];
                let expected = match lead.cell((row + delay) as u64, delay, of_prefix) {
                    Cell::Pending => frame[1 + q].max(0),
                    Cell::Dropped | Cell::Nothing => -1,
                    Cell::Token(code) => code,
                };
                assert_eq!(frame[1 + q], expected, "{name}, frame {row}, stream {q}");
            }
            let silent = frame[1..].iter().all(|&code| code == -1);
            assert_eq!(silent, (row as u64) < lead.frames_before_sound(), "{name}, frame {row}");
        }
    }
}

#[test]
fn the_row_without_conditions_does_not_hear_the_prefix() {
    let lead = TextRuleConfig { prefix_frames: 12, ..TextRuleConfig::new(84, 8) }.audio_lead();
    let masked = |delay| (0..40).filter(|&step| lead.masked(step, delay)).collect::<Vec<u64>>();
    assert_eq!(masked(0), (1..=20).collect::<Vec<_>>());
    assert_eq!(masked(2), (3..=22).collect::<Vec<_>>());
    let lead = TextRuleConfig::new(84, 8).audio_lead();
    assert!((0..40).all(|step| !lead.masked(step, 0)));
    assert!((0..40).all(|step| lead.is_silent(step) == (step < 8)));
}

#[test]
fn pairs_of_tokens_come_apart_again() {
    let config = TextRuleConfig::new(84, 8);
    for first in 0..=84 {
        for second in -1..=84 {
            assert_eq!(config.unpair(config.pair(first, second)), (first, second));
        }
    }
    assert_eq!(config.unpair(-1), (-1, -1));
}

#[test]
fn a_session_waits_only_for_words_that_the_next_step_may_need() {
    let word = || Entry { text: "word".into(), tokens: vec![7, 8], padding: 0 };
    let pause = || Entry { text: String::new(), tokens: vec![], padding: 1 };
    let config = TextRuleConfig { second_stream_ahead: 2, prefix_frames: 1, ..TextRuleConfig::new(84, 8) };
    let mut rule = TextRule::new(config);
    let mut free = 0;
    while rule.ready() {
        rule.step(0);
        free += 1;
    }
    assert_eq!(free, 1 + 2, "the prefix and the padding before the first word need no text");
    for ready in [false, false, true] {
        rule.push(word());
        assert_eq!(rule.ready(), ready);
    }
    // The word's pieces are fed; then the next word waits for one more behind it.
    assert!(rule.step(3).taken.is_some());
    assert!(rule.ready());
    rule.step(3);
    assert!(!rule.ready());
    // Pauses are no words, but one that is next is taken at once.
    rule.push(pause());
    assert!(!rule.ready());
    let mut copy = rule.clone();
    copy.push(word());
    assert!(copy.ready());
    rule.end();
    assert!(rule.ready());
    let mut rule = TextRule::new(TextRuleConfig { initial_padding: 0, ..config });
    rule.step(3);
    rule.push(pause());
    assert!(rule.ready());
}

#[test]
fn delays_are_whole_steps() {
    let steps = |seconds| TextRuleConfig::delay_steps(seconds, 12.5);
    assert_eq!([steps(0.0), steps(0.64), steps(1.28), steps(1.3), steps(-1.0)], [0, 8, 16, 16, 0]);
}

#[test]
fn nothing_to_say_is_a_short_run() {
    for ahead in [0, 2] {
        let config = TextRuleConfig { second_stream_ahead: ahead, ..TextRuleConfig::new(84, 8) };
        let mut rule = with_script(config, &[]);
        while !rule.is_over() {
            rule.step(3);
        }
        assert_eq!((rule.end_step(), rule.steps()), (Some(2), 14));
    }
}

/// The rule as it is told, without any thought of speed.
fn plainly(config: &TextRuleConfig, entries: &[Entry], sampled: &[i32]) -> (Vec<i32>, Option<u64>) {
    let (mut entries, mut queue, mut ahead) = (entries.to_vec(), Vec::new(), Vec::new());
    let (mut remaining, mut forced) = (config.initial_padding, config.initial_padding);
    let (mut fed, mut end) = (Vec::new(), None);
    for (s, &t) in sampled.iter().enumerate() {
        if s < config.prefix_frames {
            fed.push(-1);
            continue;
        }
        let mut t = if t == 0 { 0 } else { 3 };
        if !queue.is_empty() || forced > 0 {
            t = 3;
        } else if remaining == 0 {
            t = 0;
        }
        if t == 0 && entries.is_empty() {
            t = if config.second_stream_ahead > 0 && end.is_none() { 0 } else { 3 };
            end = end.or(Some(s as u64));
        } else if t == 0 {
            let entry = entries.remove(0);
            forced = entry.padding;
            if entry.tokens.is_empty() {
                t = 3;
            } else {
                queue.extend(entry.tokens);
                remaining = config.max_padding;
                let words: Vec<&Entry> = entries.iter().filter(|entry| !entry.tokens.is_empty()).collect();
                if config.second_stream_ahead > 0 && words.len() >= config.second_stream_ahead {
                    ahead.extend(words[config.second_stream_ahead - 1].tokens.clone());
                }
            }
        }
        let next = |queue: &mut Vec<i32>| if queue.is_empty() { None } else { Some(queue.remove(0)) };
        let (first, second);
        if t == 3 {
            remaining = remaining.saturating_sub(1);
            forced = forced.saturating_sub(1);
            first = next(&mut queue).unwrap_or(3);
            second = if config.second_stream_ahead > 0 { next(&mut ahead).unwrap_or(-1) } else { -1 };
        } else if config.second_stream_ahead > 0 {
            (first, second) = (next(&mut queue).unwrap_or(3), 0);
        } else {
            (first, second) = (0, -1);
        }
        fed.push((second + 1) * (config.text_card as i32 + 1) + first);
    }
    (fed, end)
}

fn entry() -> impl Strategy<Value = Entry> {
    (prop::collection::vec(1i32..84, 0..5), 0u32..9).prop_map(|(tokens, padding)| Entry {
        text: String::new(),
        tokens,
        padding,
    })
}

fn any_config() -> impl Strategy<Value = TextRuleConfig> {
    (0usize..4, 0usize..5, 0u32..10, 0u32..4).prop_map(|(second_stream_ahead, prefix_frames, max, initial)| {
        let config = TextRuleConfig::new(84, 8);
        TextRuleConfig { second_stream_ahead, prefix_frames, max_padding: max, initial_padding: initial, ..config }
    })
}

proptest! {
    #[test]
    fn the_rule_is_what_it_is_told_to_be(
        config in any_config(),
        entries in prop::collection::vec(entry(), 0..8),
        sampled in prop::collection::vec(prop::sample::select(vec![0, 0, 3, 3, 17, -1]), 120),
    ) {
        let mut rule = with_script(config, &entries);
        let fed: Vec<i32> = sampled.iter().map(|&token| rule.step(token).token).collect();
        let (expected, end) = plainly(&config, &entries, &sampled);
        prop_assert_eq!(fed, expected);
        prop_assert_eq!(rule.end_step(), end);
    }

    #[test]
    fn text_that_arrives_while_speaking_is_said_the_same_way(
        config in any_config(),
        entries in prop::collection::vec(entry(), 0..8),
        sampled in prop::collection::vec(prop::sample::select(vec![0, 3, 3, 17]), 120),
        waits in prop::collection::vec(any::<bool>(), 400),
    ) {
        let mut whole = with_script(config, &entries);
        let mut coming = TextRule::new(config);
        let (mut script, mut ended) = (entries.into_iter(), false);
        for wait in waits {
            if coming.ready() && (ended || wait) {
                if coming.steps() as usize == sampled.len() {
                    break;
                }
                let token = sampled[coming.steps() as usize];
                prop_assert_eq!(coming.step(token), whole.step(token));
            } else {
                match script.next() {
                    Some(entry) => coming.push(entry),
                    None => {
                        coming.end();
                        ended = true;
                    }
                }
            }
        }
    }

    #[test]
    fn a_copy_goes_on_alone(
        config in any_config(),
        entries in prop::collection::vec(entry(), 0..8),
        sampled in prop::collection::vec(prop::sample::select(vec![0, 3, 17]), 60),
        at in 0usize..60,
    ) {
        let mut rule = with_script(config, &entries);
        sampled[..at].iter().for_each(|&token| drop(rule.step(token)));
        let mut copy = rule.clone();
        let rest = |rule: &mut TextRule| sampled[at..].iter().map(|&token| rule.step(token)).collect::<Vec<_>>();
        let first = rest(&mut rule);
        prop_assert_eq!(first, rest(&mut copy));
        prop_assert_eq!(rule, copy);
    }
}
