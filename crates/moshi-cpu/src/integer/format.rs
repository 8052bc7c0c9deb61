//! How panels hold integers, and the products of one block of inputs.
#![allow(unsafe_op_in_unsafe_fn)] // every function has the one precondition that the trait names
#![allow(clippy::needless_range_loop)] // one index runs over several arrays of constant length

use std::marker::PhantomData;

use crate::simd::Element;
use crate::simd::dot::{Dot, WORD};

/// How far ahead weights are asked for, in bytes of each panel: by so much that a line is on its way when its turn comes,
/// and no further, for what the processor itself reads ahead is better timed (docs/performance.md).
const AHEAD_BYTES: usize = 64;
const AHEAD_HALVES: usize = 128;
/// With more vectors than this a tile is bound by arithmetic, and asking ahead only costs.
const ASK_UP_TO: usize = 4;

/// A block of the inputs of several vectors.
#[derive(Clone, Copy)]
pub(super) struct Inputs {
    /// Those of the first vector.
    pub values: *const i8,
    /// From one vector to the next.
    pub distance: usize,
    /// The block's sum, of the first vector.
    pub sums: *const i32,
    /// From one vector to the next.
    pub sums_distance: usize,
}

/// A number format of panels. A block is what one scale of the inputs is for.
pub(super) trait Format: 'static {
    /// Scales and biases of groups.
    type Scale: Element;
    /// Words of a block.
    const WORDS: usize;
    /// Bytes of a block of a panel.
    const BYTES: usize;
    /// Whether groups have scales; otherwise outputs have.
    const GROUPED: bool;
    /// Whether groups have biases.
    const BIASED: bool;

    /// Sums of products of one block, `M` vectors times `P` panels that lie `distance` bytes apart.
    ///
    /// # Safety
    /// As [`Dot`]; `BYTES` lie behind each panel's address, and `WORDS` words and a sum behind each vector's.
    unsafe fn dot<S: Dot, const M: usize, const P: usize>(
        weights: *const u8,
        distance: usize,
        x: Inputs,
    ) -> [[S::I; P]; M];
}

/// Sums that start at `zero` times the inputs' sum.
#[inline(always)]
unsafe fn begin<S: Dot, const M: usize, const P: usize>(zero: i32, x: Inputs) -> [[S::I; P]; M] {
    let mut sums = [[S::splat_i32(0); P]; M];
    if zero != 0 {
        for m in 0..M {
            sums[m] = [S::splat_i32(zero * *x.sums.add(m * x.sums_distance)); P];
        }
    }
    sums
}

/// Signed bytes, `[word][16][4]`; the integer is the byte + `ZERO`.
pub(super) struct Bytes<E, const WORDS: usize, const ZERO: i32, const GROUPED: bool, const BIASED: bool>(
    PhantomData<E>,
);

impl<E: Element, const WORDS: usize, const ZERO: i32, const GROUPED: bool, const BIASED: bool> Format
    for Bytes<E, WORDS, ZERO, GROUPED, BIASED>
{
    type Scale = E;
    const WORDS: usize = WORDS;
    const BYTES: usize = WORDS * WORD;
    const GROUPED: bool = GROUPED;
    const BIASED: bool = BIASED;

    #[inline(always)]
    unsafe fn dot<S: Dot, const M: usize, const P: usize>(
        weights: *const u8,
        distance: usize,
        x: Inputs,
    ) -> [[S::I; P]; M] {
        let mut sums = begin::<S, M, P>(ZERO + S::SIGNED_ZERO, x);
        for word in 0..WORDS {
            for p in 0..P {
                let at = weights.add(p * distance + word * WORD);
                if M <= ASK_UP_TO {
                    S::prefetch(at.wrapping_add(AHEAD_BYTES));
                }
                let w = S::load_signed(at);
                for m in 0..M {
                    sums[m][p] = S::dot(sums[m][p], w, x.values.add(m * x.distance + 4 * word));
                }
            }
        }
        sums
    }
}

/// Four bits, `[pair of words][16][4]`, the first word in the lower halves; the integer is the value + `ZERO`.
pub(super) struct Halves<E, const ZERO: i32, const BIASED: bool>(PhantomData<E>);

impl<E: Element, const ZERO: i32, const BIASED: bool> Format for Halves<E, ZERO, BIASED> {
    type Scale = E;
    const WORDS: usize = 8;
    const BYTES: usize = 4 * WORD;
    const GROUPED: bool = true;
    const BIASED: bool = BIASED;

    #[inline(always)]
    unsafe fn dot<S: Dot, const M: usize, const P: usize>(
        weights: *const u8,
        distance: usize,
        x: Inputs,
    ) -> [[S::I; P]; M] {
        let mut narrow = [[S::narrow_zero(); P]; M];
        for pair in 0..Self::WORDS / 2 {
            for p in 0..P {
                let at = weights.add(p * distance + pair * WORD);
                if M <= ASK_UP_TO {
                    S::prefetch(at.wrapping_add(AHEAD_HALVES));
                }
                let (low, high) = S::load_halves(at);
                for m in 0..M {
                    let x = x.values.add(m * x.distance + 8 * pair);
                    narrow[m][p] = S::dot_narrow(S::dot_narrow(narrow[m][p], low, x), high, x.add(4));
                }
            }
        }
        let mut sums = begin::<S, M, P>(ZERO, x);
        for m in 0..M {
            for p in 0..P {
                sums[m][p] = S::add_i32(sums[m][p], S::widen(narrow[m][p]));
            }
        }
        sums
    }
}
