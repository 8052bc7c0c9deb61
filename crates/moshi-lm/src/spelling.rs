//! From words to text tokens and back: the SentencePiece tokenizer as the rest of the family uses it.
//!
//! [`crate::text`] prints tokens one by one as they are sampled. Here whole words are spelled (synthesis, roles) and whole
//! runs of pieces are read (recognition). Every word is spelled alone, as the published programs do: `spell("it's")` starts
//! with the piece of a space.

use moshi_checkpoint::config::LmConfig;
use sentencepiece_rs::{SentencePieceModel, SentencePieceProcessor};

use crate::text::TextError;

/// The smallest token that the spelling of a word may hold; those below it steer the model.
pub const FIRST_PIECE: i32 = 4;
/// The text token that says: a word begins (`existing_text_end_padding_id`).
pub const NEW_WORD: i32 = 0;
/// The text token in front of the main speaker's turn in synthesis.
pub const MAIN_SPEAKER: i32 = 1;
/// The text token in front of the other speaker's turn in synthesis.
pub const OTHER_SPEAKER: i32 = 2;
/// The end of a text: the same token as [`OTHER_SPEAKER`], which recognition and translation write at the end.
pub const END_OF_TEXT: i32 = 2;
/// The text token that says: nothing here (`existing_text_padding_id`).
pub const PADDING: i32 = 3;
/// No token at all: a zero vector for the model.
pub const NOTHING: i32 = -1;

/// A word that has no spelling.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpellError {
    /// The tokenizer has no piece for a part of the word.
    #[error("{word:?} cannot be spelled: the model's tokenizer has no piece for {part:?}; write it with other letters")]
    Unknown {
        /// The word.
        word: String,
        /// The part without a piece.
        part: String,
    },
    /// A part of the word is spelled with a token that steers the model.
    #[error("{word:?} cannot be spelled: token {token} is reserved (pieces of words start at {FIRST_PIECE})")]
    Reserved {
        /// The word.
        word: String,
        /// The token.
        token: i32,
    },
    /// The tokenizer gave up.
    #[error("{word:?} cannot be spelled: {reason}")]
    Tokenizer {
        /// The word.
        word: String,
        /// Why.
        reason: String,
    },
}

/// The tokenizer of a model, to spell and to read. Shared by all sessions; it has no memory.
#[derive(Debug)]
pub struct Speller {
    processor: SentencePieceProcessor,
}

impl Speller {
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
        let (found, expected) = (model.vocab_size(), config.text_card);
        if found != expected {
            return Err(TextError::Vocabulary { name: name.to_owned(), expected, found });
        }
        let processor = SentencePieceProcessor::from_model(model).map_err(|e| format(e.to_string()))?;
        Ok(Self { processor })
    }

    /// The pieces of `text`, which may be several words; empty where nothing of it is printable.
    ///
    /// # Errors
    /// [`SpellError`] when a part of it has no piece of its own.
    pub fn spell(&self, text: &str) -> Result<Vec<i32>, SpellError> {
        let failed =
            |e: sentencepiece_rs::Error| SpellError::Tokenizer { word: text.to_owned(), reason: e.to_string() };
        let ids = self.processor.encode_to_ids(text).map_err(failed)?;
        if let Some(place) = ids.iter().position(|&id| self.processor.model().is_unknown(id)) {
            let parts = self.processor.encode(text).map_err(failed)?;
            let part = parts.get(place).map_or(text, String::as_str).to_owned();
            return Err(SpellError::Unknown { word: text.to_owned(), part });
        }
        let token = |id: usize| match i32::try_from(id) {
            Ok(token) if token >= FIRST_PIECE => Ok(token),
            other => Err(SpellError::Reserved { word: text.to_owned(), token: other.unwrap_or(i32::MAX) }),
        };
        ids.into_iter().map(token).collect()
    }

    /// What a run of tokens says, without a space in front. Tokens that are no pieces ([`NEW_WORD`], [`PADDING`], the
    /// speakers', -1 and everything outside the vocabulary) are left out.
    pub fn read(&self, tokens: impl IntoIterator<Item = i32>) -> String {
        let vocabulary = self.processor.model().vocab_size();
        let pieces = tokens.into_iter().filter(|&token| token >= FIRST_PIECE).map(|token| token as usize);
        let pieces: Vec<usize> = pieces.filter(|&id| id < vocabulary).collect();
        self.processor.decode_ids(&pieces).unwrap_or_default()
    }

    /// How many pieces spell `word`, known to the tokenizer or not.
    pub fn pieces(&self, word: &str) -> usize {
        self.processor.encode_to_ids(word).map_or(0, |ids| ids.len())
    }
}
