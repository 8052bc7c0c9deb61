//! What the laboratory computes of its measurements.

// Helpers of tests are tests too: clippy's own exception reaches only functions marked #[test].
#![allow(clippy::unwrap_used)]

use std::num::NonZeroUsize;
use std::time::Instant;

use moshi_bench::quality::Likeness;
use moshi_bench::random::{Sizes, write};
use moshi_bench::speed::{Percentiles, Plan, Shape, of_model};
use moshi_checkpoint::Numbers;
use moshi_model::{LoadOptions, builtin};

#[test]
fn percentiles_are_nearest_ranks() {
    let times = (1..=200).rev().map(f64::from).collect();
    assert_eq!(Percentiles::of(times), Percentiles { p50: 100.0, p95: 190.0, p99: 198.0 });
    assert_eq!(Percentiles::of(vec![3.0]).p99, 3.0);
    assert_eq!(Percentiles::of(Vec::new()).p50, 0.0);
}

#[test]
fn multiply_adds_are_the_weights_of_all_matrices() {
    let plan = |shape| Plan { shape, numbers: Numbers::Bf16, with_codec: false, rows: 1 };
    let read = 14_750_000_000.0 / 2.0; // what `weight_bytes` says in two bytes each
    let counted = plan(Shape::B7).multiply_adds().unwrap() as f64;
    assert!((0.99..=1.0).contains(&(counted / read)), "{counted}");
    assert!(plan(Shape::B1).multiply_adds().unwrap() < 2_000_000_000);
    assert_eq!(plan(Shape::Mimi).multiply_adds(), None);
    assert_eq!(Plan { with_codec: true, ..plan(Shape::B7) }.multiply_adds(), None);
}

#[test]
fn likeness_is_that_of_the_finite_values() {
    let same = Likeness::of(&[1.0, f32::NAN, 2.0], &[1.0, 5.0, 2.0]);
    assert!((same.cosine - 1.0).abs() < 1e-12 && same.relative_error == 0.0);
    let twice = Likeness::of(&[2.0, 4.0], &[1.0, 2.0]);
    assert!((twice.cosine - 1.0).abs() < 1e-12 && (twice.relative_error - 1.0).abs() < 1e-12);
    assert_eq!(Likeness::of(&[1.0, 0.0], &[0.0, 1.0]).cosine, 0.0);
}

#[test]
fn a_loaded_model_is_measured_with_all_its_sessions() {
    let start = Instant::now();
    let options = LoadOptions { threads: Some(NonZeroUsize::MIN), ..LoadOptions::default() };
    let model = builtin(&options).unwrap().model;
    let two = NonZeroUsize::new(2).unwrap();
    let report = of_model(&*model, start, two, two).unwrap();
    assert_eq!((report.rows, report.threads, report.frames), (2, 1, 2));
    assert!(report.weight_bytes > 0 && report.state_bytes.is_some() && report.real_time_factor > 0.0);
    assert!(report.to_string().contains("2 x 1"), "{report}");
}

#[test]
fn the_same_seed_writes_the_same_checkpoint_and_others_take_its_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second, like) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
    write(&first, &Sizes::Tiny, None, 7).unwrap();
    write(&second, &Sizes::Like(first.clone()), None, 7).unwrap();
    write(&like, &Sizes::Like(first.clone()), Some(&second.join("tokenizer.model")), 8).unwrap();
    let model = |folder: &std::path::Path| std::fs::read(folder.join("model.safetensors")).unwrap();
    assert!(model(&first) == model(&second) && model(&first) != model(&like));
    assert_eq!(model(&first).len(), model(&like).len());
    let missing = write(&like, &Sizes::Like(folder.path().join("nowhere")), None, 1).unwrap_err();
    assert!(missing.to_string().contains("nowhere"), "{missing}");
}
