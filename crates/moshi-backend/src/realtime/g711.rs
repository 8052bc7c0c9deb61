//! G.711: a sample in one byte, as telephones send it (ITU-T recommendation G.711, tables 1a to 2b). Here with the usual
//! 16-bit scale on the linear side.

/// Keeps the segments of µ-law aligned with powers of two.
const BIAS: u16 = 132;
/// Largest magnitude that µ-law can say.
const CLIP: u16 = 32_635;
/// A-law sends every other bit inverted.
const ALTERNATE: u8 = 0x55;
const SIGN: u8 = 0x80;

/// A µ-law byte of a sample.
pub(super) fn to_ulaw(sample: i16) -> u8 {
    let magnitude = sample.unsigned_abs().min(CLIP) + BIAS;
    let sign = if sample < 0 { SIGN } else { 0 };
    !(sign | segment(magnitude))
}

/// The sample of a µ-law byte.
pub(super) fn from_ulaw(byte: u8) -> i16 {
    let byte = !byte;
    let (exponent, mantissa) = ((byte >> 4) & 7, i16::from(byte & 15));
    let magnitude = (((mantissa << 3) + 132) << exponent) - 132;
    if byte & SIGN == 0 { magnitude } else { -magnitude }
}

/// An A-law byte of a sample.
pub(super) fn to_alaw(sample: i16) -> u8 {
    // Negative samples are mirrored about -1/2, so that both signs have as many steps.
    let (sign, magnitude) = if sample < 0 { (0, !sample) } else { (SIGN, sample) };
    let magnitude = magnitude.unsigned_abs();
    let level = if magnitude < 256 { (magnitude >> 4).to_le_bytes()[0] } else { segment(magnitude) };
    (sign | level) ^ ALTERNATE
}

/// The sample of an A-law byte.
pub(super) fn from_alaw(byte: u8) -> i16 {
    let byte = byte ^ ALTERNATE;
    let (exponent, mantissa) = ((byte >> 4) & 7, i16::from(byte & 15) << 4);
    let magnitude = if exponent == 0 { mantissa + 8 } else { (mantissa + 264) << (exponent - 1) };
    if byte & SIGN == 0 { -magnitude } else { magnitude }
}

/// Three bits of exponent and four of mantissa; `magnitude` is 128 to 32,767.
fn segment(magnitude: u16) -> u8 {
    let exponent = magnitude.ilog2().saturating_sub(7);
    let mantissa = (magnitude >> (exponent + 3)) & 15;
    (exponent.to_le_bytes()[0] << 4) | mantissa.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_way_to_samples_and_back() {
        for byte in 0..=255_u8 {
            assert_eq!(to_alaw(from_alaw(byte)), byte, "A-law {byte:#x}");
            // µ-law has two zeros; the positive one is sent.
            let expected = if byte == 0x7f { 0xff } else { byte };
            assert_eq!(to_ulaw(from_ulaw(byte)), expected, "µ-law {byte:#x}");
        }
    }

    #[test]
    fn the_ends_and_the_middle_are_those_of_the_recommendation() {
        assert_eq!([0x00, 0x80, 0x7f, 0xff].map(from_ulaw), [-32_124, 32_124, 0, 0]);
        assert_eq!([0x2a, 0xaa, 0x55, 0xd5].map(from_alaw), [-32_256, 32_256, -8, 8]);
        assert_eq!([i16::MIN, i16::MAX, 0].map(to_ulaw), [0x00, 0x80, 0xff]);
        assert_eq!([i16::MIN, i16::MAX, 0, -1].map(to_alaw), [0x2a, 0xaa, 0xd5, 0x55]);
    }

    #[test]
    fn every_sample_comes_back_within_half_a_step() {
        for sample in i16::MIN..=i16::MAX {
            let size = f64::from(sample).abs();
            for back in [from_ulaw(to_ulaw(sample)), from_alaw(to_alaw(sample))] {
                let error = (f64::from(back) - f64::from(sample)).abs();
                assert!(
                    error <= (size / 32.0 + 5.0).max(8.0) || size > 32_100.0 && error < 1_024.0,
                    "{sample}: {back}"
                );
            }
        }
    }
}
