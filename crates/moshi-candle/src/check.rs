//! Sizes of operands.

use moshi_nn::Error;

use crate::failure::{Failure, Result};

/// An operand must hold at least `expected` values.
pub(crate) fn check(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected <= found { Ok(()) } else { Err(Failure::Nn(Error::Shape { what, expected, found })) }
}

/// An operand must have exactly this size.
pub(crate) fn exact(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Failure::Nn(Error::Shape { what, expected, found })) }
}
