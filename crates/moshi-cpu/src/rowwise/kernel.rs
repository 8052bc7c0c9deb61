//! Norms, activations and sums over one vector, on any instruction set.
#![allow(unsafe_op_in_unsafe_fn)] // every function has the one precondition that `Simd` names

use crate::math;
use crate::simd::{LANES, Simd, get, put};

/// `y = x / sqrt(mean(x^2) + eps) * alpha`.
#[inline(always)]
pub(crate) unsafe fn rms_norm<S: Simd>(x: &[f32], alpha: &[f32], eps: f32, y: &mut [f32]) {
    let mut squares = S::splat(0.0);
    for i in (0..x.len()).step_by(LANES) {
        let v = get::<S>(x, i, 0.0);
        squares = S::fma(v, v, squares);
    }
    let scale = S::splat(1.0 / (S::sum(squares) / x.len() as f32 + eps).sqrt());
    for i in (0..x.len()).step_by(LANES) {
        let v = S::mul(get::<S>(x, i, 0.0), scale);
        put::<S>(y, i, S::mul(v, get::<S>(alpha, i, 0.0)));
    }
}

/// `y = (x - mean) / sqrt(var + eps) * weight + bias`, the variance from the differences to the mean.
#[inline(always)]
pub(crate) unsafe fn layer_norm<S: Simd>(x: &[f32], (weight, bias): (&[f32], &[f32]), eps: f32, y: &mut [f32]) {
    let count = x.len() as f32;
    let mut sum = S::splat(0.0);
    for i in (0..x.len()).step_by(LANES) {
        sum = S::add(sum, get::<S>(x, i, 0.0));
    }
    let mean = S::sum(sum) / count;
    let mut squares = S::splat(0.0);
    for i in (0..x.len()).step_by(LANES) {
        // Lanes past the end hold the mean, so that their difference is 0.
        let v = S::sub(get::<S>(x, i, mean), S::splat(mean));
        squares = S::fma(v, v, squares);
    }
    let scale = S::splat(1.0 / (S::sum(squares) / count + eps).sqrt());
    for i in (0..x.len()).step_by(LANES) {
        let v = S::mul(S::sub(get::<S>(x, i, 0.0), S::splat(mean)), scale);
        put::<S>(y, i, S::fma(v, get::<S>(weight, i, 0.0), get::<S>(bias, i, 0.0)));
    }
}

/// Replaces `x` by e^(x - largest) and gives the sum of it.
#[inline(always)]
pub(crate) unsafe fn exp_weights<S: Simd>(x: &mut [f32]) -> f32 {
    let mut largest = S::splat(f32::NEG_INFINITY);
    for i in (0..x.len()).step_by(LANES) {
        largest = S::max(get::<S>(x, i, f32::NEG_INFINITY), largest);
    }
    let largest = S::splat(S::max_lane(largest));
    let mut sum = S::splat(0.0);
    for i in (0..x.len()).step_by(LANES) {
        let e = math::exp::<S>(S::sub(get::<S>(x, i, f32::NEG_INFINITY), largest));
        sum = S::add(sum, e);
        put::<S>(x, i, e);
    }
    S::sum(sum)
}

/// Softmax in place.
#[inline(always)]
pub(crate) unsafe fn softmax<S: Simd>(x: &mut [f32]) {
    let scale = S::splat(1.0 / exp_weights::<S>(x));
    for i in (0..x.len()).step_by(LANES) {
        let v = S::mul(get::<S>(x, i, 0.0), scale);
        put::<S>(x, i, v);
    }
}

/// `y = silu(a) * b`.
#[inline(always)]
pub(crate) unsafe fn silu_gate<S: Simd>(a: &[f32], b: &[f32], y: &mut [f32]) {
    for i in (0..y.len()).step_by(LANES) {
        put::<S>(y, i, S::mul(math::silu::<S>(get::<S>(a, i, 0.0)), get::<S>(b, i, 0.0)));
    }
}

/// `x = x / 2 * (1 + erf(x / sqrt 2))`.
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: &mut [f32]) {
    for i in (0..x.len()).step_by(LANES) {
        let v = get::<S>(x, i, 0.0);
        let e = math::erf::<S>(S::mul(v, S::splat(std::f32::consts::FRAC_1_SQRT_2)));
        let half = S::mul(v, S::splat(0.5));
        put::<S>(x, i, S::fma(half, e, half));
    }
}

/// `y = x` where it is positive, e^x - 1 elsewhere.
#[inline(always)]
pub(crate) unsafe fn elu<S: Simd>(x: &[f32], y: &mut [f32]) {
    for i in (0..y.len()).step_by(LANES) {
        let v = get::<S>(x, i, 0.0);
        put::<S>(y, i, S::select_gt(v, S::splat(0.0), v, math::exp_minus_1::<S>(v)));
    }
}

/// `x += scale * y`, rounded once.
#[inline(always)]
pub(crate) unsafe fn add_scaled<S: Simd>(y: &[f32], scale: &[f32], x: &mut [f32]) {
    for i in (0..x.len()).step_by(LANES) {
        let v = S::fma(get::<S>(scale, i, 0.0), get::<S>(y, i, 0.0), get::<S>(x, i, 0.0));
        put::<S>(x, i, v);
    }
}

/// `y = a.0 * a.1 + b.0 * b.1`, the first product rounded.
#[inline(always)]
pub(crate) unsafe fn blend<S: Simd>(a: (&[f32], &[f32]), b: (&[f32], &[f32]), y: &mut [f32]) {
    for i in (0..y.len()).step_by(LANES) {
        let v = S::mul(get::<S>(a.0, i, 0.0), get::<S>(a.1, i, 0.0));
        put::<S>(y, i, S::fma(get::<S>(b.0, i, 0.0), get::<S>(b.1, i, 0.0), v));
    }
}
