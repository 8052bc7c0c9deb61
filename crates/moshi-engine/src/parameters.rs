//! The numbers by which a session draws its tokens, declared once.
//!
//! Whoever reads, shows or explains them takes them from [`PARAMETERS`]: the query of the wires, the settings of the page,
//! Python's arguments, the options of commands and the manual. A further number is a further row, and a field of
//! [`SessionParams`].

use crate::{EngineError, SessionParams};

/// One of the numbers.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name in Rust and Python; commands write hyphens.
    pub name: &'static str,
    /// Its name in the query of a call, as published clients write it.
    pub wire: &'static str,
    /// What it does, in a few words.
    pub help: &'static str,
    /// What it may be.
    pub range: Range,
    /// How a page lets people choose it.
    pub slider: Slider,
    /// Reads it.
    pub get: fn(&SessionParams) -> f64,
    /// Sets it; the value is one of the range.
    pub set: fn(&mut SessionParams, f64),
}

/// The values of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// Numbers of single precision from the first to the second.
    Real(f64, f64),
    /// Whole numbers from 0 to this.
    Whole(u32),
}

/// How a page shows a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slider {
    /// What stands before it.
    pub label: &'static str,
    /// From.
    pub min: f64,
    /// To.
    pub max: f64,
    /// In steps of.
    pub step: f64,
}

/// Top-k: far above every published vocabulary.
const TOP_K: Range = Range::Whole(1_000_000);
/// From greedy to noise.
const TEMPERATURE: Range = Range::Real(0.0, 10.0);

/// All numbers of a session but its seed.
pub const PARAMETERS: [Parameter; 8] = [
    Parameter {
        name: "text_temperature",
        wire: "text_temperature",
        help: "Temperature of the words; 0 is greedy",
        range: TEMPERATURE,
        slider: Slider { label: "Words: temperature", min: 0.0, max: 2.0, step: 0.05 },
        get: |params| f64::from(params.text_temperature),
        set: |params, value| params.text_temperature = value as f32,
    },
    Parameter {
        name: "text_top_k",
        wire: "text_topk",
        help: "Keep the k likeliest words; 0 keeps all",
        range: TOP_K,
        slider: Slider { label: "Words: top-k", min: 0.0, max: 500.0, step: 1.0 },
        get: |params| params.text_top_k as f64,
        set: |params, value| params.text_top_k = value as usize,
    },
    Parameter {
        name: "temperature",
        wire: "audio_temperature",
        help: "Temperature of the voice; 0 is greedy",
        range: TEMPERATURE,
        slider: Slider { label: "Voice: temperature", min: 0.0, max: 2.0, step: 0.05 },
        get: |params| f64::from(params.temperature),
        set: |params, value| params.temperature = value as f32,
    },
    Parameter {
        name: "top_k",
        wire: "audio_topk",
        help: "Keep the k likeliest codes of the voice; 0 keeps all",
        range: TOP_K,
        slider: Slider { label: "Voice: top-k", min: 0.0, max: 2048.0, step: 1.0 },
        get: |params| params.top_k as f64,
        set: |params, value| params.top_k = value as usize,
    },
    Parameter {
        name: "top_p",
        wire: "top_p",
        help: "Keep the likeliest words and codes that together have this probability; 1 keeps all",
        range: Range::Real(0.001, 1.0),
        slider: Slider { label: "Top-p", min: 0.05, max: 1.0, step: 0.05 },
        get: |params| f64::from(params.top_p),
        set: |params, value| params.top_p = value as f32,
    },
    Parameter {
        name: "pad_mult",
        wire: "pad_mult",
        help: "Bias towards pauses between words; 0 is none",
        range: Range::Real(-20.0, 20.0),
        slider: Slider { label: "Pause bias", min: -4.0, max: 4.0, step: 0.1 },
        get: |params| f64::from(params.pad_mult),
        set: |params, value| params.pad_mult = value as f32,
    },
    Parameter {
        name: "repetition_penalty",
        wire: "repetition_penalty",
        help: "Penalty on words said lately; 1 is none",
        range: Range::Real(0.1, 10.0),
        slider: Slider { label: "Repetition penalty", min: 1.0, max: 2.0, step: 0.01 },
        get: |params| f64::from(params.repetition_penalty),
        set: |params, value| params.repetition_penalty = value as f32,
    },
    Parameter {
        name: "repetition_context",
        wire: "repetition_penalty_context",
        help: "How many words the penalty remembers",
        range: Range::Whole(256),
        slider: Slider { label: "Penalty remembers", min: 0.0, max: 200.0, step: 1.0 },
        get: |params| params.repetition_context as f64,
        set: |params, value| params.repetition_context = value as usize,
    },
];

impl Parameter {
    /// The parameter of this name, as Rust and Python have it.
    pub fn named(name: &str) -> Option<&'static Self> {
        PARAMETERS.iter().find(|parameter| parameter.name == name)
    }

    /// Its value where neither a caller nor a checkpoint has one, as people write it: 0.7, not 0.699999988.
    pub fn usual(&self) -> f64 {
        self.range.as_written((self.get)(&SessionParams::default()))
    }

    /// Checks a value.
    ///
    /// # Errors
    /// [`EngineError::Parameter`] has the parameter's name, what was found and what is allowed.
    pub fn check(&self, value: f64) -> Result<(), EngineError> {
        if self.range.holds(value) {
            return Ok(());
        }
        Err(EngineError::Parameter {
            name: self.name,
            found: self.range.as_written(value).to_string(),
            expected: self.range.to_string(),
        })
    }
}

impl Range {
    /// Whether a value is one of these.
    pub fn holds(self, value: f64) -> bool {
        match self {
            // As single precision: 0.1 is the smallest penalty, however it was written.
            Self::Real(low, high) => (low as f32..=high as f32).contains(&(value as f32)),
            Self::Whole(high) => value.fract() == 0.0 && (0.0..=f64::from(high)).contains(&value),
        }
    }

    /// The value with the digits that tell it from its neighbours: single precision that was widened has more than anybody
    /// wrote.
    fn as_written(self, value: f64) -> f64 {
        match self {
            Self::Real(..) => (value as f32).to_string().parse().unwrap_or(value),
            Self::Whole(_) => value,
        }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Real(low, high) => write!(f, "a number from {low} to {high}"),
            Self::Whole(high) => write!(f, "a whole number from 0 to {high}"),
        }
    }
}
