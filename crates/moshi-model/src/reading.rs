//! A row that reads aloud: what it is given to say, and which of its frames are heard.

use moshi_checkpoint::config::{LmConfig, TtsConfig};
use moshi_engine::{Aside, EngineError, Heard, ReadingSpec, WordEvent};
use moshi_lm::Speech;
use moshi_lm::script::{Entry, ScriptRules};
use moshi_lm::text_rule::{AudioLead, Fed, TextRule, TextRuleConfig};

/// What a model that reads aloud knows of all its sessions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadsAloud {
    config: TtsConfig,
    text_card: usize,
    frame_rate: f64,
    /// Whether a voice is vectors to attend to, and not a spoken prefix.
    attends: bool,
}

/// How far a row has read.
#[derive(Clone, Copy, Default)]
pub(crate) struct Reading {
    /// Frames that became complete.
    frames: u64,
    lead: Lead,
}

#[derive(Clone, Copy, Default)]
struct Lead {
    silent: u64,
    prefix: u64,
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sound {
    /// There is none yet.
    Nothing,
    /// The codec has to know it, and nobody hears it: it is the voice that was given.
    Unheard,
    Heard,
}

impl ReadsAloud {
    pub(crate) fn new(config: Option<TtsConfig>, lm: &LmConfig, frame_rate: f64) -> Self {
        let none = TtsConfig { audio_delay: 0.0, second_stream_ahead: 0, max_speakers: 5 };
        Self { config: config.unwrap_or(none), text_card: lm.text_card, frame_rate, attends: lm.cross_attention }
    }

    /// How a session's script is read.
    pub(crate) fn script_rules(&self, spec: &ReadingSpec) -> ScriptRules {
        let rules = ScriptRules::new(self.frame_rate);
        ScriptRules { padding_between: spec.padding_between, speaker_tokens: self.attends, ..rules }
    }

    /// What a row says that was given nothing to say yet.
    ///
    /// # Errors
    /// [`EngineError::Parameter`] for a spoken prefix of another shape than it says.
    pub(crate) fn speech(&self, spec: &ReadingSpec, codebooks: usize) -> Result<(Speech, Reading), EngineError> {
        let (prefix, frames) = match &spec.prefix {
            Some(prefix) if prefix.codebooks == codebooks && prefix.codes.len().is_multiple_of(codebooks.max(1)) => {
                (prefix.codes.clone(), prefix.codes.len() / codebooks.max(1))
            }
            Some(prefix) => {
                return Err(EngineError::Parameter {
                    name: "prefix",
                    found: format!("{} codes of {} codebooks", prefix.codes.len(), prefix.codebooks),
                    expected: format!("whole frames of {codebooks} codebooks"),
                });
            }
            None => (Vec::new(), 0),
        };
        let delay_steps = TextRuleConfig::delay_steps(self.config.audio_delay, self.frame_rate);
        let config = TextRuleConfig {
            second_stream_ahead: self.config.second_stream_ahead,
            prefix_frames: frames,
            ..TextRuleConfig::new(self.text_card, delay_steps)
        };
        let lead = config.audio_lead();
        let reading =
            Reading { frames: 0, lead: Lead { silent: lead.frames_before_sound(), prefix: lead.prefix_frames } };
        Ok((Speech::new(TextRule::new(config)).with_prefix(prefix), reading))
    }

    /// The word that a step took, with the time at which it will be heard.
    pub(crate) fn tell(&self, fed: Option<&Fed>, lead: AudioLead, heard: &mut Heard) {
        let Some(taken) = fed.and_then(|fed| fed.taken.as_ref()).filter(|taken| !taken.entry.is_pause()) else {
            return;
        };
        let start = lead.word_start(taken.step, self.frame_rate);
        heard.words.push(WordEvent::Started { text: taken.entry.text.clone(), start });
    }
}

impl Reading {
    /// A frame became complete: what becomes of it.
    pub(crate) fn next(&mut self) -> Sound {
        let Lead { silent, prefix } = self.lead;
        let frame = self.frames;
        self.frames += 1;
        match frame {
            frame if frame < silent => Sound::Nothing,
            frame if frame < silent + prefix => Sound::Unheard,
            _ => Sound::Heard,
        }
    }
}

/// Gives a text rule what comes with a step.
pub(crate) fn give(rule: &mut TextRule, aside: &Aside) {
    aside.entries.iter().for_each(|entry| rule.push(said(entry)));
    if aside.ended {
        rule.end();
    }
}

/// An entry as the language model takes it.
pub(crate) fn said(entry: &moshi_engine::Entry) -> Entry {
    Entry { text: entry.text.clone(), tokens: entry.tokens.clone(), padding: entry.padding }
}
