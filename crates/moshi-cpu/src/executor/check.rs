//! Sizes of operands.

use moshi_nn::{Error, Result};

/// An operand must hold at least `expected` values.
pub(super) fn check(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected <= found { Ok(()) } else { Err(Error::Shape { what, expected, found }) }
}

/// An operand must have exactly this size.
pub(super) fn exact(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::Shape { what, expected, found }) }
}
