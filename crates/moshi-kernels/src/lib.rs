//! Kernels of rustymoshi: products, attention over a ring, norms, rope, convolutions, nearest code, sampling.
//!
//! Safe functions over slices; the instruction set is chosen at run time, and each kernel has a scalar twin. This is the
//! only crate of the workspace that may use `unsafe`.

pub mod philox;
pub mod sample;
pub mod weight;

/// What a kernel was given that it cannot work on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A slice has the wrong number of values.
    #[error("{what}: expected {expected} values, found {found}")]
    Length {
        /// Which slice.
        what: &'static str,
        /// Number of values needed.
        expected: usize,
        /// Number of values given.
        found: usize,
    },
    /// A size is outside what the kernel supports.
    #[error("{what}: {found} is not supported; {expected}")]
    Unsupported {
        /// Which size.
        what: &'static str,
        /// The value given.
        found: usize,
        /// What would be supported, as a clause.
        expected: &'static str,
    },
    /// A value is outside its range, or is not a number.
    #[error("{what}: found {found}, expected {expected}")]
    Value {
        /// Which value.
        what: &'static str,
        /// The value given.
        found: String,
        /// What would be right, as a clause.
        expected: &'static str,
    },
}
