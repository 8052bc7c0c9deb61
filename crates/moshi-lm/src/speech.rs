//! Synthesis, row by row: who decides about the text, how the audio follows it, how many codebooks are made.

use moshi_nn::layers::StreamState;
use moshi_nn::{Backend, Error};

use crate::delay::{Cell, DelayConfig};
use crate::text_rule::{AudioLead, Fed, TextRule};
use crate::{Lm, LmError, LmState, Result};

/// What a row says: its text rule, and the spoken prefix that is its voice where the model takes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speech {
    rule: TextRule,
    /// `[codebooks, prefix frames]`.
    prefix: Vec<i32>,
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
    rows: Vec<Option<Speech>>,
    /// Codebooks that each row makes.
    codebooks: Vec<usize>,
    most: usize,
    /// Text token that the last step sampled, before the rule.
    asked: Vec<i32>,
    /// What the last step fed.
    fed: Vec<Option<Fed>>,
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

impl<B: Backend> Lm<B> {
    /// Gives a row something to say: from its next step on, which is best its first, the rule decides about its text.
    /// `None` takes it away. A reset takes it away too.
    ///
    /// # Errors
    /// A row that the state does not have; [`LmError::Codes`] and [`LmError::Token`] for a prefix that does not fit.
    pub fn set_speech(&self, state: &mut LmState<B>, row: usize, speech: Option<Speech>) -> Result<()> {
        if let Some(speech) = &speech {
            let (streams, steps) = (self.config.dep_q, speech.rule.config().prefix_frames);
            if speech.prefix.len() != streams * steps {
                return Err(LmError::Codes { streams, steps, found: speech.prefix.len() });
            }
            for (i, &code) in speech.prefix.iter().enumerate() {
                self.check_token(1 + i / steps, code)?;
            }
        }
        let rows = state.rows();
        *state.speeches.rows.get_mut(row).ok_or(LmError::Row { row, rows })? = speech;
        Ok(())
    }

    /// Makes a row write the first `codebooks` of its codebooks only; the others are nothing from its next step on.
    ///
    /// # Errors
    /// A row that the state does not have; [`LmError::Codebooks`] for none or more than the model writes.
    pub fn set_codebooks(&self, state: &mut LmState<B>, row: usize, codebooks: usize) -> Result<()> {
        let (most, rows) = (self.config.dep_q, state.rows());
        if codebooks == 0 || codebooks > most {
            return Err(LmError::Codebooks { found: codebooks, most });
        }
        *state.speeches.codebooks.get_mut(row).ok_or(LmError::Row { row, rows })? = codebooks;
        Ok(())
    }
}

impl<B: Backend> LmState<B> {
    /// What a row says; `None` where nobody decides about its text.
    pub fn speech(&self, row: usize) -> Option<&Speech> {
        self.speeches.get(row)
    }

    /// What a row says, for words that come while it speaks.
    pub fn speech_mut(&mut self, row: usize) -> Option<&mut Speech> {
        self.speeches.rows.get_mut(row)?.as_mut()
    }

    /// What the rule of a row fed in the last step, and the word that began; `None` where none decided.
    pub fn fed(&self, row: usize) -> Option<&Fed> {
        self.speeches.fed.get(row)?.as_ref()
    }

    /// The text token that the last step sampled for a row whose text the host decides about, before it did: what the
    /// model asked for.
    pub fn asked(&self, row: usize) -> Option<i32> {
        self.speeches.asked.get(row).copied().filter(|_| self.fed(row).is_some())
    }
}
