//! Philox4x32-10, the counter-based random number generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3").
//!
//! A number is a function of a key and a counter, so a draw depends on what it is for and never on what was drawn before:
//! sessions reproduce whatever else runs beside them.
//!
//! ```
//! use moshi_tensor::philox::token_word;
//! assert_eq!(token_word(7, 100, 0), token_word(7, 100, 0));
//! assert_ne!(token_word(7, 100, 0), token_word(7, 100, 1));
//! ```

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Last counter word of the draws of tokens, so that later uses of the same seed can have numbers of their own.
const TOKENS: u32 = 0;

/// Four random words for a counter and a key.
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    for _ in 0..ROUNDS {
        let (high0, low0) = multiply(MULTIPLIERS[0], c[0]);
        let (high1, low1) = multiply(MULTIPLIERS[1], c[2]);
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0];
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    c
}

/// The random word that draws the token of (seed, position, stream), every value of 32 bits alike.
///
/// The key is the seed, lower half first; the counter is the position, lower half first, the stream and a 0. The first
/// of the four words is taken.
pub fn token_word(seed: u64, position: u64, stream: u32) -> u32 {
    let counter = [position as u32, (position >> 32) as u32, stream, TOKENS];
    philox4x32_10(counter, [seed as u32, (seed >> 32) as u32])[0]
}

fn multiply(a: u32, b: u32) -> (u32, u32) {
    let product = u64::from(a) * u64::from(b);
    ((product >> 32) as u32, product as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that Random123 publishes (`kat_vectors`, philox 4x32 10).
    #[test]
    fn known_answers_of_random123() {
        assert_eq!(philox4x32_10([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32_10([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32_10([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn words_fill_their_range_evenly() {
        let mut bins = [0u32; 100];
        for position in 0..100_000 {
            bins[((u64::from(token_word(42, position, 3)) * 100) >> 32) as usize] += 1;
        }
        // Chi-square with 99 degrees of freedom: 148.2 is exceeded with probability 0.001.
        let chi2: f64 = bins.iter().map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi2 < 148.2, "{chi2}");
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let base = token_word(1, 1 << 33, 5);
        for (seed, position, stream) in [(2, 1 << 33, 5), (1 | 1 << 32, 1 << 33, 5), (1, 0, 5), (1, 1 << 33, 6)] {
            assert_ne!(base, token_word(seed, position, stream));
        }
    }
}
