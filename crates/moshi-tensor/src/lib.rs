//! What every executor, every layer and the checkpoint reader speak of: weights in the number formats that files hold
//! ([`weight`]), how a token is drawn ([`sample`], with [`likelihood`] and the random words of [`philox`]), and how a
//! processor does it ([`draw`]).
//!
//! A leaf without kernels: it knows no executor and no file.

pub mod draw;
mod grouped;
pub mod likelihood;
pub mod philox;
pub mod sample;
pub mod weight;

/// What a weight or a parameter cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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
    /// A size is outside what is supported.
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

/// Result of what may not fit.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Fails unless a slice has exactly the expected number of values.
    fn length(what: &'static str, expected: usize, found: usize) -> Result<()> {
        if found == expected { Ok(()) } else { Err(Self::Length { what, expected, found }) }
    }
}
