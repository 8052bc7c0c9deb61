//! Guidance: a row is drawn towards what it was told, and away from what a second row was told.
//!
//! Two rows run side by side over the same tokens, one with the session's conditions, one with others or none. Their
//! logits are mixed, null + coefficient * (conditioned - null), and what is drawn from the mixture is what both go on
//! with. (Ho and Salimans 2022, "Classifier-Free Diffusion Guidance", for token models.)

use moshi_nn::Backend;

use crate::Result;
use crate::speech::Speech;

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
    /// The row beside it, which serves nobody else. What it was told (`Lm::set_conditions`) is what the row is drawn
    /// away from.
    pub null_row: usize,
    /// How far: 1 is the conditioned row alone.
    pub coefficient: f32,
    /// Which logits are mixed.
    pub guided: Guided,
}

/// The pairs of a state.
pub(crate) struct Pairs<B: Backend> {
    pub(crate) of: Vec<Option<Guidance>>,
    /// For each guided row its null row, -1 for others: of text logits, of audio logits.
    pub(crate) text: B::Ids,
    pub(crate) audio: B::Ids,
    pub(crate) coefficients: B::Buf,
}

impl<B: Backend> Pairs<B> {
    pub(crate) fn new(backend: &B, rows: usize) -> Result<Self> {
        let (text, audio, coefficients) = (backend.ids(rows)?, backend.ids(rows)?, backend.buf(rows)?);
        let mut pairs = Self { of: vec![None; rows], text, audio, coefficients };
        pairs.upload(backend)?;
        Ok(pairs)
    }

    pub(crate) fn upload(&mut self, backend: &B) -> Result<()> {
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
