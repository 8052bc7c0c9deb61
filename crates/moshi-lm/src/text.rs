//! From text tokens to words, as they come.
//!
//! A piece that starts with U+2581 starts a word and prints a space first, as the published servers do, also at the very
//! beginning. Silent tokens (padding, end of padding, the initial token) and control pieces print nothing. Byte pieces wait
//! until they are whole UTF-8; what never becomes UTF-8 prints as U+FFFD.
//!
//! ```no_run
//! use moshi_lm::text::{Detokenizer, TextState};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = moshi_lm::LmConfig::moshi_7b();
//! let words = Detokenizer::from_bytes("tokenizer.model", &std::fs::read("tokenizer.model")?, &config)?;
//! let (mut state, mut text) = (TextState::default(), String::new());
//! words.push(&mut state, 1234, &mut text);
//! # Ok(())
//! # }
//! ```

use moshi_checkpoint::config::LmConfig;
use sentencepiece_rs::{SPACE_SYMBOL, SentencePieceModel, SentencePieceProcessor};

/// A tokenizer that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The file is no SentencePiece model.
    #[error("{name}: not a SentencePiece model ({reason}); expected the tokenizer that belongs to the model")]
    Format {
        /// The file.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The tokenizer has another vocabulary than the model.
    #[error(
        "{name}: has {found} pieces, but the model says {expected} text tokens (text_card); \
             it is the tokenizer of another model"
    )]
    Vocabulary {
        /// The file.
        name: String,
        /// Text tokens of the model.
        expected: usize,
        /// Pieces of the tokenizer.
        found: usize,
    },
}

/// What a token prints.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Print {
    Nothing,
    Text(Box<str>),
    Byte(u8),
}

/// The printed form of every text token. Shared by all sessions; their memory is [`TextState`].
#[derive(Debug)]
pub struct Detokenizer {
    prints: Vec<Print>,
}

/// The bytes of a character that is not whole yet. Copy it to fork, make a new one to reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TextState {
    bytes: [u8; 4],
    len: usize,
}

impl Detokenizer {
    /// Reads a SentencePiece model; `name` is for messages.
    ///
    /// # Errors
    /// [`TextError::Format`] when it is something else or damaged, [`TextError::Vocabulary`] when it has another number
    /// of pieces than the model has text tokens.
    pub fn from_bytes(name: &str, bytes: &[u8], config: &LmConfig) -> Result<Self, TextError> {
        let format = |reason: String| TextError::Format { name: name.to_owned(), reason };
        if bytes.is_empty() {
            return Err(format("the file is empty".to_owned()));
        }
        let model = SentencePieceModel::from_slice(bytes).map_err(|e| format(e.to_string()))?;
        let found = model.vocab_size();
        if found != config.text_card {
            return Err(TextError::Vocabulary { name: name.to_owned(), expected: config.text_card, found });
        }
        let silent = [config.existing_text_padding_id as usize, config.existing_text_end_padding_id as usize];
        let processor = SentencePieceProcessor::from_model(model).map_err(|e| format(e.to_string()))?;
        let print = |id| if silent.contains(&id) { Some(Print::Nothing) } else { print(&processor, id) };
        let prints = (0..found).map(|id| print(id).ok_or_else(|| format(format!("piece {id} cannot be printed"))));
        Ok(Self { prints: prints.collect::<Result<_, _>>()? })
    }

    /// Appends what `token` makes printable to `out`. A token that is silent, -1 or not of this vocabulary (the initial
    /// token) appends nothing.
    pub fn push(&self, state: &mut TextState, token: i32, out: &mut String) {
        match usize::try_from(token).ok().and_then(|id| self.prints.get(id)) {
            None | Some(Print::Nothing) => {}
            Some(Print::Byte(byte)) => state.push(*byte, out),
            Some(Print::Text(text)) => {
                state.finish(out);
                out.push_str(text);
            }
        }
    }
}

/// `None` when the model contradicts itself.
fn print(processor: &SentencePieceProcessor, id: usize) -> Option<Print> {
    let (model, piece) = (processor.model(), processor.id_to_piece(id).ok()?);
    if model.is_byte(id) {
        let hex = piece.strip_prefix("<0x")?.strip_suffix('>')?;
        return Some(Print::Byte(u8::from_str_radix(hex, 16).ok()?));
    }
    if model.is_control(id) || model.is_unused(id) {
        return Some(Print::Nothing);
    }
    if model.is_unknown(id) {
        return Some(Print::Text(processor.decode_ids(&[id]).ok()?.into()));
    }
    Some(Print::Text(piece.replace(SPACE_SYMBOL, " ").into()))
}

impl TextState {
    /// Ends the text: what is left of an unfinished character prints as U+FFFD.
    pub fn finish(&mut self, out: &mut String) {
        if self.len > 0 {
            out.push(char::REPLACEMENT_CHARACTER);
            *self = Self::default();
        }
    }

    /// Bytes so far are always the beginning of a character.
    fn push(&mut self, byte: u8, out: &mut String) {
        self.bytes[self.len] = byte;
        self.len += 1;
        match std::str::from_utf8(&self.bytes[..self.len]) {
            Ok(character) => {
                out.push_str(character);
                *self = Self::default();
            }
            Err(error) if error.error_len().is_none() => {} // may still become a character
            Err(_) if self.len == 1 => self.finish(out),
            Err(_) => {
                self.len -= 1;
                self.finish(out);
                self.push(byte, out); // may begin another character
            }
        }
    }
}
