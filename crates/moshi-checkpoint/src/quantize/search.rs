//! How the scales of quantized weights are chosen.

/// How scales are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Search {
    /// The smallest scale that reaches the largest weight of a group.
    Range,
    /// The least squared error among candidates, the range among them: never worse than [`Search::Range`].
    #[default]
    Error,
}
