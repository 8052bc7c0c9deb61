//! The processor: kernels (products, attention over a ring, norms, rope, convolutions, nearest code), and [`Cpu`], the
//! executor on them.
//!
//! Kernels are safe functions over slices; the instruction set is chosen at run time, and each kernel has a scalar twin
//! that gives the same bits. This is the only crate of the workspace that may use `unsafe`.

pub mod arithmetic;
pub mod attention;
pub mod bandwidth;
pub mod codebook;
pub mod cores;
pub mod embedding;
mod executor;
pub mod fixed;
pub mod integer;
pub mod isa;
mod math;
pub mod memory;
mod pool;
pub mod product;
pub mod rope;
pub mod rowwise;
mod simd;
mod table;

pub use executor::{Cpu, LowRank, Matrix, Rows, Sampler, Tables, Window};

/// What a kernel was given that it cannot work on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A weight is none.
    #[error(transparent)]
    Tensor(#[from] moshi_tensor::Error),
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
    /// This machine does not have an instruction set.
    #[error("this machine has no {isa}; choose another instruction set, or leave the choice to the program")]
    Isa {
        /// Which instruction set.
        isa: isa::Isa,
    },
    /// An index is past the end of a table.
    #[error("entry {found} of a table of {entries}")]
    Entry {
        /// Entries of the table.
        entries: usize,
        /// The index given.
        found: usize,
    },
    /// A row does not exist.
    #[error("row {found} of {rows}")]
    Row {
        /// How many rows there are.
        rows: usize,
        /// The row given.
        found: usize,
    },
}

impl KernelError {
    /// Fails unless a slice has exactly the expected number of values.
    fn length(what: &'static str, expected: usize, found: usize) -> Result<(), Self> {
        if found == expected { Ok(()) } else { Err(Self::Length { what, expected, found }) }
    }

    /// Fails if a slice has fewer values than needed.
    fn at_least(what: &'static str, expected: usize, found: usize) -> Result<(), Self> {
        if found >= expected { Ok(()) } else { Err(Self::Length { what, expected, found }) }
    }

    /// Fails unless a row exists.
    fn row(found: usize, rows: usize) -> Result<(), Self> {
        if found < rows { Ok(()) } else { Err(Self::Row { rows, found }) }
    }
}

impl From<KernelError> for moshi_nn::Error {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::Tensor(error) => error.into(),
            other => Self::device(other),
        }
    }
}
