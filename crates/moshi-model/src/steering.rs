//! What sessions may be given beside what they hear, checked where it is given.

use std::sync::Arc;

use moshi_engine::{EngineError, Entry, Forced, Script, SessionSpec, Steering};
use moshi_lm::LmConfig;
use moshi_lm::script::{self, ScriptRules, Speaker};
use moshi_lm::spelling::Speller;

use crate::reading::ReadsAloud;

/// What a model takes.
pub(crate) struct Steered {
    speller: Arc<Speller>,
    reads_aloud: Option<ReadsAloud>,
    frame_rate: f64,
    streams: usize,
    card: usize,
    text_card: usize,
    width: usize,
}

impl Steered {
    pub(crate) fn new(speller: Arc<Speller>, lm: &LmConfig, reads_aloud: Option<ReadsAloud>, frame_rate: f64) -> Self {
        let LmConfig { card, text_card, dim, dep_q, .. } = *lm;
        Self { speller, reads_aloud, frame_rate, streams: 1 + dep_q, card, text_card, width: dim }
    }
}

impl Steering for Steered {
    fn reads_aloud(&self) -> bool {
        self.reads_aloud.is_some()
    }

    fn script(&self, spec: &SessionSpec) -> Box<dyn Script> {
        let rules = match &self.reads_aloud {
            Some(reads_aloud) => reads_aloud.script_rules(&spec.reading),
            None => ScriptRules { speaker_tokens: false, ..ScriptRules::new(self.frame_rate) },
        };
        Box::new(Spelled { script: script::Script::new(self.speller.clone(), rules), entries: Vec::new() })
    }

    fn width(&self) -> usize {
        self.width
    }

    fn check_forced(&self, forced: &[Forced]) -> Result<usize, EngineError> {
        let Self { streams, card, text_card, .. } = *self;
        let one = (1..=streams).contains(&forced.len());
        if !one && (forced.is_empty() || !forced.len().is_multiple_of(streams)) {
            let found = forced.len();
            return Err(EngineError::Input(format!(
                "{found} forced cells; expected 1 to {streams}: text, then one for each codebook that is written; or several \
                 frames of {streams}"
            )));
        }
        for (stream, cell) in forced.iter().enumerate().map(|(i, cell)| (i % streams, cell)) {
            let tokens = if stream == 0 { text_card } else { card };
            match *cell {
                Forced::Token(token) if !usize::try_from(token).is_ok_and(|token| token < tokens) => {
                    return Err(EngineError::Input(format!(
                        "forced token {token} of stream {stream}; expected 0 to {}",
                        tokens.saturating_sub(1)
                    )));
                }
                Forced::Token(_) | Forced::Free | Forced::Nothing => {}
            }
        }
        Ok(streams.min(forced.len()))
    }

    fn check_added(&self, added: &[f32]) -> Result<(), EngineError> {
        let width = self.width;
        if added.is_empty() || !added.len().is_multiple_of(width) {
            return Err(EngineError::Input(format!(
                "vectors of {} values to add; this model is {width} wide, and each takes as many",
                added.len(),
            )));
        }
        match added.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(at) => Err(EngineError::Input(format!(
                "vector {} to add has {} at {}; expected finite numbers",
                at / width,
                added[at],
                at % width
            ))),
        }
    }
}

/// The script of one session.
#[derive(Debug, Clone)]
struct Spelled {
    script: script::Script,
    /// Room.
    entries: Vec<script::Entry>,
}

impl Spelled {
    fn hand_over(&mut self, out: &mut Vec<Entry>) {
        let entry = |script::Entry { text, tokens, padding }| Entry { text, tokens, padding };
        out.extend(self.entries.drain(..).map(entry));
    }
}

impl Script for Spelled {
    fn push(&mut self, text: &str, speaker: usize, out: &mut Vec<Entry>) -> Result<(), EngineError> {
        let pushed = self.script.push(text, Speaker::of_turn(speaker), &mut self.entries);
        self.hand_over(out);
        pushed.map_err(|e| EngineError::Input(e.to_string()))
    }

    fn finish(&mut self, out: &mut Vec<Entry>) -> Result<(), EngineError> {
        let finished = self.script.finish(&mut self.entries);
        self.hand_over(out);
        finished.map_err(|e| EngineError::Input(e.to_string()))
    }

    fn forget(&mut self) {
        self.script.forget();
    }

    fn copy(&self) -> Box<dyn Script> {
        Box::new(self.clone())
    }
}
