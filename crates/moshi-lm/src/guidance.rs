//! Guidance: a row is drawn towards what it was told, and away from what a second row was told.
//!
//! Two rows run side by side over the same tokens, one with the session's conditions, one with others or none. Their
//! logits are mixed, null + coefficient * (conditioned - null), and what is drawn from the mixture is what both go on
//! with. (Ho and Salimans 2022, "Classifier-Free Diffusion Guidance", for token models.)

use moshi_nn::Backend;

use crate::speech::Speech;
use crate::{Lm, LmError, LmState, Result};

/// Which logits are mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guided {
    /// Text and audio: translation.
    Everything,
    /// Audio alone: synthesis. The text is the conditioned row's; the second row reads no text after its first step, and
    /// nothing of a spoken prefix.
    Audio,
}

/// How a row is guided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guidance {
    /// The row beside it, which serves nobody else. What it was told ([`Lm::set_conditions`]) is what the row is drawn
    /// away from.
    pub null_row: usize,
    /// How far: 1 is the conditioned row alone.
    pub coefficient: f32,
    /// Which logits are mixed.
    pub guided: Guided,
}

/// The pairs of a state.
pub(crate) struct Pairs<B: Backend> {
    of: Vec<Option<Guidance>>,
    /// For each guided row its null row, -1 for others: of text logits, of audio logits.
    pub(crate) text: B::Ids,
    pub(crate) audio: B::Ids,
    pub(crate) coefficients: B::Buf,
}

impl<B: Backend> Pairs<B> {
    fn new(backend: &B, rows: usize) -> Result<Self> {
        let (text, audio, coefficients) = (backend.ids(rows)?, backend.ids(rows)?, backend.buf(rows)?);
        let mut pairs = Self { of: vec![None; rows], text, audio, coefficients };
        pairs.upload(backend)?;
        Ok(pairs)
    }

    fn upload(&mut self, backend: &B) -> Result<()> {
        let null = |guided: &dyn Fn(Guided) -> bool| -> Vec<i32> {
            let one = |pair: &Option<Guidance>| pair.filter(|pair| guided(pair.guided));
            self.of.iter().map(|pair| one(pair).map_or(-1, |pair| pair.null_row as i32)).collect()
        };
        let (text, audio) = (null(&|guided| guided == Guided::Everything), null(&|_| true));
        let coefficients: Vec<f32> = self.of.iter().map(|pair| pair.map_or(1.0, |pair| pair.coefficient)).collect();
        backend.upload_ids(&text, &mut self.text)?;
        backend.upload_ids(&audio, &mut self.audio)?;
        Ok(backend.upload(&coefficients, &mut self.coefficients)?)
    }
}

/// How a row is guided, if it is.
pub(crate) fn guidance_of<B: Backend>(pairs: &Option<Pairs<B>>, row: usize) -> Option<Guidance> {
    pairs.as_ref()?.of.get(row).copied().flatten()
}

/// Whether a row serves another.
pub(crate) fn is_null<B: Backend>(pairs: &Option<Pairs<B>>, row: usize) -> bool {
    pairs.as_ref().is_some_and(|pairs| pairs.of.iter().flatten().any(|pair| pair.null_row == row))
}

/// What the null row does not read of what its row reads at `step`: `tokens`, text first.
pub(crate) fn hide(guided: Guided, step: u64, speech: Option<&Speech>, delays: &[usize], tokens: &mut [i32]) {
    if guided != Guided::Audio {
        return;
    }
    let lead = speech.map(Speech::lead);
    for (stream, (token, &delay)) in tokens.iter_mut().zip(delays).enumerate() {
        let hidden = match stream {
            0 => step > 0,
            _ => lead.is_some_and(|lead| lead.masked(step, delay)),
        };
        if hidden {
            *token = -1;
        }
    }
}

impl<B: Backend> Lm<B> {
    /// Guides a row by another from its first step on; `None` lets it go. Both rows are at their beginning. Steps name
    /// the guided row alone: the other runs with it, draws as it draws, and is reset with it. A copy of a guided row is
    /// not guided.
    ///
    /// # Errors
    /// A row that the state does not have; [`LmError::Guidance`] for rows that are at other places or in another pair;
    /// failures of the device.
    pub fn set_guidance(&self, state: &mut LmState<B>, row: usize, guidance: Option<Guidance>) -> Result<()> {
        let rows = state.rows();
        if row >= rows {
            return Err(LmError::Row { row, rows });
        }
        if let Some(guidance) = &guidance {
            self.check_guidance(state, row, guidance)?;
        }
        if state.pairs.is_none() {
            // From now on a stretch makes other calls.
            state.recordings = B::Recordings::default();
        }
        let mut pairs = match state.pairs.take() {
            Some(pairs) => pairs,
            None => Pairs::new(&self.backend, rows)?,
        };
        pairs.of[row] = guidance;
        let uploaded = pairs.upload(&self.backend);
        state.pairs = Some(pairs);
        uploaded?;
        match guidance {
            Some(guidance) => Ok(state.sampler.share(&self.backend, row, guidance.null_row)?),
            None => Ok(()),
        }
    }

    fn check_guidance(&self, state: &LmState<B>, row: usize, guidance: &Guidance) -> Result<()> {
        let (rows, null) = (state.rows(), guidance.null_row);
        if null >= rows {
            return Err(LmError::Row { row: null, rows });
        }
        let fail = |found: String| Err(LmError::Guidance { row, null_row: null, found });
        let taken = |row| guidance_of(&state.pairs, row).is_some() || is_null(&state.pairs, row);
        let mine = guidance_of(&state.pairs, row).is_some_and(|pair| pair.null_row == null);
        if row == null || !mine && (taken(row) || taken(null)) {
            return fail("rows that are one, or in a pair already".to_owned());
        }
        if !guidance.coefficient.is_finite() {
            return fail(format!("a coefficient of {}", guidance.coefficient));
        }
        match (state.position(row), state.position(null)) {
            (Some(0), Some(0)) => Ok(()),
            (row, null) => fail(format!("rows after {} and {} steps", row.unwrap_or(0), null.unwrap_or(0))),
        }
    }
}
