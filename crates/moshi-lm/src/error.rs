//! What can go wrong in the language model.

use crate::delay::DelayError;

/// Error of the language model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LmError {
    /// A layer, the executor or the source of the weights failed.
    #[error(transparent)]
    Nn(#[from] moshi_nn::Error),
    /// A row's tokens do not fit its streams.
    #[error(transparent)]
    Delay(#[from] DelayError),
    /// A token or code that the model has no embedding for.
    #[error(
        "stream {stream}: {found} is not one of its tokens, which are 0 to {last} (-1 stands for \"nothing here\")"
    )]
    Token {
        /// Which stream: 0 is text.
        stream: usize,
        /// The value given.
        found: i32,
        /// The last valid token.
        last: usize,
    },
    /// Codes that are not `[1 + n_q, T]`.
    #[error("codes: expected [{streams}, T] with at least one time step, found {found} values for {steps} steps")]
    Codes {
        /// Streams of the model, text included.
        streams: usize,
        /// Time steps said to be there.
        steps: usize,
        /// Number of values.
        found: usize,
    },
    /// A row that the state does not have, or that is named twice in a step.
    #[error("row {row}: the state has rows 0 to {}, and a step takes each at most once", .rows.saturating_sub(1))]
    Row {
        /// The row named.
        row: usize,
        /// Rows of the state.
        rows: usize,
    },
    /// A prompt in one piece of which something is not known.
    #[error("step {step} of the prompt leaves stream {stream} to the model; run it as an ordinary step")]
    Unforced {
        /// Which step of those given.
        step: usize,
        /// Which stream: 0 is text.
        stream: usize,
    },
    /// An adapter that the model was not loaded with.
    #[error("adapter {index}: the model was loaded with {count} of them, numbered from 0")]
    Adapter {
        /// The adapter named.
        index: usize,
        /// Adapters of the model.
        count: usize,
    },
    /// A value that a condition cannot have.
    #[error("condition {name:?}: found {found}, expected {expected}")]
    Condition {
        /// Which condition.
        name: String,
        /// What was given.
        found: String,
        /// What it takes.
        expected: String,
    },
    /// A number of codebooks that the model does not write.
    #[error("codebooks: found {found}, expected 1 to {most}")]
    Codebooks {
        /// The number asked for.
        found: usize,
        /// How many the model writes.
        most: usize,
    },
    /// Two rows that cannot be a pair.
    #[error(
        "guidance of row {row} by row {null_row}: found {found}, expected two rows at their beginning, in no other pair, \
         and a finite coefficient"
    )]
    Guidance {
        /// The guided row.
        row: usize,
        /// The row beside it.
        null_row: usize,
        /// What is wrong.
        found: String,
    },
    /// A configuration that asks for something this model does not do.
    #[error("config.json: {key} = {found} is not supported; {expected}")]
    Unsupported {
        /// Which setting.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would be supported, as a clause.
        expected: &'static str,
    },
}

/// Result of the language model.
pub type Result<T, E = LmError> = std::result::Result<T, E>;
