//! What a model makes of what it hears, beside an answer.

/// What a row's step recognised.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heard {
    /// Words as they begin and end; only of a model for recognition.
    pub words: Vec<WordEvent>,
    /// Whether the speaker has finished, as the model thinks: told once, until the next word.
    pub pause: bool,
    /// The probabilities of the model's extra heads, `[heads, classes]`; empty without any. Class 0 is silence.
    pub heads: Vec<f32>,
}

/// Something about a word. Times are seconds: from the beginning of the caller's sound where it was recognised, from that of
/// the session's own where it is read aloud.
#[derive(Debug, Clone, PartialEq)]
pub enum WordEvent {
    /// A word was understood, or will be heard.
    Started {
        /// The word, without spaces around it.
        text: String,
        /// When it starts.
        start: f64,
    },
    /// The last word that started has ended.
    Ended {
        /// When it ends.
        stop: f64,
    },
}
