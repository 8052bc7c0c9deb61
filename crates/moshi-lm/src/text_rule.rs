//! The text rule of synthesis: which text token a step feeds, whatever the model sampled.
//!
//! The model of a delayed-streams synthesis does not choose words: it says when the next one begins. At every step the
//! sampled text token is replaced ([`TextRule::step`]): [`NEW_WORD`] takes the next [`Entry`] of the script, whose pieces
//! are fed one a step, and everything else is padding. The replaced token is what the depth transformer and the next step
//! read. Models with a second text stream (`second_stream_ahead`) also read, in it, the pieces of a word still to come.
//! The audio runs `delay_steps` behind ([`AudioLead`]).
//!
//! The rules are those of `StateMachine` and `TTSModel.generate` in kyutai-labs/moshi (`moshi/models/tts.py`), those of
//! text that arrives while speaking of `moshi-server/tts.py` there. All of it is plain data: a clone goes on
//! independently, and a step does not allocate.
//!
//! ```
//! use moshi_lm::script::Entry;
//! use moshi_lm::text_rule::{TextRule, TextRuleConfig};
//! let mut rule = TextRule::new(TextRuleConfig::new(8_000, 16));
//! rule.push(Entry { text: "hello".into(), tokens: vec![1, 42], padding: 1 });
//! rule.end();
//! let fed: Vec<i32> = (0..5).map(|_| rule.step(0).token).collect();
//! assert_eq!(fed, [3, 3, 0, 1, 42]); // two steps of padding, the beginning of a word, its tokens
//! ```

use std::collections::VecDeque;

use crate::delay::Cell;
use crate::script::Entry;
use crate::spelling::{NEW_WORD, NOTHING, PADDING};

/// What a model and a session want of the text rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextRuleConfig {
    /// Number of text tokens of the model, without the initial token.
    pub text_card: usize,
    /// Steps that the audio runs behind the text ([`Self::delay_steps()`]).
    pub delay_steps: usize,
    /// How many words ahead the second text stream reads; 0 where the model has none.
    pub second_stream_ahead: usize,
    /// Frames of the spoken prefix that is the voice; 0 without one. So many steps feed no text before the rule begins.
    /// The published programs encode the whole sound and leave out its last 2 frames.
    pub prefix_frames: usize,
    /// Most steps of padding between two words.
    pub max_padding: u32,
    /// Steps of padding before the first word.
    pub initial_padding: u32,
    /// Steps after the audio of the end.
    pub final_padding: u32,
}

impl TextRuleConfig {
    /// A model with one text stream and no spoken prefix, with the paddings of the published programs.
    pub fn new(text_card: usize, delay_steps: usize) -> Self {
        let (max_padding, initial_padding, final_padding) = (8, 2, 4);
        let (second_stream_ahead, prefix_frames) = (0, 0);
        Self { text_card, delay_steps, second_stream_ahead, prefix_frames, max_padding, initial_padding, final_padding }
    }

    /// The steps of an `audio_delay` in seconds: rounded down.
    pub fn delay_steps(audio_delay: f64, frame_rate: f64) -> usize {
        (audio_delay * frame_rate) as usize
    }

    /// The value that stands for two tokens at once; `second` is [`NOTHING`] where only the first stream speaks.
    pub fn pair(&self, first: i32, second: i32) -> i32 {
        (second + 1) * (self.text_card as i32 + 1) + first
    }

    /// The two tokens of a fed value, first and second stream; both [`NOTHING`] where the value is.
    pub fn unpair(&self, token: i32) -> (i32, i32) {
        unpair(self.text_card, token)
    }

    /// The rule of the audio streams that belongs to it.
    pub fn audio_lead(&self) -> AudioLead {
        AudioLead { delay_steps: self.delay_steps as u64, prefix_frames: self.prefix_frames as u64 }
    }
}

/// See [`TextRuleConfig::unpair`].
pub(crate) fn unpair(text_card: usize, token: i32) -> (i32, i32) {
    if token < 0 {
        return (NOTHING, NOTHING);
    }
    let card = text_card as i32 + 1;
    (token % card, token / card - 1)
}

/// What a step feeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fed {
    /// The text token that replaces the sampled one; with a second text stream the two in one ([`TextRuleConfig::unpair`]);
    /// -1 (no text) in a spoken prefix.
    pub token: i32,
    /// The word or pause that begins at this step.
    pub taken: Option<Taken>,
}

/// An entry that was taken, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The entry.
    pub entry: Entry,
    /// The step that took it, from 0, a spoken prefix included.
    pub step: u64,
}

/// The text rule of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextRule {
    config: TextRuleConfig,
    /// Still to say.
    entries: VecDeque<Entry>,
    /// Tokens of all of `entries`: what the queues below may have to take without allocating.
    waiting_tokens: usize,
    /// Whether no more entries come.
    ended: bool,
    /// Pieces of the word that is being fed.
    queued: VecDeque<i32>,
    /// Pieces of a word ahead, for the second stream.
    ahead: VecDeque<i32>,
    /// Steps of padding that the model may still choose.
    remaining: u32,
    /// Steps of padding that it must take.
    forced: u32,
    step: u64,
    end_step: Option<u64>,
}

impl TextRule {
    /// A rule before its first step, with nothing to say yet.
    pub fn new(config: TextRuleConfig) -> Self {
        Self {
            config,
            entries: VecDeque::new(),
            waiting_tokens: 0,
            ended: false,
            queued: VecDeque::new(),
            ahead: VecDeque::new(),
            remaining: config.initial_padding,
            forced: config.initial_padding,
            step: 0,
            end_step: None,
        }
    }

    /// What it was made of.
    pub fn config(&self) -> &TextRuleConfig {
        &self.config
    }

    /// Adds a word or pause at the end of the script.
    pub fn push(&mut self, entry: Entry) {
        self.waiting_tokens += entry.tokens.len();
        self.queued.reserve(entry.tokens.len());
        if self.config.second_stream_ahead > 0 {
            self.ahead.reserve(self.waiting_tokens);
        }
        self.entries.push_back(entry);
    }

    /// Says that no more entries come.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Words and pauses that wait to be taken.
    pub fn waiting(&self) -> usize {
        self.entries.len()
    }

    /// The step at which the model asked for a word after the last one.
    pub fn end_step(&self) -> Option<u64> {
        self.end_step
    }

    /// How many steps the whole run has; unknown until [`Self::end_step`] is.
    pub fn run_length(&self) -> Option<u64> {
        let after = self.config.delay_steps as u64 + u64::from(self.config.final_padding);
        self.end_step.map(|step| step + after)
    }

    /// Whether all of the run's steps are done.
    pub fn is_over(&self) -> bool {
        self.run_length().is_some_and(|length| self.step >= length)
    }

    /// Whether all that it was given has been fed: nothing waits, and no word is begun.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.queued.is_empty()
    }

    /// Whether the next step would do the same if the whole text were at hand: the text has ended, or the step takes no
    /// entry, or a pause is next, or a word and the words that the second stream reads ahead are there. A session whose
    /// text is still coming waits until this holds.
    pub fn ready(&self) -> bool {
        if self.ended || self.in_prefix() || !self.queued.is_empty() || self.forced > 0 {
            return true;
        }
        match self.entries.front() {
            None => false,
            Some(entry) if entry.is_pause() => true,
            Some(_) => {
                let words = self.entries.iter().filter(|entry| !entry.is_pause());
                words.take(self.config.second_stream_ahead + 1).count() > self.config.second_stream_ahead
            }
        }
    }

    /// One step: what is fed in place of `sampled`, the text token that the model sampled.
    pub fn step(&mut self, sampled: i32) -> Fed {
        let in_prefix = self.in_prefix();
        let step = self.step;
        self.step += 1;
        if in_prefix {
            return Fed { token: NOTHING, taken: None };
        }
        let mut begins = self.begins(sampled);
        let mut taken = None;
        if begins {
            match self.entries.pop_front() {
                Some(entry) => {
                    begins = self.take(&entry);
                    taken = Some(Taken { entry, step });
                }
                // Past the last word. With a second stream the first such step still says that a word begins.
                None => {
                    begins = self.config.second_stream_ahead > 0 && self.end_step.is_none();
                    self.end_step.get_or_insert(step);
                }
            }
        }
        let first = if begins { NEW_WORD } else { self.pad() };
        Fed { token: self.with_second(first), taken }
    }

    fn in_prefix(&self) -> bool {
        self.step < self.config.prefix_frames as u64
    }

    /// Whether the next entry is asked for.
    fn begins(&self, sampled: i32) -> bool {
        if !self.queued.is_empty() || self.forced > 0 {
            return false;
        }
        self.remaining == 0 || sampled == NEW_WORD
    }

    /// Takes an entry; whether a word begins.
    fn take(&mut self, entry: &Entry) -> bool {
        self.waiting_tokens -= entry.tokens.len();
        self.forced = entry.padding;
        if entry.is_pause() {
            return false;
        }
        self.queued.extend(&entry.tokens);
        self.remaining = self.config.max_padding;
        if let Some(ahead) = self.config.second_stream_ahead.checked_sub(1) {
            let word = self.entries.iter().filter(|entry| !entry.is_pause()).nth(ahead);
            self.ahead.extend(word.into_iter().flat_map(|word| &word.tokens));
        }
        true
    }

    /// A step without the beginning of a word: the next piece, or padding.
    fn pad(&mut self) -> i32 {
        self.remaining = self.remaining.saturating_sub(1);
        self.forced = self.forced.saturating_sub(1);
        self.queued.pop_front().unwrap_or(PADDING)
    }

    /// Adds the second stream's token, where there is a second stream.
    fn with_second(&mut self, first: i32) -> i32 {
        if self.config.second_stream_ahead == 0 {
            return first;
        }
        if first == NEW_WORD {
            // The second stream says that a word begins, and the first already feeds the word.
            return self.config.pair(self.queued.pop_front().unwrap_or(PADDING), NEW_WORD);
        }
        self.config.pair(first, self.ahead.pop_front().unwrap_or(NOTHING))
    }
}

/// The audio streams of a synthesis: nothing while the text leads, then the spoken prefix, then what the model samples.
/// Stream and delay are the audio stream's own; a step writes the cell of its next column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLead {
    /// Steps that the audio runs behind the text.
    pub delay_steps: u64,
    /// Frames of the spoken prefix; 0 without one.
    pub prefix_frames: u64,
}

impl AudioLead {
    /// Whether no stream has audio at this step, so that its depth run may be left out.
    pub fn is_silent(&self, step: u64) -> bool {
        step < self.delay_steps
    }

    /// What a stream of this delay writes at this step. `prefix` gives the stream's code in a frame of the spoken prefix
    /// and is not asked for others.
    pub fn cell(&self, step: u64, delay: usize, prefix: impl FnOnce(usize) -> i32) -> Cell {
        match step.checked_sub(delay as u64 + self.delay_steps) {
            None => Cell::Dropped,
            Some(frame) if frame < self.prefix_frames => Cell::from(prefix(frame as usize)),
            Some(_) => Cell::Pending,
        }
    }

    /// Whether the row without conditions (guidance by two rows) reads nothing of a stream of this delay at this step;
    /// with a spoken prefix it must not hear the voice. Initial tokens are read all the same.
    pub fn masked(&self, step: u64, delay: usize) -> bool {
        self.prefix_frames > 0 && step > delay as u64 && step <= delay as u64 + self.prefix_frames + self.delay_steps
    }

    /// Complete frames before the first with sound: frame 1, which comes at the step of the longest delay, is frame 0 of
    /// this count. A spoken prefix is sound; its frames are decoded and cut.
    pub fn frames_before_sound(&self) -> u64 {
        self.delay_steps
    }

    /// When a word that was taken at `step` is heard, in seconds after the prefix.
    pub fn word_start(&self, step: u64, frame_rate: f64) -> f64 {
        step.saturating_sub(self.prefix_frames) as f64 / frame_rate
    }
}
