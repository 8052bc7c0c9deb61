//! Synthesis, row by row: who decides about the text, how the audio follows it, how many codebooks are made.

use moshi_nn::layers::StreamState;
use moshi_nn::{Backend, Error};

use crate::delay::{Cell, DelayConfig};
use crate::text_rule::{AudioLead, Fed, TextRule};

/// What a row says: its text rule, and the spoken prefix that is its voice where the model takes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speech {
    pub(crate) rule: TextRule,
    /// `[codebooks, prefix frames]`.
    pub(crate) prefix: Vec<i32>,
}

impl Speech {
    /// A row without a spoken prefix.
    pub fn new(rule: TextRule) -> Self {
        Self { rule, prefix: Vec::new() }
    }

    /// The codes `[dep_q, prefix frames]` of the spoken prefix that the rule counts on.
    #[must_use]
    pub fn with_prefix(self, codes: Vec<i32>) -> Self {
        Self { prefix: codes, ..self }
    }

    /// The text rule: how far it is.
    pub fn rule(&self) -> &TextRule {
        &self.rule
    }

    /// The text rule, for words that come while it speaks.
    pub fn rule_mut(&mut self) -> &mut TextRule {
        &mut self.rule
    }

    pub(crate) fn lead(&self) -> AudioLead {
        self.rule.config().audio_lead()
    }

    fn cell(&self, step: u64, q: usize, delay: usize) -> Cell {
        let frames = self.rule.config().prefix_frames;
        self.lead().cell(step, delay, |frame| self.prefix.get(q * frames + frame).copied().unwrap_or(-1))
    }
}

/// What every row says, and how.
pub(crate) struct Speeches {
    pub(crate) rows: Vec<Option<Speech>>,
    /// Codebooks that each row makes.
    pub(crate) codebooks: Vec<usize>,
    pub(crate) most: usize,
    /// Text token that the last step sampled, before the rule.
    pub(crate) asked: Vec<i32>,
    /// What the last step fed.
    pub(crate) fed: Vec<Option<Fed>>,
}

impl Speeches {
    pub(crate) fn new(rows: usize, codebooks: usize) -> Self {
        Self {
            rows: vec![None; rows],
            codebooks: vec![codebooks; rows],
            most: codebooks,
            asked: vec![-1; rows],
            fed: vec![None; rows],
        }
    }

    pub(crate) fn get(&self, row: usize) -> Option<&Speech> {
        self.rows.get(row)?.as_ref()
    }

    pub(crate) fn codebooks(&self, row: usize) -> usize {
        self.codebooks[row]
    }

    /// Before a step: nothing was fed in it yet.
    pub(crate) fn begin(&mut self) {
        self.fed.fill(None);
        self.asked.fill(-1);
    }

    /// Whether somebody decides about the text of one of the active rows.
    pub(crate) fn decides(&self, active: &[bool]) -> bool {
        self.rows.iter().zip(active).any(|(speech, active)| *active && speech.is_some())
    }

    /// Decides what a row feeds in place of `sampled`; whether its audio has begun.
    pub(crate) fn decide(&mut self, row: usize, step: u64, sampled: i32) -> (i32, bool) {
        self.asked[row] = sampled;
        let Some(speech) = &mut self.rows[row] else { return (sampled, true) };
        let speaks = !speech.lead().is_silent(step);
        let fed = speech.rule.step(sampled);
        let token = fed.token;
        self.fed[row] = Some(fed);
        (token, speaks)
    }

    /// What a row's written streams must be in the next column, whatever is sampled; false where it is free.
    pub(crate) fn column(&self, row: usize, step: u64, delays: &DelayConfig, cells: &mut [Cell]) -> bool {
        let (speech, codebooks) = (&self.rows[row], self.codebooks[row]);
        cells.fill(Cell::Pending);
        if speech.is_none() && codebooks == self.most {
            return false;
        }
        for (q, (cell, &delay)) in cells.iter_mut().zip(&delays.delays).skip(1).enumerate() {
            *cell = match speech {
                _ if q >= codebooks => Cell::Nothing,
                Some(speech) => speech.cell(step, q, delay),
                None => Cell::Pending,
            };
        }
        true
    }

    fn missing(&self, row: usize) -> Error {
        Error::Shape { what: "row", expected: row + 1, found: self.rows.len() }
    }
}

/// A reset forgets what was to be said; how many codebooks a row makes stays.
impl<B: Backend> StreamState<B> for Speeches {
    fn reset_row(&mut self, _: &B, row: usize) -> moshi_nn::Result<()> {
        let missing = self.missing(row);
        *self.rows.get_mut(row).ok_or(missing)? = None;
        Ok(())
    }

    fn copy_row(&mut self, _: &B, row: usize, src: &Self, src_row: usize) -> moshi_nn::Result<()> {
        let missing = self.missing(row);
        let speech = src.rows.get(src_row).ok_or_else(|| src.missing(src_row))?;
        self.rows.get_mut(row).ok_or(missing)?.clone_from(speech);
        self.codebooks[row] = src.codebooks[src_row];
        Ok(())
    }
}
