//! What a caller of `/v1/realtime` did wrong.

use serde_json::Value;

/// Characters of a caller's own words that an error repeats.
const REPEATED: usize = 64;

/// Something that the caller did wrong; the session lives on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// For programs.
    pub(super) code: &'static str,
    /// Which field.
    pub(super) param: Option<String>,
    /// For people.
    pub(super) message: String,
}

impl Problem {
    /// A problem of the whole message.
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, param: None, message: message.into() }
    }

    /// A problem of one field.
    pub(super) fn of(code: &'static str, param: &str, message: impl Into<String>) -> Self {
        Self { param: Some(param.to_owned()), ..Self::new(code, message) }
    }

    /// A field that is not there.
    pub(super) fn missing(param: &str, message: &str) -> Self {
        Self::of("missing_required_parameter", param, message)
    }

    /// A field with a value that it cannot have.
    pub(super) fn value(param: &str, found: &Value, expected: &str) -> Self {
        Self::of("invalid_value", param, format!("{param} is {}; expected {expected}", shortened(&found.to_string())))
    }
}

/// The beginning of a caller's own words.
pub(super) fn shortened(words: &str) -> String {
    match words.char_indices().nth(REPEATED) {
        Some((end, _)) => format!("{}...", &words[..end]),
        None => words.to_owned(),
    }
}
