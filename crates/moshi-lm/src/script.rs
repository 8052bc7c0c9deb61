//! The script of a synthesis: what is said, by whom, with which pauses, as entries for the text rule.
//!
//! A text is a list of turns, the main speaker's and the other's by turns. It is cleaned (’ becomes ', a colon a space,
//! parentheses go) and split at white space and at `<break time="0.5s"/>`, which may touch a word. Each word is spelled
//! alone; the first word of a speaker has the speaker's token in front. The rules are those of `script_to_entries` in
//! kyutai-labs/moshi (`moshi/models/tts.py`); what it would speak by mistake (tags that are not closed, times that are no
//! times) is an error here.
//!
//! Text may come in pieces of any length: a word is complete at white space, at a break, at another speaker or at the
//! end, and the entries are the same for every way to cut the text.
//!
//! ```no_run
//! use std::sync::Arc;
//! use moshi_lm::script::{Entry, Script, ScriptRules, Speaker};
//! use moshi_lm::spelling::Speller;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let config = moshi_lm::LmConfig::moshi_7b();
//! let speller = Arc::new(Speller::from_bytes("tokenizer.model", &std::fs::read("tokenizer.model")?, &config)?);
//! let mut script = Script::new(speller, ScriptRules::new(12.5));
//! let mut entries: Vec<Entry> = Vec::new();
//! script.push("Hello <break time=\"0.4s\"/> wor", Speaker::Main, &mut entries)?; // "Hello" and the pause
//! script.push("ld. ", Speaker::Main, &mut entries)?; // "world."
//! script.finish(&mut entries)?;
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

use crate::spelling::{MAIN_SPEAKER, OTHER_SPEAKER, SpellError, Speller};

/// Longest word, in characters: more is no word but a text without spaces.
pub const MAX_WORD: usize = 400;
/// Longest break tag, in characters.
const MAX_TAG: usize = 64;
/// How a break begins.
const BREAK: &str = "<break";

/// One thing to say: a word, or a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The word as it is written after cleaning; empty for a pause.
    pub text: String,
    /// The word's text tokens, the speaker's token first where there is one; none for a pause.
    pub tokens: Vec<i32>,
    /// Steps in which no further word may begin, counted from the step that takes the entry.
    pub padding: u32,
}

impl Entry {
    /// Whether nothing is said.
    pub fn is_pause(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speaker {
    /// The speaker of the first turn, the third, and so on.
    #[default]
    Main,
    /// The speaker of the second turn, the fourth, and so on.
    Other,
}

impl Speaker {
    /// The speaker of turn number `turn`, from 0.
    pub fn of_turn(turn: usize) -> Self {
        if turn.is_multiple_of(2) { Self::Main } else { Self::Other }
    }

    /// The text token in front of this speaker's words.
    pub fn token(self) -> i32 {
        match self {
            Self::Main => MAIN_SPEAKER,
            Self::Other => OTHER_SPEAKER,
        }
    }
}

/// What a model wants of a script.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScriptRules {
    /// Frames per second: what a pause is counted in.
    pub frame_rate: f64,
    /// Steps between two words beyond the pieces of the first; 0 lets the next word begin at once. All published
    /// programs use 1.
    pub padding_between: u32,
    /// Whether words of a new speaker begin with the speaker's token: true for models with voice conditions.
    pub speaker_tokens: bool,
    /// Longest break, in seconds. The published server cuts longer ones to this.
    pub max_break: f64,
}

impl ScriptRules {
    /// The rules of the published programs for a model with voice conditions.
    pub fn new(frame_rate: f64) -> Self {
        Self { frame_rate, padding_between: 1, speaker_tokens: true, max_break: 10.0 }
    }
}

/// A text that cannot be said.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// A word has no spelling.
    #[error(transparent)]
    Spelling(#[from] SpellError),
    /// More than [`MAX_WORD`] characters without white space.
    #[error("a word of more than {MAX_WORD} characters, starting with {start:?}: words are parted by white space")]
    Word {
        /// Its first characters.
        start: String,
    },
    /// A break that is written in another way.
    #[error("{found:?} is no break: expected <break time=\"0.5s\"/>")]
    Break {
        /// What was written.
        found: String,
    },
    /// A break whose time cannot be kept.
    #[error("{found:?}: a break lasts 0 to {max} seconds; write several for a longer one")]
    BreakTime {
        /// What was written.
        found: String,
        /// The longest, in seconds.
        max: f64,
    },
}

/// A text on its way to entries. A copy goes on independently.
#[derive(Debug, Clone)]
pub struct Script {
    speller: Arc<Speller>,
    rules: ScriptRules,
    /// Who speaks the text that comes.
    speaker: Speaker,
    /// Whose token was given last.
    named: Option<Speaker>,
    /// The beginning of a word, or of a break.
    pending: String,
    /// Whether `pending` is a break that is not closed yet.
    in_break: bool,
}

impl Script {
    /// A script before its first word.
    pub fn new(speller: Arc<Speller>, rules: ScriptRules) -> Self {
        let (speaker, pending) = (Speaker::Main, String::new());
        Self { speller, rules, speaker, named: None, pending, in_break: false }
    }

    /// The entries of a whole text. Turns are [`Speaker::Main`]'s and [`Speaker::Other`]'s by turns; with an empty first
    /// turn the other one begins.
    ///
    /// # Errors
    /// [`ScriptError`] of the first thing that cannot be said.
    pub fn entries<T: AsRef<str>>(
        speller: Arc<Speller>,
        rules: ScriptRules,
        turns: &[T],
    ) -> Result<Vec<Entry>, ScriptError> {
        let (mut script, mut entries) = (Self::new(speller, rules), Vec::new());
        for (i, turn) in turns.iter().enumerate() {
            script.push(turn.as_ref(), Speaker::of_turn(i), &mut entries)?;
            script.finish(&mut entries)?;
        }
        Ok(entries)
    }

    /// Adds text and appends the entries that it completes to `out`. A change of speaker ends the word before it.
    ///
    /// # Errors
    /// [`ScriptError`]: entries before the fault are in `out`, the rest of `text` is dropped, and the script can go on.
    pub fn push(&mut self, text: &str, speaker: Speaker, out: &mut Vec<Entry>) -> Result<(), ScriptError> {
        if speaker != self.speaker {
            let ended = self.finish(out);
            self.speaker = speaker;
            ended?;
        }
        for letter in text.chars().filter_map(clean) {
            if self.in_break {
                self.push_break(letter, out)?;
            } else {
                self.push_word(letter, out)?;
            }
        }
        Ok(())
    }

    /// Ends the word at the end of a turn or of the text. More turns may follow.
    ///
    /// # Errors
    /// [`ScriptError`] as for [`Self::push`]; a break that is not closed.
    pub fn finish(&mut self, out: &mut Vec<Entry>) -> Result<(), ScriptError> {
        let open = std::mem::take(&mut self.in_break) || self.pending.ends_with(BREAK);
        if !open {
            return self.complete_word(out);
        }
        let found = std::mem::take(&mut self.pending);
        let found = found.rfind(BREAK).map_or(found.as_str(), |start| &found[start..]).to_owned();
        Err(ScriptError::Break { found })
    }

    fn push_word(&mut self, letter: char, out: &mut Vec<Entry>) -> Result<(), ScriptError> {
        let ends = is_space(letter);
        if (ends || matches!(letter, '/' | '>')) && self.pending.ends_with(BREAK) {
            self.pending.truncate(self.pending.len() - BREAK.len());
            let before = self.complete_word(out);
            self.pending = BREAK.to_owned();
            self.in_break = true;
            return match before {
                Ok(()) => self.push_break(letter, out),
                Err(error) => {
                    self.forget();
                    Err(error)
                }
            };
        }
        if ends {
            return self.complete_word(out);
        }
        self.pending.push(letter);
        // Bytes first: counting characters of every word would cost more than it finds.
        if self.pending.len() > MAX_WORD && self.pending.chars().count() > MAX_WORD {
            let start = self.pending.chars().take(20).collect();
            self.forget();
            return Err(ScriptError::Word { start });
        }
        Ok(())
    }

    fn push_break(&mut self, letter: char, out: &mut Vec<Entry>) -> Result<(), ScriptError> {
        self.pending.push(letter);
        if letter == '>' {
            let tag = std::mem::take(&mut self.pending);
            self.in_break = false;
            let padding = self.pause(&tag)?;
            out.push(Entry { text: String::new(), tokens: Vec::new(), padding });
        } else if self.pending.len() > MAX_TAG {
            let found = std::mem::take(&mut self.pending);
            self.in_break = false;
            return Err(ScriptError::Break { found });
        }
        Ok(())
    }

    /// Length of a break in frames, ties to even.
    fn pause(&self, tag: &str) -> Result<u32, ScriptError> {
        let time = break_time(tag).ok_or_else(|| ScriptError::Break { found: tag.to_owned() })?;
        let max = self.rules.max_break;
        let seconds = time.parse::<f64>().map_err(|_| ScriptError::Break { found: tag.to_owned() })?;
        if (0.0..=max).contains(&seconds) {
            Ok((seconds * self.rules.frame_rate).round_ties_even() as u32)
        } else {
            Err(ScriptError::BreakTime { found: tag.to_owned(), max })
        }
    }

    fn complete_word(&mut self, out: &mut Vec<Entry>) -> Result<(), ScriptError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let text = std::mem::take(&mut self.pending);
        let mut tokens = self.speller.spell(&text)?;
        if tokens.is_empty() {
            return Ok(()); // nothing printable: no word
        }
        if self.rules.speaker_tokens && self.named != Some(self.speaker) {
            self.named = Some(self.speaker);
            tokens.insert(0, self.speaker.token());
        }
        let padding = match self.rules.padding_between {
            0 => 0,
            between => between.saturating_add(tokens.len() as u32 - 1),
        };
        out.push(Entry { text, tokens, padding });
        Ok(())
    }

    /// Drops a word or break that is not complete.
    pub fn forget(&mut self) {
        self.pending.clear();
        self.in_break = false;
    }
}

/// What becomes of a character before anything else is looked at; `None` where it is dropped.
fn clean(letter: char) -> Option<char> {
    match letter {
        '’' => Some('\''),
        ':' => Some(' '),
        '(' | ')' => None,
        other => Some(other),
    }
}

/// White space as Python's `\s` has it.
fn is_space(letter: char) -> bool {
    letter.is_whitespace() || ('\x1c'..='\x1f').contains(&letter)
}

/// The number in `<break time="0.5s"/>`; `None` where it is written otherwise.
fn break_time(tag: &str) -> Option<&str> {
    let inside = tag.strip_prefix(BREAK)?.strip_suffix('>')?;
    let inside = inside.strip_suffix('/').unwrap_or(inside).trim_matches(is_space);
    let time = inside.strip_prefix("time=\"")?.strip_suffix("s\"")?;
    let digits = time.strip_prefix('-').unwrap_or(time);
    let plain =
        digits.starts_with(|c: char| c.is_ascii_digit()) && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    plain.then_some(time)
}
