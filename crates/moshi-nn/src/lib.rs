//! The [`Backend`] trait, its executors, and the streaming layers written once on top of it.

pub mod backend;
pub mod executors;
pub mod fault;
pub mod layers;
pub mod weights;

pub use backend::Backend;
pub use fault::{Fault, FaultKind};
pub use moshi_kernels::weight::{HostWeight, WeightData};
pub use weights::{At, LowRankPair, WeightSource};

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
    /// A kernel refused its input.
    #[error(transparent)]
    Kernel(#[from] moshi_kernels::KernelError),
    /// The candle executor failed.
    #[error("candle: {0}")]
    Candle(#[from] candle_core::Error),
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
