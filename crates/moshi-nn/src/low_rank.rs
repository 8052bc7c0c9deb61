//! What an adapter adds to a matrix.

use moshi_tensor::weight::HostWeight;

/// A matrix `up down` of low rank r.
#[derive(Debug, Clone)]
pub struct LowRankPair<'a> {
    /// `[r, cols]`
    pub down: HostWeight<'a>,
    /// `[rows, r]`
    pub up: HostWeight<'a>,
}
