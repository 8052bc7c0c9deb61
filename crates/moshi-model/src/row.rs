//! What a row is at the moment, beside the memory of codec and language model.

use moshi_lm::text::TextState;
use moshi_lm::translation::Translation;

use crate::kept::Key;
use crate::priming::Priming;
use crate::reading::Reading;
use crate::recognition::Listening;
use crate::saying::Saying;

/// One row.
#[derive(Clone, Default)]
pub(crate) struct Row {
    pub(crate) text: TextState,
    /// Where the model recognises.
    pub(crate) listening: Option<Listening>,
    /// Where the model translates.
    pub(crate) translating: Option<Translation>,
    /// Where the model reads aloud.
    pub(crate) reading: Option<Reading>,
    /// Words that a dialogue was given.
    pub(crate) saying: Saying,
    /// It heard codes last: it is answered in codes.
    pub(crate) by_codes: bool,
    /// Its codes are told beside the sound.
    pub(crate) tells_codes: bool,
    /// Text tokens that are told.
    pub(crate) watched: Vec<i32>,
    pub(crate) priming: Option<Priming>,
    /// By what its prompt is kept once it has run.
    pub(crate) kept_as: Option<Key>,
    /// Whether a second row runs beside it.
    pub(crate) guided: bool,
}
