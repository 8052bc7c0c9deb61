//! A model of a published size with random weights.

use std::time::Instant;

use mimi::{DecoderState, EncoderState, Mimi};
use moshi_checkpoint::config::ConditionerKind;
use moshi_checkpoint::{Invented, LmConfig, MimiConfig};
use moshi_engine::FRAME_SAMPLES;
use moshi_lm::conditions::{ConditionValues, MEMORY_PLACES, Sequence};
use moshi_lm::script::Entry;
use moshi_lm::text_rule::{TextRule, TextRuleConfig};
use moshi_lm::{Lm, LmState, RowInput, RowSampling, SamplingParams, Speech};
use moshi_nn::{Backend, Precision, Rounded, WeightSource};

use super::machine::MachineProbe;
use super::memory::available_bytes;
use super::parts::{PartClock, PartTimes};
use super::shape::Plan;
use crate::{Error, Result};

/// Words of a synthesis: more than any measurement lasts.
const WORDS: usize = 20_000;

/// A model of invented weights with memory for its rows.
pub(super) struct ShapeModel<B: Backend> {
    rows: usize,
    lm: Option<(Lm<B>, LmState<B>)>,
    codec: Option<ShapeCodec<B>>,
    /// `[rows, codebooks]`: what is heard.
    codes: Vec<i32>,
    frame: u64,
    clock: PartClock,
    /// Seconds from weights at hand to a model that can be stepped.
    pub(super) load_s: f64,
}

struct ShapeCodec<B: Backend> {
    mimi: Mimi<B>,
    encoder: EncoderState<B>,
    /// None where nothing is said.
    decoder: Option<DecoderState<B>>,
    /// `[rows, FRAME_SAMPLES]`.
    heard: Vec<f32>,
    said: Vec<f32>,
}

impl<B: Backend> ShapeModel<B> {
    /// Lays the model out.
    ///
    /// # Errors
    /// [`Error::Memory`] when the machine would run out of it, and those of the executor.
    pub(super) fn new(executor: B, plan: &Plan, exact: bool) -> Result<Self> {
        let (lm, codec) = plan.sources();
        let bytes = |weights: Option<&Invented>| weights.map_or(0, Invented::bytes);
        fits(plan, bytes(lm.as_ref().map(|l| &l.1)) + bytes(codec.as_ref().map(|c| &c.1)))?;
        let start = Instant::now();
        let rounded = |fast| if exact { Precision::Exact } else { fast };
        let lm = lm
            .map(|(config, weights)| {
                let weights = Rounded::new(&weights, rounded(Precision::Fast));
                language_model(executor.clone(), &config, &weights, plan.rows)
            })
            .transpose()?;
        let codec = codec
            .map(|(config, weights)| {
                let weights = Rounded::new(&weights, rounded(Precision::Fixed));
                ShapeCodec::new(executor.clone(), &config, &weights, plan)
            })
            .transpose()?;
        let load_s = start.elapsed().as_secs_f64();
        let heard = lm.as_ref().map_or(plan.shape.codebooks(), |(lm, _)| lm.heard());
        let codes = vec![0; plan.rows * heard];
        Ok(Self { rows: plan.rows, lm, codec, codes, frame: 0, clock: PartClock::new(), load_s })
    }

    /// Bytes of weights that a step reads.
    pub(super) fn weight_bytes(&self) -> u64 {
        let lm = self.lm.as_ref().map_or(0, |(lm, _)| lm.bytes());
        (lm + self.codec.as_ref().map_or(0, |codec| codec.mimi.bytes())) as u64
    }

    /// Bytes of the sessions' memory: keys and values, windows, room to compute in.
    pub(super) fn state_bytes(&self) -> u64 {
        // Both parts run on one executor, which counts for both.
        let lm = self.lm.as_ref().map(|(lm, _)| lm.backend());
        lm.or(self.codec.as_ref().map(|codec| codec.mimi.backend())).map_or(0, |backend| backend.taken().memory)
    }

    /// One frame of all rows.
    ///
    /// # Errors
    /// Those of the executor.
    pub(super) fn step(&mut self, counts: bool) -> Result<()> {
        self.clock.start();
        self.frame += 1;
        match &mut self.codec {
            Some(codec) if !self.codes.is_empty() => {
                codec.hear(self.frame, &mut self.codes)?;
                self.clock.codec();
            }
            _ => {
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
        let heard = |row: usize| &self.codes[row * lm.heard()..(row + 1) * lm.heard()];
        let inputs: Vec<_> = (0..self.rows).map(|row| RowInput { row, heard: heard(row), forced: &[] }).collect();
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
    pub(super) fn parts(&self) -> PartTimes {
        self.clock.medians()
    }
}

fn language_model<B: Backend>(
    backend: B,
    config: &LmConfig,
    weights: &dyn WeightSource,
    rows: usize,
) -> Result<(Lm<B>, LmState<B>)> {
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
    if config.demux_second_text_stream {
        read_aloud(&lm, &mut state)?;
    }
    Ok((lm, state))
}

/// Gives every row of a synthesis a long text, past the steps in which the text leads alone, and the model's places for
/// voices.
fn read_aloud<B: Backend>(lm: &Lm<B>, state: &mut LmState<B>) -> Result<()> {
    let text = TextRuleConfig { second_stream_ahead: 2, ..TextRuleConfig::new(lm.config().text_card, 0) };
    let mut rule = TextRule::new(text);
    for _ in 0..WORDS {
        rule.push(Entry { text: "word".to_owned(), tokens: vec![42], padding: 1 });
    }
    let mut told = ConditionValues::new();
    for conditioner in &lm.config().conditioners {
        if let ConditionerKind::Tensor { dim } = conditioner.kind {
            told = told.sequence(&conditioner.name, Sequence::absent(dim, MEMORY_PLACES));
        }
    }
    let told = lm.conditions(&told)?;
    for row in 0..state.rows() {
        lm.set_speech(state, row, Some(Speech::new(rule.clone())))?;
        if !lm.config().conditioners.is_empty() {
            lm.set_conditions(state, row, &told)?;
        }
    }
    Ok(())
}

impl<B: Backend> ShapeCodec<B> {
    fn new(backend: B, config: &MimiConfig, weights: &dyn WeightSource, plan: &Plan) -> Result<Self> {
        let (rows, codebooks) = (plan.rows, plan.shape.codebooks());
        let mimi = Mimi::load(backend, weights, config, codebooks)?;
        let said = plan.shape.lm().map_or(codebooks, |config| config.dep_q);
        let decoder = (said > 0).then(|| mimi.init_decoder_for(rows, 1, said)).transpose()?;
        Ok(Self {
            encoder: mimi.init_encoder(rows, 1)?,
            decoder,
            heard: vec![0.0; rows * FRAME_SAMPLES],
            said: vec![0.0; rows * FRAME_SAMPLES],
            mimi,
        })
    }

    /// A frame of a tone that wanders, to codes.
    fn hear(&mut self, frame: u64, codes: &mut [i32]) -> Result<()> {
        let pitch = 0.01 + 0.04 * (frame % 25) as f32 / 25.0;
        self.heard.iter_mut().enumerate().for_each(|(i, x)| *x = 0.1 * (i as f32 * pitch).sin());
        let active = vec![true; self.encoder.rows()];
        Ok(self.mimi.encode_step(&mut self.encoder, &active, 1, &self.heard, codes)?)
    }

    fn say(&mut self, codes: &[i32]) -> Result<()> {
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        let active = vec![true; decoder.rows()];
        Ok(self.mimi.decode_step(decoder, &active, 1, codes, &mut self.said)?)
    }
}

/// Refuses what would drive the machine out of memory.
fn fits(plan: &Plan, weights: u64) -> Result<()> {
    let needed = weights + MachineProbe::BYTES as u64;
    match available_bytes() {
        Some(free) if free < needed => {
            Err(Error::Memory { what: format!("{} in {}", plan.shape.name(), plan.numbers.name()), needed, free })
        }
        _ => Ok(()),
    }
}
