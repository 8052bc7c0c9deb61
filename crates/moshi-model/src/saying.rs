//! Words that a dialogue is given to say beside its own: the rule of synthesis decides about its text until they are said.

use moshi_engine::{Aside, Forced, When};
use moshi_lm::Speech;
use moshi_lm::script::Entry;
use moshi_lm::text_rule::{TextRule, TextRuleConfig};

use crate::reading::said;

/// Frames without a word after which a dialogue counts as quiet: about half a second.
const QUIET_FRAMES: usize = 6;

/// Most frames from the beginning of a word to the next: a model that would be silent by itself does not ask for the next
/// word, and people speak about three in a second.
const BETWEEN_WORDS: u32 = 4;

/// What a row was given to say and has not begun.
#[derive(Clone, Default)]
pub(crate) struct Saying {
    waiting: Vec<Entry>,
    when: When,
    /// Frames in which the row has said nothing of its own.
    quiet: usize,
}

impl Saying {
    /// Takes what comes with a step.
    pub(crate) fn give(&mut self, aside: &Aside) {
        if !aside.entries.is_empty() {
            self.waiting.extend(aside.entries.iter().map(said));
            self.when = aside.when;
        }
    }

    /// Words that are to be said from this step on; none while there are none, the row is not quiet, or its text is forced.
    pub(crate) fn due(&mut self, aside: &Aside) -> Vec<Entry> {
        let forced = aside.forced.first().is_some_and(|text| *text != Forced::Free);
        let due = self.when == When::Now || self.quiet >= QUIET_FRAMES;
        if due && !forced { std::mem::take(&mut self.waiting) } else { Vec::new() }
    }

    /// A step was done: whether it sampled a silent token.
    pub(crate) fn stepped(&mut self, silent: bool) {
        self.quiet = if silent { self.quiet.saturating_add(1) } else { 0 };
    }
}

/// A dialogue's speech with these words: they are said from the next step on.
pub(crate) fn begin(text_card: usize) -> Speech {
    let config = TextRuleConfig {
        max_padding: BETWEEN_WORDS,
        initial_padding: 0,
        final_padding: 0,
        ..TextRuleConfig::new(text_card, 0)
    };
    Speech::new(TextRule::new(config))
}
