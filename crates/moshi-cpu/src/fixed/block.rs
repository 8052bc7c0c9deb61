//! Blocks of activations that share a scale.

use crate::KernelError;

/// Activations that share a scale, at most; weights are bounded over as many.
pub const BLOCK: usize = 32;
/// The largest integer of an activation.
pub(super) const LARGEST: i32 = 16_383;

/// The length of blocks for vectors of `channels` values: the longest that divides them, if there is one.
pub fn block_of(channels: usize) -> Option<usize> {
    [BLOCK, BLOCK / 2].into_iter().find(|&block| channels > 0 && channels.is_multiple_of(block))
}

pub(super) fn check_block(found: usize) -> Result<(), KernelError> {
    if [16, 32].contains(&found) {
        return Ok(());
    }
    Err(KernelError::Unsupported { what: "block of activations", found, expected: "it is 16 or 32" })
}
