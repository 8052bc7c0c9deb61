//! The rules that run at every step of a session ask for no memory.

use moshi_lm::script::Entry;
use moshi_lm::text_rule::{TextRule, TextRuleConfig};
use moshi_lm::translation::Translation;
use moshi_lm::words::Pauses;

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
