//! Words that a session is given to say, on their way to its row.

use std::fmt::Debug;

use crate::{EngineError, Forced, SessionSpec};

/// One thing to say: a word, or a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The word as it is written; empty for a pause.
    pub text: String,
    /// The word's text tokens; none for a pause.
    pub tokens: Vec<i32>,
    /// Steps in which no further word may begin, counted from the step that takes the entry.
    pub padding: u32,
}

/// Text to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words<'a> {
    /// The text, with `<break time="0.5s"/>` for a pause. In a session that reads aloud a word may come in pieces; in a
    /// dialogue each text is whole.
    pub text: &'a str,
    /// Who says it, from 0, where a model reads aloud with several voices.
    pub speaker: usize,
    /// When a dialogue says it.
    pub when: When,
}

impl<'a> Words<'a> {
    /// Text of the first speaker, said at once.
    pub fn new(text: &'a str) -> Self {
        Self { text, speaker: 0, when: When::Now }
    }
}

/// When a dialogue says what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// From the next step on, whatever it says at the moment.
    #[default]
    Now,
    /// Once it has nothing of its own to say.
    Quiet,
}

/// Makes words of a session's text, piece by piece. It knows of no row, so that text that cannot be said is refused where it
/// is given.
pub trait Script: Send + Sync + Debug {
    /// Adds text, and appends what it completes to `out`.
    ///
    /// # Errors
    /// [`EngineError::Input`] for the first thing that cannot be said.
    fn push(&mut self, text: &str, speaker: usize, out: &mut Vec<Entry>) -> Result<(), EngineError>;
    /// Ends the last word.
    ///
    /// # Errors
    /// As [`Script::push`].
    fn finish(&mut self, out: &mut Vec<Entry>) -> Result<(), EngineError>;
    /// Drops a word or break that is not complete.
    fn forget(&mut self);
    /// One that goes on from here independently.
    fn copy(&self) -> Box<dyn Script>;
}

/// What a model takes beside what it hears; asked where something is given, before anything of it is taken.
pub trait Steering: Send + Sync {
    /// Whether the model reads aloud: its sessions hear nothing, and step as long as they have words to say.
    fn reads_aloud(&self) -> bool;
    /// What makes words of a session's text.
    fn script(&self, spec: &SessionSpec) -> Box<dyn Script>;
    /// How wide vectors are that can be added to the input of a step.
    fn width(&self) -> usize;
    /// Checks what a frame must say, or several, one after the other. Returns how many cells of each there are.
    ///
    /// # Errors
    /// [`EngineError::Input`] for no cells, for more than a frame that are no whole frames, and for tokens that streams do not
    /// have.
    fn check_forced(&self, forced: &[Forced]) -> Result<usize, EngineError>;
    /// Checks what is to be added to the inputs of steps, one after the other.
    ///
    /// # Errors
    /// [`EngineError::Input`] for no whole vectors of the model's width, and for values that are not finite.
    fn check_added(&self, added: &[f32]) -> Result<(), EngineError>;
}
