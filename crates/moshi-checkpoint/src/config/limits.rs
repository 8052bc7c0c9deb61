//! What no configuration of the family exceeds.

/// Largest width or table that is taken for meant; published models stay below a hundredth of it.
pub(crate) const MAX_WIDTH: usize = 1 << 20;
/// As of layers.
pub(crate) const MAX_LAYERS: usize = 512;
/// As of streams and codebooks.
pub(crate) const MAX_STREAMS: usize = 256;
