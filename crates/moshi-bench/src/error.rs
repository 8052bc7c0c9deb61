//! Why something could not be measured, compared or made.

use std::path::PathBuf;

/// What came in between.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model could not be made or stepped.
    #[error(transparent)]
    Engine(#[from] moshi_engine::EngineError),
    /// The language model could not.
    #[error(transparent)]
    Lm(#[from] moshi_lm::LmError),
    /// The codec could not.
    #[error(transparent)]
    Mimi(#[from] mimi::Error),
    /// Files of a checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] moshi_checkpoint::Error),
    /// A row's data were damaged in a step.
    #[error("the model failed: {0}")]
    Model(String),
    /// The processor does not have this instruction set.
    #[error("instruction set {name:?}: this machine has {available}")]
    Isa {
        /// What was asked for.
        name: String,
        /// What there is.
        available: String,
    },
    /// The machine would run out of memory.
    #[error(
        "{what} needs about {:.1} GB of memory, {:.1} GB are free; choose a smaller shape or a narrower format",
        *needed as f64 / 1e9,
        *free as f64 / 1e9
    )]
    Memory {
        /// The model.
        what: String,
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// More frames than can be compared layer by layer.
    #[error("{found} frames; at most {most} are compared layer by layer")]
    Frames {
        /// Asked for.
        found: usize,
        /// Allowed.
        most: usize,
    },
    /// A file or folder cannot be read or made.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What was tried, as a verb.
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
