//! Loudness, against the published program's gain and against what the recommendation says of tones.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use moshi_audio::{LoudnessError, gain_to, load, loudness};
use proptest::prelude::*;

fn tone(hertz: f64, amplitude: f64, rate: u32, samples: usize) -> Vec<f32> {
    let turn = std::f64::consts::TAU * hertz / f64::from(rate);
    (0..samples).map(|n| (amplitude * (turn * n as f64).sin()) as f32).collect()
}

#[test]
fn the_golden_voice_gets_the_published_gain() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/golden/tiny-personaplex/voices/VARM0.wav");
    let pcm = load(golden.as_ref()).unwrap().pcm;
    let gain = gain_to(-24.0, &pcm, 24_000).unwrap();
    // The published program keeps the weighted samples in single precision.
    assert!((gain - 0.585_457_947_644_123_2).abs() < 1e-7, "{gain}");
}

#[test]
fn a_tone_at_full_scale_has_the_loudness_of_the_recommendation() {
    for rate in [16_000, 24_000, 44_100, 48_000] {
        let found = loudness(&tone(997.0, 1.0, rate, 5 * rate as usize), rate).unwrap();
        assert!((found - -3.01).abs() < 0.15, "{rate}: {found}");
    }
}

#[test]
fn low_tones_weigh_less_and_high_ones_more() {
    let at = |hertz| loudness(&tone(hertz, 0.5, 48_000, 96_000), 48_000).unwrap();
    assert!(at(30.0) < at(1_000.0) - 5.0);
    assert!((at(8_000.0) - at(500.0) - 4.0).abs() < 0.5, "{} {}", at(8_000.0), at(500.0));
}

#[test]
fn silence_around_a_sound_does_not_count() {
    let sound = tone(500.0, 0.3, 24_000, 48_000);
    let alone = loudness(&sound, 24_000).unwrap();
    let around = [vec![0.0; 96_000], sound.clone(), vec![0.0; 96_000]].concat();
    assert!((loudness(&around, 24_000).unwrap() - alone).abs() < 0.8);
    // What is 10 LU below the rest does not count either.
    let murmur = [sound.clone(), tone(500.0, 0.003, 24_000, 240_000)].concat();
    assert!((loudness(&murmur, 24_000).unwrap() - alone).abs() < 0.5);
}

#[test]
fn what_has_no_loudness_is_told() {
    assert_eq!(loudness(&[0.0; 24_000], 24_000), Err(LoudnessError::Silent));
    assert_eq!(loudness(&tone(500.0, 1e-5, 24_000, 24_000), 24_000), Err(LoudnessError::Silent));
    assert_eq!(loudness(&[f32::NAN; 24_000], 24_000), Err(LoudnessError::Silent));
    assert_eq!(loudness(&[f32::INFINITY; 24_000], 24_000), Err(LoudnessError::Silent));
    assert_eq!(loudness(&[0.5; 9_599], 24_000), Err(LoudnessError::Short { seconds: 9_599.0 / 24_000.0 }));
    assert_eq!(loudness(&[], 24_000), Err(LoudnessError::Short { seconds: 0.0 }));
    assert_eq!(loudness(&[0.5; 9_600], 0), Err(LoudnessError::Rate { rate: 0 }));
    assert!(loudness(&tone(500.0, 0.5, 24_000, 9_600), 24_000).is_ok());
}

proptest! {
    #[test]
    fn a_sound_that_was_levelled_has_the_loudness_asked_for(
        hertz in 60.0..8_000.0f64, amplitude in 0.01..1.0f64, samples in 9_600usize..40_000, target in -40.0..-10.0f64,
    ) {
        let sound = tone(hertz, amplitude, 24_000, samples);
        let gain = gain_to(target, &sound, 24_000).unwrap();
        let levelled: Vec<f32> = sound.iter().map(|&x| x * gain as f32).collect();
        prop_assert!((loudness(&levelled, 24_000).unwrap() - target).abs() < 1e-3);
    }

    #[test]
    fn no_length_panics(samples in 0usize..30_000, rate in 8_000u32..50_000) {
        let _ = loudness(&tone(500.0, 0.5, rate, samples), rate);
    }
}
