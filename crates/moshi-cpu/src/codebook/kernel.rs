//! The bound of a search, written once for every instruction set.

use crate::simd::{LANES, Simd, get, put};

/// What bounds the errors of scores, one value for each entry.
#[derive(Debug)]
pub(crate) struct Slack {
    /// |c - c'|: what the input's length is multiplied with.
    pub(super) rounding: Vec<f32>,
    /// |c'|: what the length of the input's own error is multiplied with.
    pub(super) lengths: Vec<f32>,
    /// What is off whatever the input.
    pub(super) constant: Vec<f32>,
}

/// Lowers each score by what it may be off, and gives the smallest of the scores raised by as much: the nearest entry is
/// one of those that are not above it. `lengths` are those of the input and of its error.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(crate) unsafe fn within<S: Simd>(scores: &mut [f32], slack: &Slack, lengths: (f32, f32)) -> f32 {
    // SAFETY: the instruction set is the caller's promise; `get` and `put` mind the bounds.
    unsafe {
        let (length, error) = (S::splat(lengths.0), S::splat(lengths.1));
        let mut least = S::splat(f32::INFINITY);
        for i in (0..scores.len()).step_by(LANES) {
            let off = S::fma(get::<S>(&slack.lengths, i, 0.0), error, get::<S>(&slack.constant, i, 0.0));
            let off = S::fma(get::<S>(&slack.rounding, i, 0.0), length, off);
            let score = get::<S>(scores, i, f32::INFINITY);
            least = S::min(S::add(score, off), least);
            put::<S>(scores, i, S::sub(score, off));
        }
        -S::max_lane(S::sub(S::splat(0.0), least))
    }
}
