//! Comparing floats.

/// Largest absolute difference over the largest absolute expected value.
pub fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    let scale = expected.iter().fold(0f32, |m, x| m.max(x.abs())).max(f32::MIN_POSITIVE);
    let worst = found.iter().zip(expected).fold(0f32, |m, (a, b)| {
        let difference = (a - b).abs();
        if difference.is_nan() { f32::INFINITY } else { m.max(difference) }
    });
    worst / scale
}

/// Fails when lengths differ or [`relative_error`] exceeds `tolerance`.
///
/// # Panics
/// When the values are not close: this is a test assertion.
#[track_caller]
#[allow(clippy::panic)]
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    let error = relative_error(found, expected);
    assert!(error <= tolerance, "{what}: relative error {error:e}, allowed {tolerance:e}");
}
