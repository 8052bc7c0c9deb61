//! From the text tokens of a recognition to words with times, and to the pauses between them.
//!
//! A recognition writes one text token a step: [`PADDING`], pieces of words, and [`NEW_WORD`] where the next word begins.
//! Two published programs make times of them, and both are here, one token at a time:
//!
//! - [`SegmentedWords`] is the rule of `stt_from_file_pytorch.py` in kyutai-labs/delayed-streams-modeling: a word is known
//!   when it is over, with both of its times. It finds words that the model wrote without a boundary between them.
//! - [`LiveWords`] is the rule of the published Rust server (`moshi-core/src/asr.rs` in kyutai-labs/moshi): a word is known
//!   as soon as it is written, its end later.
//!
//! The text comes later than the sound, by training; both rules take that delay off. Times are seconds from the beginning of
//! the user's sound, never below 0.
//!
//! [`Pauses`] reads the model's extra heads: whether the speaker has finished.

use crate::spelling::{END_OF_TEXT, FIRST_PIECE, NEW_WORD, PADDING, Speller};

/// Something that was heard.
#[derive(Debug, Clone, PartialEq)]
pub enum WordEvent {
    /// A word and when it starts, in seconds.
    Started {
        /// The word, without spaces around it.
        text: String,
        /// In seconds.
        start: f64,
    },
    /// The end of the last word that started. [`LiveWords`] tells no end of a word that another follows without a boundary,
    /// as the published server does not.
    Ended {
        /// In seconds.
        stop: f64,
    },
}

/// How a recognition's audio is laid out: silence, the user's sound, silence for the words that are still to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SttTimes {
    /// Frames per second.
    pub frame_rate: f64,
    /// Seconds of silence in front (`audio_silence_prefix_seconds`).
    pub prefix_seconds: f64,
    /// Seconds that the text is late (`audio_delay_seconds`).
    pub delay_seconds: f64,
}

impl SttTimes {
    /// Frames of silence to put in front.
    pub fn frames_before(&self) -> usize {
        (self.prefix_seconds * self.frame_rate).ceil() as usize
    }

    /// Frames of silence to add behind.
    pub fn frames_after(&self) -> usize {
        (self.delay_seconds * self.frame_rate).ceil() as usize
    }

    /// What [`SegmentedWords`] takes off every time: whole seconds of the silence in front (13 frames count 1 s), and the
    /// delay.
    pub fn offset(&self) -> f64 {
        (self.frames_before() as f64 / self.frame_rate).floor() + self.delay_seconds
    }
}

/// Words between boundaries: known when they are over. Memory grows with the longest stretch without a boundary.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentedWords {
    frame_rate: f64,
    offset: f64,
    /// Tokens so far.
    position: usize,
    /// Tokens since the last boundary; `None` before the first: what comes before it is dropped.
    segment: Option<Vec<i32>>,
}

impl SegmentedWords {
    /// Before the first token; the first one is that of step 0.
    pub fn new(times: &SttTimes) -> Self {
        Self { frame_rate: times.frame_rate, offset: times.offset(), position: 0, segment: None }
    }

    /// Takes the token of the next step and appends what it completes to `out`: each word's start and end together.
    pub fn push(&mut self, token: i32, speller: &Speller, out: &mut Vec<WordEvent>) {
        if token == NEW_WORD {
            let tokens = self.segment.replace(Vec::new()).unwrap_or_default();
            self.complete(&tokens, self.position, speller, out);
        } else if let Some(tokens) = &mut self.segment {
            tokens.push(token);
        }
        self.position += 1;
    }

    /// Ends the text: the last word ends at an end of text after it, after a second, or here.
    pub fn finish(&mut self, speller: &Speller, out: &mut Vec<WordEvent>) {
        let Some(tokens) = self.segment.take() else { return };
        // The published script fails where neither an end nor the end of the sound is near; whole frames it is.
        let second = self.frame_rate as usize;
        let end = tokens.iter().position(|&token| token == END_OF_TEXT).unwrap_or(tokens.len().min(second));
        self.complete(&tokens[..end], self.position - tokens.len() + end, speller, out);
    }

    /// The words of a segment that ends before position `end`.
    fn complete(&self, tokens: &[i32], end: usize, speller: &Speller, out: &mut Vec<WordEvent>) {
        let text = speller.read(tokens.iter().copied());
        let mut start = end - tokens.len();
        let mut words = text.split_whitespace().peekable();
        while let Some(word) = words.next() {
            // Words without a boundary between them: each takes as many frames as it has pieces, the last the rest.
            let last = words.peek().is_none();
            let stop = if last { end } else { end.min(start + speller.pieces(word)) };
            out.push(WordEvent::Started { text: word.to_owned(), start: self.seconds(start) });
            out.push(WordEvent::Ended { stop: self.seconds(stop) });
            start = stop;
        }
    }

    fn seconds(&self, position: usize) -> f64 {
        (position as f64 / self.frame_rate - self.offset).max(0.0)
    }
}

/// Words as they are written. Constant memory but for the pieces of one word.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveWords {
    frame_rate: f64,
    /// Steps that the text is late.
    delay_steps: usize,
    /// Frames heard so far.
    position: usize,
    pieces: Vec<i32>,
    /// The last boundary, in seconds: where the next word starts.
    boundary: f64,
    /// Whether a word has started and not ended.
    open: bool,
}

impl LiveWords {
    /// Before the first frame. The published configurations count the delay in steps: 6 for stt-1b-en_fr, 32 for
    /// stt-2.6b-en.
    pub fn new(frame_rate: f64, delay_steps: usize) -> Self {
        Self { frame_rate, delay_steps, position: 0, pieces: Vec::new(), boundary: 0.0, open: false }
    }

    /// Takes the token of the step that read the next frame, and appends what it says to `out`.
    pub fn push(&mut self, token: i32, speller: &Speller, out: &mut Vec<WordEvent>) {
        self.position += 1;
        let Some(steps) = self.position.checked_sub(self.delay_steps) else { return };
        if token == NEW_WORD || token == PADDING {
            self.start(speller, out);
        } else if token >= FIRST_PIECE {
            self.pieces.push(token);
        }
        if token == NEW_WORD {
            self.boundary = steps as f64 / self.frame_rate;
            self.end(out);
        }
    }

    /// Ends the text here: a word that is being written is complete, one that has not ended ends.
    pub fn finish(&mut self, speller: &Speller, out: &mut Vec<WordEvent>) {
        self.start(speller, out);
        self.boundary = self.position.saturating_sub(self.delay_steps) as f64 / self.frame_rate;
        self.end(out);
    }

    fn start(&mut self, speller: &Speller, out: &mut Vec<WordEvent>) {
        let text = speller.read(self.pieces.drain(..));
        let text = text.trim();
        if !text.is_empty() {
            out.push(WordEvent::Started { text: text.to_owned(), start: self.boundary });
            self.open = true;
        }
    }

    fn end(&mut self, out: &mut Vec<WordEvent>) {
        if std::mem::take(&mut self.open) {
            out.push(WordEvent::Ended { stop: self.boundary });
        }
    }
}

/// Whether the speaker has finished, from the model's extra heads (semantic voice activity).
///
/// Each head looks another time ahead and answers with probabilities of classes; class 0 is silence. The published
/// programs read head 2 and tell a pause once, when it passes 0.5, until the next word.
#[derive(Debug, Clone, PartialEq)]
pub struct Pauses {
    head: usize,
    threshold: f32,
    told: bool,
}

impl Default for Pauses {
    /// As the published programs.
    fn default() -> Self {
        Self::new(2, 0.5)
    }
}

impl Pauses {
    /// Reads this head; a pause is class 0 above `threshold`.
    pub fn new(head: usize, threshold: f32) -> Self {
        Self { head, threshold, told: false }
    }

    /// Class 0 of each head, from all `[heads, classes]` probabilities of one step.
    pub fn silences(probabilities: &[f32], classes: usize) -> impl Iterator<Item = f32> {
        probabilities.chunks_exact(classes.max(1)).map(|head| head[0])
    }

    /// Takes the `[heads, classes]` probabilities of a step: true where a pause begins. False from a model without this
    /// head.
    pub fn push(&mut self, probabilities: &[f32], classes: usize) -> bool {
        let silence = Self::silences(probabilities, classes).nth(self.head);
        let begins = silence.is_some_and(|silence| silence > self.threshold) && !self.told;
        self.told |= begins;
        begins
    }

    /// A word was heard: the next pause is a new one.
    pub fn word(&mut self) {
        self.told = false;
    }
}
