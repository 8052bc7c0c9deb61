//! Sessions on threads of their own: rows of one batch, or side by side?
//!
//! `Sessions` decides by the size of the weights; this measures both for a model in the cache and one beyond it.

#![allow(clippy::unwrap_used, missing_docs)] // a bench may fail

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use moshi_checkpoint::random::write_checkpoint;
use moshi_checkpoint::{OpenOptions, Repository, Source};
use moshi_engine::{FRAME_SAMPLES, SessionParams, SessionSpec, Sessions, SpeechModel};
use moshi_model::{LoadOptions, builtin_repository, load_model};

const SESSIONS: usize = 4;
const FRAMES: usize = 4;

/// The built-in model, with its temporal transformer `scale` times as wide.
fn model(scale: usize) -> Arc<dyn SpeechModel> {
    let builtin = builtin_repository().unwrap();
    let mut config = builtin.config().clone();
    config.lm.dim *= scale;
    config.lm.num_heads *= scale;
    config.lm.dim_feedforward *= scale;
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = builtin.tokenizer_bytes().unwrap();
    write_checkpoint(folder.path(), &config, builtin.mimi_config().unwrap(), &tokenizer, 1).unwrap();
    let source = Source::Folder(folder.path().to_path_buf());
    let repository = Repository::open(&source, &OpenOptions::default(), &mut ()).unwrap();
    load_model(&repository, "bench", &LoadOptions::default()).unwrap().model
}

/// Every session on its own thread steps `FRAMES` frames.
fn together(sessions: &Sessions) {
    std::thread::scope(|scope| {
        for seed in 0..SESSIONS as u64 {
            let mut session =
                sessions.open(SessionSpec::lossless(SessionParams { seed, ..SessionParams::default() })).unwrap();
            scope.spawn(move || {
                let (mut pcm, mut text) = (Vec::new(), String::new());
                session.step(&[0.1; FRAMES * FRAME_SAMPLES], &mut pcm, &mut text).unwrap();
            });
        }
    });
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("four_sessions_four_frames");
    group.sample_size(10);
    for scale in [1, 8, 16] {
        let model = model(scale);
        let megabytes = model.info().weight_bytes >> 20;
        for (name, rows) in [("batched", SESSIONS), ("side_by_side", 1)] {
            let sessions = Sessions::with_rows_per_engine(model.clone(), rows);
            group
                .bench_function(BenchmarkId::new(name, format!("{megabytes}_MiB")), |b| b.iter(|| together(&sessions)));
        }
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
