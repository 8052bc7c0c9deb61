//! What the model says, cut into responses: one begins with its voice and ends with its silence.
//!
//! A full-duplex model makes a frame every 80 ms whether it speaks or not; this wire knows utterances. Silence between
//! them is not sent.

use crate::call::is_quiet;

/// Frames of silence that end a response: 0.64 s.
const PAUSE: usize = 8;
/// Frames that a response which was asked for waits for the voice: 3.2 s.
const PATIENCE: usize = 40;
/// Bytes of words that wait for a voice at most; more begin a response by themselves.
const UNVOICED_WORDS: usize = 256;

/// Something to tell the caller.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Utterance {
    /// A response begins.
    Begin,
    /// Samples at 24 kHz.
    Voice(Vec<f32>),
    /// Words.
    Words(String),
    /// The response ends.
    End,
}

/// Cuts frames and words into responses.
#[derive(Debug)]
pub(super) struct ResponseSegmenter {
    state: State,
    /// Words that came before the voice.
    words: String,
    /// The latest frame that was not sent: the beginning of a word may be in it.
    held: Option<Vec<f32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Silent,
    /// A response is open, and ends after so many more quiet frames.
    Open {
        left: usize,
    },
    /// A response was cancelled, and its voice has not ended.
    Muted {
        left: usize,
    },
}

impl ResponseSegmenter {
    /// Silent.
    pub(super) fn new() -> Self {
        Self { state: State::Silent, words: String::new(), held: None }
    }

    /// Whether a response is open.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// A frame of the model.
    pub(super) fn voice(&mut self, pcm: Vec<f32>, tell: &mut Vec<Utterance>) {
        let quiet = is_quiet(pcm.iter().copied());
        match (self.state, quiet) {
            (State::Silent, true) => self.held = Some(pcm),
            (State::Silent, false) => {
                self.open(PAUSE, tell);
                tell.push(Utterance::Voice(pcm));
            }
            (State::Open { .. }, false) => {
                self.state = State::Open { left: PAUSE };
                tell.push(Utterance::Voice(pcm));
            }
            (State::Open { left }, true) => {
                tell.push(Utterance::Voice(pcm));
                self.state = State::Open { left: left.saturating_sub(1) };
                if left <= 1 {
                    self.state = State::Silent;
                    tell.push(Utterance::End);
                }
            }
            (State::Muted { .. }, false) => self.state = State::Muted { left: PAUSE },
            (State::Muted { left }, true) if left > 1 => self.state = State::Muted { left: left - 1 },
            (State::Muted { .. }, true) => self.state = State::Silent,
        }
    }

    /// Words of the model.
    pub(super) fn say(&mut self, words: String, tell: &mut Vec<Utterance>) {
        match self.state {
            State::Open { .. } => tell.push(Utterance::Words(words)),
            State::Muted { .. } => {}
            State::Silent => {
                self.words.push_str(&words);
                if self.words.len() > UNVOICED_WORDS {
                    self.open(PAUSE, tell);
                }
            }
        }
    }

    /// Begins a response although the model is silent; false when one is open.
    pub(super) fn create(&mut self, tell: &mut Vec<Utterance>) -> bool {
        if self.is_open() {
            return false;
        }
        self.held = None;
        self.open(PATIENCE, tell);
        true
    }

    /// Ends the open response; what the model goes on to say is not sent until it has paused. False when none is open.
    pub(super) fn cancel(&mut self) -> bool {
        let open = self.is_open();
        if open {
            self.state = State::Muted { left: PAUSE };
        }
        open
    }

    /// Ends the open response, if any; what the model goes on to say belongs to the next.
    pub(super) fn close(&mut self, tell: &mut Vec<Utterance>) {
        if self.is_open() {
            self.state = State::Silent;
            tell.push(Utterance::End);
        }
    }

    fn open(&mut self, left: usize, tell: &mut Vec<Utterance>) {
        self.state = State::Open { left };
        tell.push(Utterance::Begin);
        if !self.words.is_empty() {
            tell.push(Utterance::Words(std::mem::take(&mut self.words)));
        }
        tell.extend(self.held.take().map(Utterance::Voice));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B, V, W and E for what is told.
    fn letters(tell: &[Utterance]) -> String {
        let letter = |utterance: &Utterance| match utterance {
            Utterance::Begin => 'B',
            Utterance::Voice(_) => 'V',
            Utterance::Words(_) => 'W',
            Utterance::End => 'E',
        };
        tell.iter().map(letter).collect()
    }

    fn frames(segmenter: &mut ResponseSegmenter, level: f32, count: usize) -> String {
        let mut tell = Vec::new();
        for _ in 0..count {
            segmenter.voice(vec![level; 1_920], &mut tell);
        }
        letters(&tell)
    }

    #[test]
    fn a_response_is_a_voice_with_its_words_and_ends_with_a_pause() {
        let (mut segmenter, mut tell) = (ResponseSegmenter::new(), Vec::new());
        assert_eq!(frames(&mut segmenter, 0.0, 30), "", "silence is not sent");
        segmenter.say(" Hel".to_owned(), &mut tell);
        assert!(tell.is_empty(), "words wait for the voice");
        assert_eq!(frames(&mut segmenter, 0.2, 2), "BWVVV", "with the frame before the voice");
        segmenter.say("lo".to_owned(), &mut tell);
        assert_eq!(letters(&tell), "W");
        assert_eq!(frames(&mut segmenter, 0.0, 7), "VVVVVVV");
        assert_eq!(frames(&mut segmenter, 0.2, 1), "V", "a short pause belongs to it");
        assert_eq!(frames(&mut segmenter, 0.0, 9), "VVVVVVVVE");
        assert!(!segmenter.is_open());
    }

    #[test]
    fn a_cancelled_response_stays_silent_until_the_model_has_paused() {
        let mut segmenter = ResponseSegmenter::new();
        assert!(!segmenter.cancel());
        assert_eq!(frames(&mut segmenter, 0.2, 2), "BVV");
        assert!(segmenter.cancel() && !segmenter.cancel());
        assert_eq!(frames(&mut segmenter, 0.2, 20), "");
        assert_eq!(frames(&mut segmenter, 0.0, 8), "");
        assert_eq!(frames(&mut segmenter, 0.2, 1), "BV");
    }

    #[test]
    fn a_response_can_give_way_to_another_without_a_pause() {
        let (mut segmenter, mut tell) = (ResponseSegmenter::new(), Vec::new());
        segmenter.close(&mut tell);
        assert_eq!(frames(&mut segmenter, 0.2, 2), "BVV");
        segmenter.close(&mut tell);
        assert!(segmenter.create(&mut tell));
        assert_eq!(letters(&tell), "EB");
        assert_eq!(frames(&mut segmenter, 0.2, 2), "VV");
    }

    #[test]
    fn a_response_can_be_asked_for_and_waits_a_while_for_the_voice() {
        let (mut segmenter, mut tell) = (ResponseSegmenter::new(), Vec::new());
        assert!(segmenter.create(&mut tell) && !segmenter.create(&mut tell));
        assert_eq!(letters(&tell), "B");
        assert_eq!(frames(&mut segmenter, 0.0, 41), "V".repeat(40) + "E");
        for _ in 0..100 {
            segmenter.say(" words".to_owned(), &mut tell);
        }
        assert_eq!(letters(&tell)[..3], *"BBW", "words without a voice are not kept for ever");
    }
}
