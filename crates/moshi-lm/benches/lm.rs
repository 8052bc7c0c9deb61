//! One step of a language model of about a billion weights, on random bf16 weights made on the fly.

#![allow(missing_docs, clippy::panic)]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use half::bf16;
use moshi_candle::Candle;
use moshi_checkpoint::config::DepformerConfig;
use moshi_cpu::Cpu;
use moshi_lm::{Lm, LmConfig, RowInput, RowSampling, SamplingParams};
use moshi_nn::{Backend, HostWeight, WeightData, WeightSource};
use moshi_testkit::RandomWeights;

/// Random weights, matrices in bf16 as published files hold them.
struct Bf16(RandomWeights);

impl WeightSource for Bf16 {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.shape(name)
    }

    fn has(&self, name: &str) -> bool {
        self.0.has(name)
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<HostWeight<'_>> {
        let values = self.0.matrix(name, rows, cols)?.to_f32()?;
        let data: Vec<bf16> = values.into_iter().map(bf16::from_f32).collect();
        Ok(HostWeight::new(rows, cols, WeightData::Bf16(data.into()))?)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> moshi_nn::Result<Vec<f32>> {
        self.0.vector(name, shape)
    }
}

/// Temporal 2,048 x 16 layers, depth 8 steps of 1,024 x 6 layers, streams as Moshi 7B.
fn about_a_billion() -> LmConfig {
    let base = LmConfig::moshi_7b();
    LmConfig {
        dim: 2_048,
        num_heads: 16,
        num_layers: 16,
        dim_feedforward: 8_448,
        depformer: Some(DepformerConfig::moshi_7b()),
        ..base
    }
}

fn step<B: Backend>(c: &mut Criterion, backend: B) {
    let lm = Lm::load(backend, &Bf16(RandomWeights::new(1, |_| false)), &about_a_billion());
    let lm = lm.unwrap_or_else(|error| panic!("random weights: {error}"));
    let mut group = c.benchmark_group(format!("lm step 1B {}", lm.backend().name()));
    group.sample_size(10);
    for rows in [1, 4] {
        let mut state = lm.init_state(rows).unwrap_or_else(|error| panic!("memory of {rows} rows: {error}"));
        let params = RowSampling {
            text: SamplingParams { temperature: 0.7, top_k: 25, top_p: 1.0 },
            audio: SamplingParams { temperature: 0.8, top_k: 250, top_p: 1.0 },
            ..RowSampling::GREEDY
        };
        let heard = vec![7; lm.heard()];
        let inputs: Vec<RowInput<'_>> = (0..rows).map(|row| RowInput { row, heard: &heard, forced: &[] }).collect();
        (0..rows).for_each(|row| lm.set_sampling(&mut state, row, &params).unwrap_or_default());
        group.bench_function(BenchmarkId::from_parameter(format!("{rows} rows")), |b| {
            b.iter(|| lm.step(&mut state, &inputs).unwrap_or_else(|error| panic!("{error}")));
        });
    }
    group.finish();
}

fn benches(c: &mut Criterion) {
    step(c, Cpu::new(std::thread::available_parallelism().unwrap_or(std::num::NonZeroUsize::MIN)));
    step(c, Candle::cpu());
}

criterion_group!(lm, benches);
criterion_main!(lm);
