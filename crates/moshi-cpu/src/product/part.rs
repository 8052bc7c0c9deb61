//! What one kernel computes of a product.

use super::format::Groups;
use super::layout::Layout;

/// One part of a product, for the kernel of one instruction set and format.
pub(crate) struct Part<'a> {
    /// `[panel][k][16]` in the kernel's format.
    pub weights: *const u8,
    /// Padded to whole panels; null for none.
    pub bias: *const f32,
    /// Padded to whole panels; null for a format without scales.
    pub scales: *const f32,
    pub groups: Groups,
    pub n: usize,
    pub k: usize,
    pub layout: &'a Layout<'a>,
    pub x: *const f32,
    pub y: *mut f32,
    /// First and last panel to compute, the last not included.
    pub panels: (usize, usize),
    /// First and last vector (row index * columns + column) to compute, the last not included.
    pub vectors: (usize, usize),
}
