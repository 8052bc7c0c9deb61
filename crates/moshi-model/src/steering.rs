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

    fn check_forced(&self, forced: &[Forced]) -> Result<(), EngineError> {
        let Self { streams, card, text_card, .. } = *self;
        if forced.is_empty() || forced.len() > streams {
            let found = forced.len();
            return Err(EngineError::Input(format!(
                "{found} forced cells; expected 1 to {streams}: text, then one for each codebook that is written"
            )));
        }
        for (stream, cell) in forced.iter().enumerate() {
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
        Ok(())
    }

    fn check_added(&self, added: &[f32]) -> Result<(), EngineError> {
        if added.len() != self.width {
            return Err(EngineError::Input(format!(
                "a vector of {} values to add; this model is {} wide",
                added.len(),
                self.width
            )));
        }
        match added.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(at) => {
                Err(EngineError::Input(format!("a vector to add with {} at {at}; expected numbers", added[at])))
            }
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

    fn copy(&self) -> Box<dyn Script> {
        Box::new(self.clone())
    }
}
