//! What a session is told beside its streams, under the name of one of the model's conditions.

use std::sync::Arc;

/// The value of a condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Nothing, also where sessions of the model are told something as a rule.
    NotGiven,
    /// One of the texts that the condition knows.
    Text(String),
    /// Vectors in time: voices.
    Vectors(Arc<Vectors>),
}

/// Vectors in time, of which some places may be empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vectors {
    /// Width of a vector.
    pub width: usize,
    /// `[places, width]`; an empty place holds zeros.
    pub values: Vec<f32>,
    /// `[places]`: whether something stands there.
    pub given: Vec<bool>,
}

impl From<&str> for Condition {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Condition {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Arc<Vectors>> for Condition {
    fn from(vectors: Arc<Vectors>) -> Self {
        Self::Vectors(vectors)
    }
}
