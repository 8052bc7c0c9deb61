//! The [`Backend`] trait, its executors, and the streaming layers written once on top of it.

pub mod backend;

pub use backend::Backend;
pub use moshi_kernels::weight::{HostWeight, WeightData};

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
}

/// Result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;
