//! What was said, as text and as words with times.

/// A word and when it was said, in seconds from the beginning of the sound.
#[derive(Debug, Clone, PartialEq)]
pub struct TranscriptWord {
    /// The word, without spaces around it.
    pub text: String,
    /// When it starts.
    pub start: f64,
    /// When it ends.
    pub stop: f64,
}

/// What a whole recording says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transcript {
    /// The text.
    pub text: String,
    /// Its words, in order.
    pub words: Vec<TranscriptWord>,
}

/// What a piece of a recording brought. Text comes as it is written; a word comes when it is over, with both of its times.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Understood {
    /// Text that was written, with a space before each word.
    pub text: String,
    /// Words that were completed.
    pub words: Vec<TranscriptWord>,
    /// Whether the speaker finished within the piece, as the model thinks: told once, until the next word.
    pub pause: bool,
    /// The text token of each step.
    pub tokens: Vec<i32>,
    /// The probabilities of the model's extra heads, `[steps, heads, classes]`; empty where it has none.
    pub heads: Vec<f32>,
}

impl Transcript {
    /// Adds what the next piece brought.
    pub fn add(&mut self, piece: Understood) {
        let text = if self.text.is_empty() { piece.text.trim_start() } else { &piece.text };
        self.text.push_str(text);
        self.words.extend(piece.words);
    }
}
