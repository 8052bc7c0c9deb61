//! Samples of 16 bits, as wires and wav files have them, and the model's own between -1 and 1.

/// What a sample of 1.0 would be in 16 bits.
const FULL_SCALE: f32 = 32_768.0;

/// A 16-bit sample in [-1, 1).
pub(crate) fn from_s16(sample: i16) -> f32 {
    f32::from(sample) / FULL_SCALE
}

/// A sample as 16 bits, clipped; what is no number is silence.
#[expect(clippy::cast_possible_truncation, reason = "clamped to the range of i16 before the cast")]
pub(crate) fn to_s16(sample: f32) -> i16 {
    (sample * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1.0) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_survives_both_ways_and_others_are_clipped() {
        assert!((i16::MIN..=i16::MAX).all(|sample| to_s16(from_s16(sample)) == sample));
        assert_eq!([2.0, -2.0, f32::NAN].map(to_s16), [i16::MAX, i16::MIN, 0]);
    }
}
