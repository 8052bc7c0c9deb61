//! A voice-like signal and ways to compare what was heard with what was said.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "each test file uses its part")]

/// A voice without words: pulses at a gliding pitch through two resonances, in syllables; always the same.
pub fn voice(samples: usize) -> Vec<f32> {
    let (mut phase, mut noise) = (0.0f32, 1u32);
    let mut memory = [[0.0f32; 2]; 2];
    (0..samples)
        .map(|n| {
            let t = n as f32 / 24_000.0;
            phase += (120.0 + 25.0 * (3.1 * t).sin()) / 24_000.0;
            let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
            phase %= 1.0;
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let breath = (noise >> 16) as f32 / 65_536.0 - 0.5;
            let syllable = (7.0 * t).sin().max(0.0);
            let mut x = (pulse + 0.02 * breath) * syllable;
            for (state, formant) in memory.iter_mut().zip([600.0 + 200.0 * (2.0 * t).sin(), 1_500.0]) {
                let r = 0.97f32;
                let y = x + 2.0 * r * (std::f32::consts::TAU * formant / 24_000.0).cos() * state[0] - r * r * state[1];
                *state = [y, state[0]];
                x = y * 0.3;
            }
            (x * 0.5).clamp(-0.9, 0.9)
        })
        .collect()
}

/// The lag in `0..most` at which `heard` is most like `said`.
pub fn best_lag(said: &[f32], heard: &[f32], most: usize) -> usize {
    let length = (said.len().min(heard.len()) - most).min(36_000);
    (0..most)
        .max_by(|a, b| {
            let at = |lag: usize| correlation(&said[..length], &heard[lag..lag + length]);
            at(*a).total_cmp(&at(*b))
        })
        .unwrap()
}

/// Correlation of two signals, from -1 to 1.
pub fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(x * y)).sum::<f64>();
    (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-12)) as f32
}

/// Mean level in dB.
pub fn level_db(pcm: &[f32]) -> f32 {
    10.0 * (pcm.iter().map(|s| s * s).sum::<f32>() / pcm.len() as f32).max(1e-12).log10()
}

/// Settings of a property test: the same cases every time, and no files written.
pub fn seeded(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x6d6f_7368),
        failure_persistence: None,
        ..Default::default()
    }
}
