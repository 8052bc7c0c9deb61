//! The prompt of a row, while it runs.

use std::sync::Arc;

use moshi_engine::{EngineError, Forced, Prompt, PromptFrame};
use moshi_lm::delay::Cell;
use moshi_lm::prompt::Prompt as RolePrompt;

/// A prompt, and how far a row is in it.
#[derive(Clone)]
pub(crate) struct Priming {
    prompt: Arc<Prompt>,
    /// What each step is forced to, as the language model takes it.
    forced: Arc<[Vec<Cell>]>,
    at: usize,
}

impl Priming {
    /// At its beginning.
    pub(crate) fn new(prompt: Arc<Prompt>) -> Self {
        let forced = prompt.frames.iter().map(|frame| frame.said.iter().map(cell).collect()).collect();
        Self { prompt, forced, at: 0 }
    }

    /// Every step, from the first: what it is given, and what it is forced to.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&PromptFrame, &[Cell])> {
        self.prompt.frames.iter().zip(self.forced.iter().map(Vec::as_slice))
    }

    /// Steps that are left.
    pub(crate) fn left(&self) -> usize {
        self.prompt.frames.len() - self.at
    }

    /// The step that comes next.
    pub(crate) fn next(&self) -> Option<(&PromptFrame, &[Cell])> {
        Some((self.prompt.frames.get(self.at)?, self.forced.get(self.at)?))
    }

    /// The steps before the last are done.
    pub(crate) fn skip_to_last(&mut self) {
        self.at = self.prompt.frames.len().saturating_sub(1);
    }

    /// That step is done.
    pub(crate) fn advance(&mut self) {
        self.at = self.prompt.frames.len().min(self.at + 1);
    }
}

/// A forced cell as the language model takes it.
pub(crate) fn cell(forced: &Forced) -> Cell {
    match *forced {
        Forced::Free => Cell::Pending,
        Forced::Nothing => Cell::Nothing,
        Forced::Token(token) => Cell::Token(token),
    }
}

/// The prompt of a role-play as sessions take it: voice and role, and the temporal inputs `[_, dim]` that a replayed voice
/// brings (none for a voice of codes).
///
/// # Errors
/// [`EngineError::Input`] when there are fewer inputs than the voice replays.
pub fn role_play(prompt: &RolePrompt, inputs: &[f32], dim: usize) -> Result<Prompt, EngineError> {
    let mut frames = Vec::with_capacity(prompt.steps());
    for step in (0..prompt.steps()).filter_map(|at| prompt.step(at)) {
        let input = |i: usize| {
            let found = inputs.chunks_exact(dim.max(1)).nth(i).map(<[f32]>::to_vec);
            found.ok_or_else(|| EngineError::Input(format!("the voice's input {i} is missing: {dim} values expected")))
        };
        frames.push(PromptFrame {
            heard: step.heard.to_vec(),
            said: step.forced.iter().map(forced).collect(),
            input: step.replayed.map(input).transpose()?,
        });
    }
    Ok(Prompt { frames })
}

fn forced(cell: &Cell) -> Forced {
    match *cell {
        Cell::Token(token) => Forced::Token(token),
        Cell::Nothing | Cell::Dropped => Forced::Nothing,
        Cell::Pending => Forced::Free,
    }
}
