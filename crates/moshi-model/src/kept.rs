//! Prompts that have run before: a session with a known prompt begins where it ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use moshi_engine::{Condition, Forced, Prompt, SessionSpec};
use moshi_lm::{Lm, LmState};
use moshi_nn::Backend;

use crate::error::ModelError;

/// How many are kept. Each takes what its steps have written of a session's memory.
const MOST: usize = 4;

/// What the state after a prompt depends on.
#[derive(Clone, PartialEq)]
pub(crate) struct Key {
    prompt: Arc<Prompt>,
    adapter: Option<String>,
    conditions: BTreeMap<String, Condition>,
    codebooks: Option<usize>,
}

impl Key {
    /// Of a session's prompt; `None` where what it comes to depends on more: on draws before its last step, on a row beside
    /// it, on what the penalty for repetition remembers.
    pub(crate) fn of(spec: &SessionSpec) -> Option<Self> {
        let prompt = spec.prompt.as_ref().filter(|prompt| prompt.frames.len() > 1)?;
        let (_, forced) = prompt.frames.split_last()?;
        let is_forced = |cells: &[Forced]| !cells.is_empty() && !cells.contains(&Forced::Free);
        let alone = spec.guidance.is_none() && spec.sampling.repetition_penalty == 1.0;
        (alone && forced.iter().all(|frame| is_forced(&frame.said))).then(|| Self {
            prompt: prompt.clone(),
            adapter: spec.adapter.clone(),
            conditions: spec.conditions.clone(),
            codebooks: spec.codebooks,
        })
    }
}

/// The prompts that are kept, the last one used first.
pub(crate) struct KeptPrompts<B: Backend>(Mutex<Vec<(Key, LmState<B>)>>);

impl<B: Backend> Default for KeptPrompts<B> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<B: Backend> KeptPrompts<B> {
    /// Keeps the state of a row whose prompt has run but for its last step.
    pub(crate) fn keep(&self, lm: &Lm<B>, state: &LmState<B>, row: usize, key: &Key) -> Result<(), ModelError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.iter().any(|(known, _)| known == key) {
            return Ok(());
        }
        kept.truncate(MOST - 1);
        let mut copy = lm.init_state(1)?;
        lm.copy_row(&mut copy, 0, state, row)?;
        kept.insert(0, (key.clone(), copy));
        Ok(())
    }

    /// Makes a row that of a prompt that has run but for its last step; false for a prompt that is not known.
    pub(crate) fn recall(&self, lm: &Lm<B>, state: &mut LmState<B>, row: usize, key: &Key) -> Result<bool, ModelError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = kept.iter().position(|(known, _)| known == key) else { return Ok(false) };
        kept[..=at].rotate_right(1);
        if let Some((_, known)) = kept.first() {
            lm.copy_row(state, row, known, 0)?;
        }
        Ok(true)
    }
}
