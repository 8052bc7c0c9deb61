//! Weights made on the fly for any name and shape: benches and tests at published sizes without files.

use moshi_nn::{HostWeight, Result, WeightSource};

use crate::noise;

/// A source that has every required tensor, with values that depend on seed and name alone and are scaled so that
/// activations keep their size through a network.
#[derive(Clone)]
pub struct RandomWeights {
    seed: u64,
    optional: fn(&str) -> bool,
}

impl RandomWeights {
    /// `optional` says which of the tensors that a loader merely asks for (biases, other spellings) exist.
    pub fn new(seed: u64, optional: fn(&str) -> bool) -> Self {
        Self { seed, optional }
    }

    /// The optional tensors of a Mimi checkpoint: biases of its SEANet convolutions.
    pub fn mimi(seed: u64) -> Self {
        Self::new(seed, |name| {
            (name.starts_with("encoder.model") || name.starts_with("decoder.model")) && name.ends_with(".bias")
        })
    }

    fn values(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        let len: usize = shape.iter().product();
        let seed = self.seed ^ noise::seed_of(name);
        let signal = (0..len as u64).map(|i| noise::uniform(seed, i));
        let last = name.rsplit('.').next().unwrap_or(name);
        let spread = shape.len() > 1 && len > shape[shape.len() - 1];
        match last {
            "cluster_usage" => vec![1.0; len],
            "bias" => signal.map(|x| 0.01 * x).collect(),
            "scale" => signal.map(|x| 0.1 + 0.05 * x).collect(),
            _ if !spread => signal.map(|x| 1.0 + 0.1 * x).collect(), // norms
            "embedding_sum" => signal.collect(),
            _ => {
                let fan_in = len / shape[0].max(1);
                let scale = (3.0 / fan_in.max(1) as f32).sqrt();
                signal.map(|x| scale * x).collect()
            }
        }
    }
}

impl WeightSource for RandomWeights {
    fn shape(&self, _: &str) -> Option<Vec<usize>> {
        None // any shape that is asked for
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<HostWeight<'_>> {
        Ok(HostWeight::from_f32(rows, cols, self.values(name, &[rows, cols]))?)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        Ok(self.values(name, shape))
    }

    fn has(&self, name: &str) -> bool {
        (self.optional)(name)
    }
}
