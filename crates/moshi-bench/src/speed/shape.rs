//! Published sizes, and invented weights for them.

use std::path::Path;

use clap::ValueEnum;
use moshi_checkpoint::config::{ModelConfig, gated_hidden};
use moshi_checkpoint::{Invented, LmConfig, MimiConfig, Numbers};
use moshi_cpu::arithmetic::Operands;

/// Which sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// The codec, as published, with 8 codebooks.
    Mimi,
    /// A language model of a billion weights: temporal part 2,048 wide with 16 layers, all else as Moshi 7B.
    #[value(name = "1b")]
    B1,
    /// Moshi 7B; PersonaPlex is stepped as this is.
    #[value(name = "7b", alias = "personaplex")]
    B7,
    /// Recognition: kyutai/stt-1b-en_fr-candle, with its extra heads.
    #[value(name = "stt-1b")]
    Stt1b,
    /// Recognition: kyutai/stt-2.6b-en.
    #[value(name = "stt-2.6b")]
    Stt2600m,
    /// Synthesis: kyutai/tts-1.6b-en_fr, with a voice to attend to.
    #[value(name = "tts-1.6b")]
    Tts1600m,
    /// Synthesis: kyutai/tts-0.75b-en-public.
    #[value(name = "tts-0.75b")]
    Tts750m,
    /// Translation: kyutai/hibiki-1b.
    #[value(name = "hibiki-1b")]
    Hibiki1b,
    /// Translation: kyutai/hibiki-2b.
    #[value(name = "hibiki-2b")]
    Hibiki2b,
    /// Translation: kyutai/hibiki-zero-3b.
    #[value(name = "hibiki-zero-3b")]
    HibikiZero,
}

/// The configuration of a published repository.
macro_rules! published {
    ($name:literal) => {
        include_str!(concat!("published/", $name, ".json"))
    };
}

impl Shape {
    /// Sizes of the language model; nothing for the codec.
    pub fn lm(self) -> Option<LmConfig> {
        let large = LmConfig::moshi_7b();
        let text = match self {
            Self::Mimi => return None,
            Self::B1 => {
                return Some(LmConfig { dim: 2048, num_heads: 16, num_layers: 16, dim_feedforward: 8448, ..large });
            }
            Self::B7 => return Some(large),
            Self::Stt1b => published!("stt-1b"),
            Self::Stt2600m => published!("stt-2.6b"),
            Self::Tts1600m => published!("tts-1.6b"),
            Self::Tts750m => published!("tts-0.75b"),
            Self::Hibiki1b => published!("hibiki-1b"),
            Self::Hibiki2b => published!("hibiki-2b"),
            Self::HibikiZero => published!("hibiki-zero-3b"),
        };
        let json = serde_json::from_str(text).ok()?;
        ModelConfig::from_json(Path::new(self.name()), json).ok().map(|(config, _)| config.lm)
    }

    /// Codebooks of the codec that goes with it.
    pub(super) fn codebooks(self) -> usize {
        self.lm().map_or(8, |config| config.dep_q.max(config.n_q - config.dep_q))
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mimi => "mimi",
            Self::B1 => "1b",
            Self::B7 => "7b",
            Self::Stt1b => "stt-1b",
            Self::Stt2600m => "stt-2.6b",
            Self::Tts1600m => "tts-1.6b",
            Self::Tts750m => "tts-0.75b",
            Self::Hibiki1b => "hibiki-1b",
            Self::Hibiki2b => "hibiki-2b",
            Self::HibikiZero => "hibiki-zero-3b",
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
pub(super) type Source<C> = (C, Invented);

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
    pub(super) fn sources(&self) -> (Option<Source<LmConfig>>, Option<Source<MimiConfig>>) {
        let lm = self.shape.lm().map(|config| (Invented::lm(&config, self.numbers, Self::SEED), config));
        let codec = (self.with_codec || self.shape == Shape::Mimi).then(MimiConfig::published);
        // Beside a language model the codec is as it is when a model is loaded.
        let numbers = if self.shape == Shape::Mimi { self.numbers } else { Numbers::F32 };
        let codec = codec.map(|config| (Invented::mimi(&config, numbers, Self::SEED), config));
        (lm.map(|(weights, config)| (config, weights)), codec.map(|(weights, config)| (config, weights)))
    }
}
