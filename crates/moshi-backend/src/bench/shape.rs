//! Models of published sizes with invented weights.

use std::time::Instant;

use clap::ValueEnum;
use mimi::{DecoderState, EncoderState, Mimi};
use moshi_checkpoint::config::gated_hidden;
use moshi_checkpoint::{Invented, LmConfig, MimiConfig, Numbers};
use moshi_cpu::arithmetic::Operands;
use moshi_engine::FRAME_SAMPLES;
use moshi_lm::{Lm, LmState, RowInput, RowSampling, SamplingParams};
use moshi_nn::Backend;

use super::PartTimes;
use super::parts::PartClock;

/// Which sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// The codec, as published, with 8 codebooks.
    Mimi,
    /// A language model of a billion weights: temporal part 2,048 wide with 16 layers, all else as Moshi 7B.
    #[value(name = "1b")]
    B1,
    /// Moshi 7B.
    #[value(name = "7b")]
    B7,
}

impl Shape {
    /// Sizes of the language model; nothing for the codec.
    pub fn lm(self) -> Option<LmConfig> {
        let large = LmConfig::moshi_7b();
        match self {
            Self::Mimi => None,
            Self::B1 => Some(LmConfig { dim: 2048, num_heads: 16, num_layers: 16, dim_feedforward: 8448, ..large }),
            Self::B7 => Some(large),
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mimi => "mimi",
            Self::B1 => "1b",
            Self::B7 => "7b",
        }
    }
}

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Sizes.
    pub shape: Shape,
    /// Format of the weights.
    pub numbers: Numbers,
    /// Whether a language model hears and speaks through a codec.
    pub with_codec: bool,
    /// Sessions stepped together.
    pub rows: usize,
}

/// A configuration and weights for it.
type Source<C> = (C, Invented);

impl Plan {
    const SEED: u64 = 1;

    /// Multiply-adds of weights with activations in a step of one row of a language model without codec.
    pub fn multiply_adds(&self) -> Option<u64> {
        let config = self.shape.lm().filter(|_| !self.with_codec)?;
        let stack = |dim: usize, hidden: usize, layers: usize| layers * (4 * dim * dim + 3 * dim * hidden);
        let temporal = stack(config.dim, config.hidden(), config.num_layers) + config.dim * config.text_card_out;
        let depth = config.depformer.map_or(0, |depth| {
            let step = |&feedforward: &usize| {
                let hidden = gated_hidden(depth.dim, feedforward);
                stack(depth.dim, hidden, depth.num_layers) + depth.dim * (config.dim + config.card)
            };
            depth.dim_feedforward.iter().map(step).sum()
        });
        Some((temporal + depth) as u64)
    }

    /// What the temporal transformer multiplies when nothing asks for exactness.
    pub fn operands(&self) -> Operands {
        match self.numbers {
            Numbers::Q8 | Numbers::Q8_0 | Numbers::MlxQ8 => Operands::Bytes,
            Numbers::Q4 | Numbers::MlxQ4 => Operands::Halves,
            _ => Operands::Singles,
        }
    }

    /// Sources of the weights: language model and codec, as far as the plan has them.
    fn sources(&self) -> (Option<Source<LmConfig>>, Option<Source<MimiConfig>>) {
        let lm = self.shape.lm().map(|config| (Invented::lm(&config, self.numbers, Self::SEED), config));
        let codec = (self.with_codec || self.shape == Shape::Mimi).then(MimiConfig::published);
        // Beside a language model the codec is as it is when a model is loaded.
        let numbers = if self.shape == Shape::Mimi { self.numbers } else { Numbers::F32 };
        let codec = codec.map(|config| (Invented::mimi(&config, numbers, Self::SEED), config));
        (lm.map(|(weights, config)| (config, weights)), codec.map(|(weights, config)| (config, weights)))
    }
}

/// A model of invented weights with memory for its rows.
pub struct ShapeModel<B: Backend> {
    rows: usize,
    lm: Option<(Lm<B>, LmState<B>)>,
    codec: Option<ShapeCodec<B>>,
    /// `[rows, codebooks]`: what is heard.
    codes: Vec<i32>,
    frame: u64,
    clock: PartClock,
    /// Seconds from weights at hand to a model that can be stepped.
    pub load_s: f64,
}

struct ShapeCodec<B: Backend> {
    mimi: Mimi<B>,
    encoder: EncoderState<B>,
    decoder: DecoderState<B>,
    /// `[rows, FRAME_SAMPLES]`.
    heard: Vec<f32>,
    said: Vec<f32>,
}

impl<B: Backend> ShapeModel<B> {
    /// Lays the model out. `fits` is told about how many bytes that takes beforehand, and may refuse.
    ///
    /// # Errors
    /// That of `fits`, and those of the executor.
    pub fn new(
        (for_lm, for_codec): (B, B),
        plan: &Plan,
        fits: impl Fn(u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let (lm, codec) = plan.sources();
        let bytes = |weights: Option<&Invented>| weights.map_or(0, Invented::bytes);
        fits(bytes(lm.as_ref().map(|l| &l.1)) + bytes(codec.as_ref().map(|c| &c.1)))?;
        let start = Instant::now();
        let lm = lm.map(|(config, weights)| language_model(for_lm, &config, &weights, plan.rows)).transpose()?;
        let codec =
            codec.map(|(config, weights)| ShapeCodec::new(for_codec, &config, &weights, plan.rows)).transpose()?;
        let load_s = start.elapsed().as_secs_f64();
        let heard = lm.as_ref().map_or(CODEBOOKS, |(lm, _)| lm.heard());
        let codes = vec![0; plan.rows * heard];
        Ok(Self { rows: plan.rows, lm, codec, codes, frame: 0, clock: PartClock::new(), load_s })
    }

    /// Bytes of weights that a step reads.
    pub fn weight_bytes(&self) -> u64 {
        let lm = self.lm.as_ref().map_or(0, |(lm, _)| lm.bytes());
        (lm + self.codec.as_ref().map_or(0, |codec| codec.mimi.bytes())) as u64
    }

    /// Bytes of the sessions' memory: keys and values, windows, room to compute in.
    pub fn state_bytes(&self) -> u64 {
        let lm = self.lm.as_ref().map_or(0, |(lm, _)| lm.backend().taken().memory);
        lm + self.codec.as_ref().map_or(0, |codec| codec.mimi.backend().taken().memory)
    }

    /// One frame of all rows.
    ///
    /// # Errors
    /// Those of the executor.
    pub fn step(&mut self, counts: bool) -> anyhow::Result<()> {
        self.clock.start();
        self.frame += 1;
        match &mut self.codec {
            Some(codec) => {
                codec.hear(self.frame, &mut self.codes)?;
                self.clock.codec();
            }
            None => {
                let code = |i: usize| ((self.frame * 31 + i as u64 * 7) % 2_000) as i32;
                self.codes.iter_mut().enumerate().for_each(|(i, c)| *c = code(i));
            }
        }
        let Some((lm, state)) = &mut self.lm else {
            if let Some(codec) = &mut self.codec {
                codec.say(&self.codes)?;
                self.clock.codec();
            }
            self.clock.end(counts);
            return Ok(());
        };
        let heard = self.codes.chunks_exact(lm.heard()).enumerate();
        let inputs: Vec<RowInput<'_>> = heard.map(|(row, heard)| RowInput { row, heard, forced: &[] }).collect();
        lm.step_watched(state, &inputs, &mut self.clock)?;
        if let Some(codec) = &mut self.codec {
            let frames = (0..self.rows).map(|row| state.frame(row).and_then(|frame| frame.get(1..)));
            if let Some(said) = frames.collect::<Option<Vec<_>>>() {
                codec.say(&said.concat())?;
            }
            self.clock.codec();
        }
        self.clock.end(counts);
        Ok(())
    }

    /// Where the time of the steps that counted went.
    pub fn parts(&self) -> PartTimes {
        self.clock.medians()
    }
}

/// Codebooks of the codec: those of Moshi.
const CODEBOOKS: usize = 8;

fn language_model<B: Backend>(
    backend: B,
    config: &LmConfig,
    weights: &Invented,
    rows: usize,
) -> anyhow::Result<(Lm<B>, LmState<B>)> {
    let lm = Lm::load(backend, weights, config)?;
    let mut state = lm.init_state(rows)?;
    let params = RowSampling {
        text: SamplingParams { temperature: 0.7, top_k: 25, top_p: 1.0 },
        audio: SamplingParams { temperature: 0.8, top_k: 250, top_p: 1.0 },
        ..RowSampling::GREEDY
    };
    for row in 0..rows {
        lm.set_sampling(&mut state, row, &RowSampling { seed: row as u64, ..params })?;
    }
    Ok((lm, state))
}

impl<B: Backend> ShapeCodec<B> {
    fn new(backend: B, config: &MimiConfig, weights: &Invented, rows: usize) -> anyhow::Result<Self> {
        let mimi = Mimi::load(backend, weights, config, CODEBOOKS)?;
        Ok(Self {
            encoder: mimi.init_encoder(rows, 1)?,
            decoder: mimi.init_decoder(rows, 1)?,
            heard: vec![0.0; rows * FRAME_SAMPLES],
            said: vec![0.0; rows * FRAME_SAMPLES],
            mimi,
        })
    }

    /// A frame of a tone that wanders, to codes.
    fn hear(&mut self, frame: u64, codes: &mut [i32]) -> anyhow::Result<()> {
        let pitch = 0.01 + 0.04 * (frame % 25) as f32 / 25.0;
        self.heard.iter_mut().enumerate().for_each(|(i, x)| *x = 0.1 * (i as f32 * pitch).sin());
        let active = vec![true; self.encoder.rows()];
        Ok(self.mimi.encode_step(&mut self.encoder, &active, 1, &self.heard, codes)?)
    }

    fn say(&mut self, codes: &[i32]) -> anyhow::Result<()> {
        let active = vec![true; self.decoder.rows()];
        Ok(self.mimi.decode_step(&mut self.decoder, &active, 1, codes, &mut self.said)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
