//! The [`Backend`] trait and the streaming layers written once on top of it. Executors are crates of their own.

mod adapted;
pub mod backend;
pub mod fault;
mod laid_out;
pub mod layers;
mod low_rank;
pub mod weights;

pub use adapted::Adapted;
pub use backend::{Backend, Precision};
pub use fault::{Fault, FaultKind};
pub use laid_out::LaidOut;
pub use low_rank::LowRankPair;
pub use moshi_tensor::weight::{HostWeight, WeightData};
pub use weights::{At, Rounded, WeightSource};

/// What can go wrong in an operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A buffer is too short, or two shapes do not fit.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// Which operand.
        what: &'static str,
        /// The size needed.
        expected: usize,
        /// The size given.
        found: usize,
    },
    /// A weight or a sampling parameter is none.
    #[error(transparent)]
    Tensor(#[from] moshi_tensor::Error),
    /// The executor failed, or refused its input.
    #[error(transparent)]
    Device(Box<dyn std::error::Error + Send + Sync>),
    /// A tensor could not be had from its [`WeightSource`].
    #[error(transparent)]
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// A configuration that no layer can be built from.
    #[error("{what}: {found} is not supported; {expected}")]
    Config {
        /// Which setting.
        what: &'static str,
        /// The value given.
        found: String,
        /// What would be supported, as a clause.
        expected: &'static str,
    },
}

/// Result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;
