//! The sum of embeddings, written once for every instruction set and number format.

use crate::simd::{Element, LANES, Simd, get, put};

/// `y += x`, over as many values as both have.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(crate) unsafe fn add<S: Simd, E: Element>(x: &[E], y: &mut [f32]) {
    let len = x.len().min(y.len());
    for i in (0..len).step_by(LANES) {
        let mut tail = [E::ZERO; LANES];
        let from = if i + LANES <= len {
            &x[i..]
        } else {
            tail[..len - i].copy_from_slice(&x[i..len]);
            &tail
        };
        // SAFETY: sixteen values lie behind `from`; the instruction set is the caller's promise.
        unsafe {
            let sum = S::add(get::<S>(y, i, 0.0), E::load::<S>(from.as_ptr()));
            put::<S>(y, i, sum);
        }
    }
}
