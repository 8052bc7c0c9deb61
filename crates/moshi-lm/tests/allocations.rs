//! What runs at every step of a session asks for no memory.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::num::NonZeroUsize;

use moshi_checkpoint::config::ModelConfig;
use moshi_cpu::Cpu;
use moshi_lm::conditions::{ConditionValues, Sequence};
use moshi_lm::guidance::{Guidance, Guided};
use moshi_lm::script::Entry;
use moshi_lm::text_rule::{TextRule, TextRuleConfig};
use moshi_lm::translation::Translation;
use moshi_lm::words::Pauses;
use moshi_lm::{Lm, RowInput, Speech};
use moshi_testkit::Golden;

#[test]
fn a_step_of_the_text_rule_asks_for_no_memory() {
    for second_stream_ahead in [0, 2] {
        let config = TextRuleConfig { second_stream_ahead, ..TextRuleConfig::new(8_000, 16) };
        let mut rule = TextRule::new(config);
        for word in 0..40 {
            // Long words behind short ones, pauses between them: the queue of words ahead grows longest.
            let tokens = vec![7; (word * word) % 13];
            rule.push(Entry { text: "word".to_owned(), tokens, padding: 0 });
        }
        rule.end();
        let asked = allocation_counter::measure(|| {
            while !rule.is_over() {
                rule.step(0);
            }
        });
        assert_eq!(asked.count_total, 0, "{asked:?}");
        assert_eq!(rule.waiting(), 0);
    }
}

#[test]
fn pauses_and_the_end_of_a_translation_ask_for_no_memory() {
    let (mut pauses, mut translation) = (Pauses::default(), Translation::new(2_048, 100));
    let asked = allocation_counter::measure(|| {
        for step in 0..50 {
            pauses.push(&[0.6; 24], 6);
            translation.stepped(Some(step));
        }
    });
    assert_eq!(asked.count_total, 0, "{asked:?}");
}

#[test]
fn a_step_of_a_guided_synthesis_asks_for_no_memory() {
    let golden = Golden::TINY_TTS_GUIDED;
    let config = ModelConfig::read(&golden.config()).unwrap().0.lm;
    let lm = Lm::load(Cpu::new(NonZeroUsize::MIN), &golden.lm().unwrap(), &config).unwrap();
    let mut state = lm.init_state(2).unwrap();
    let absent = ConditionValues::new().sequence("speaker_wavs", Sequence::absent(32, 60));
    let told = lm.conditions(&absent).unwrap();
    (0..2).for_each(|row| lm.set_conditions(&mut state, row, &told).unwrap());
    let guidance = Guidance { null_row: 1, coefficient: 2.0, guided: Guided::Audio };
    lm.set_guidance(&mut state, 0, Some(guidance)).unwrap();
    let mut rule = TextRule::new(TextRuleConfig { second_stream_ahead: 2, ..TextRuleConfig::new(84, 8) });
    for word in 0..20 {
        rule.push(Entry { text: "word".to_owned(), tokens: vec![9; 1 + word % 3], padding: 1 });
    }
    rule.end();
    lm.set_speech(&mut state, 0, Some(Speech::new(rule))).unwrap();
    let input = [RowInput { row: 0, heard: &[], forced: &[] }];
    (0..20).for_each(|_| lm.step(&mut state, &input).unwrap());
    let asked = allocation_counter::measure(|| (0..20).for_each(|_| lm.step(&mut state, &input).unwrap()));
    assert_eq!(asked.count_total, 0, "{asked:?}");
}
