//! How loud samples are: enough to tell a voice from a pause.

/// Root mean square below which a frame is quiet: -46 dB of full scale.
const QUIET: f32 = 0.005;

/// Whether nobody speaks in these samples.
pub(crate) fn is_quiet(frame: impl ExactSizeIterator<Item = f32>) -> bool {
    loudness(frame) < QUIET
}

/// Root mean square; zero of nothing.
pub(crate) fn loudness(frame: impl ExactSizeIterator<Item = f32>) -> f32 {
    let count = frame.len().max(1);
    #[expect(clippy::cast_precision_loss, reason = "a frame's length is exact")]
    let mean = frame.map(|sample| sample * sample).sum::<f32>() / count as f32;
    mean.sqrt()
}
