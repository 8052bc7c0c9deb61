//! A prompt in one piece: steps of which everything is known run together, before anybody waits for them.
//!
//! Nothing is drawn while a prompt is forced, so the temporal transformer may read many of its columns at once; the depth
//! transformer has nothing to do. A prompt runs in a state of its own ([`Lm::init_prompt`]), and its row is then copied
//! ([`Lm::copy_row`]) to where the conversation goes on: the others need not stand still meanwhile.

use moshi_nn::Backend;
use moshi_nn::backend::{Column, FREE};
use moshi_nn::layers::Step;

use crate::delay::{Cell, DelayLine};
use crate::drawn::Drawn;
use crate::prompt::Prompt;
use crate::state::{LmState, Work};
use crate::tokens::Reading;
use crate::{Lm, LmError, Result, RowInput};

/// What one step of a prompt is given.
#[derive(Debug, Clone, Copy)]
pub struct PromptInput<'a> {
    /// The codes of the frame heard, one per heard stream; -1 for nothing.
    pub heard: &'a [i32],
    /// What the frame that this step begins must say, as in [`RowInput::forced`].
    pub forced: &'a [Cell],
    /// The temporal input itself, where it is known instead of the tokens, `[dim]`.
    pub replayed: Option<&'a [f32]>,
}

/// What the steps of a prompt read and say, worked out before any of them runs.
struct Read<'a> {
    /// `[steps, tables]`.
    ids: Vec<i32>,
    /// The two tokens of the text stream, `[steps, 2]`, in models that have two.
    pairs: Vec<i32>,
    /// Text tokens, where there are any.
    text: Vec<i32>,
    replayed: Vec<Option<&'a [f32]>>,
    /// The delay line after the last step.
    line: DelayLine,
}

impl<B: Backend> Lm<B> {
    /// Memory for one row that takes up to `steps` steps at once.
    ///
    /// # Errors
    /// When the device fails.
    pub fn init_prompt(&self, steps: usize) -> Result<LmState<B>> {
        self.init_state_of(1, steps.max(1))
    }

    /// Takes steps of one row in which every stream is given or forced, as many at once as the state has room for
    /// ([`Lm::init_prompt`]; one in a state of [`Lm::init_state`]). Afterwards the row is as after [`Lm::step`] with the
    /// same inputs, but for what those would have drawn and nobody reads. The last step of a prompt leaves something to
    /// the model as a rule: that one is an ordinary step. Nothing is emitted.
    ///
    /// # Errors
    /// [`LmError::Unforced`] for a step that leaves something to the model, and other input that does not fit: nothing has
    /// changed then. When the device fails, the row is lost: reset it.
    pub fn prefill(&self, state: &mut LmState<B>, row: usize, inputs: &[PromptInput<'_>]) -> Result<()> {
        state.out.valid = false;
        state.out.emitted.fill(false);
        if state.speeches.get(row).is_some() {
            return Err(LmError::Unforced { step: 0, stream: 0 }); // a text rule decides step by step
        }
        let read = self.read_ahead(state, row, inputs)?;
        let mut first = 0;
        while first < inputs.len() {
            // A longer piece would write over keys that its first steps still see.
            let position = state.position(row).unwrap_or(0);
            let room = (self.config.context as u64).saturating_sub(position).clamp(1, state.chunk as u64) as usize;
            let n = room.min(inputs.len() - first);
            self.prefill_piece(state, row, &read, first..first + n)?;
            first += n;
        }
        let silent = [self.config.existing_text_padding_id, self.config.existing_text_end_padding_id];
        for &token in read.text.iter().filter(|token| !silent.contains(&token.unsigned_abs())) {
            self.remember(state, row, token)?;
        }
        state.lines.0[row] = read.line;
        Ok(())
    }

    /// Runs all steps of a role-play's prompt but the last at once; `inputs [_, dim]` are those that a replayed voice
    /// brings. The last is an ordinary step with what [`Prompt::step`] gives: it draws the call's first tokens.
    ///
    /// # Errors
    /// As [`Lm::prefill`]; fewer inputs than the voice has.
    pub fn prime(&self, state: &mut LmState<B>, row: usize, prompt: &Prompt, inputs: &[f32]) -> Result<()> {
        let dim = self.config.dim;
        let steps: Vec<_> = (0..prompt.steps().saturating_sub(1)).filter_map(|at| prompt.step(at)).collect();
        let needed = steps.iter().filter_map(|step| step.replayed).max().map_or(0, |last| last + 1) * dim;
        if inputs.len() < needed {
            return Err(
                moshi_nn::Error::Shape { what: "inputs of a voice", expected: needed, found: inputs.len() }.into()
            );
        }
        let input = |step: usize| &inputs[step * dim..(step + 1) * dim];
        let given = steps.iter().map(|step| PromptInput {
            heard: &step.heard,
            forced: &step.forced,
            replayed: step.replayed.map(input),
        });
        self.prefill(state, row, &given.collect::<Vec<_>>())
    }

    /// Refuses what a step of a prompt in this row is given where it does not fit the model, whenever it will run.
    ///
    /// # Errors
    /// Codes or tokens that the model does not have, another number of them, an input of another width; a row that the state
    /// does not have.
    pub fn check_prompt(&self, state: &LmState<B>, row: usize, input: &PromptInput<'_>) -> Result<()> {
        let line = state.lines.0.get(row).ok_or(LmError::Row { row, rows: state.rows() })?;
        self.check_input(line, &RowInput { row, heard: input.heard, forced: input.forced })?;
        input.replayed.map_or(Ok(()), |values| self.check_replayed(values))
    }

    fn check_replayed(&self, values: &[f32]) -> Result<()> {
        let (expected, found) = (self.config.dim, values.len());
        let wrong = moshi_nn::Error::Shape { what: "input of a step", expected, found };
        if expected == found { Ok(()) } else { Err(wrong.into()) }
    }

    /// Goes through the steps on a copy of the row's delay line.
    fn read_ahead<'a>(&self, state: &mut LmState<B>, row: usize, inputs: &[PromptInput<'a>]) -> Result<Read<'a>> {
        let (rows, adapter, tables) = (state.rows(), state.adapters.of(row), self.tables.columns());
        let line = state.lines.0.get(row).ok_or(LmError::Row { row, rows })?.clone();
        let (written, streams) = (self.written(), self.config.delays.len());
        let ids = vec![-1; inputs.len() * tables];
        let mut read = Read { ids, pairs: Vec::new(), text: Vec::new(), replayed: Vec::new(), line };
        let (mut tokens, mut forced) = (vec![-1; streams], vec![FREE; written]);
        for (step, (input, ids)) in inputs.iter().zip(read.ids.chunks_exact_mut(tables)).enumerate() {
            let line = &mut read.line;
            self.check_input(line, &RowInput { row, heard: input.heard, forced: input.forced })?;
            line.hear(input.heard)?;
            if !input.forced.is_empty() {
                line.force(input.forced)?;
            }
            line.read(&mut tokens)?;
            tokens[0] = self.reads_as(tokens[0]);
            line.forced(&mut forced)?;
            if let Some(stream) = (0..written).find(|&stream| forced[stream] == FREE && line.is_asked_for(stream)) {
                return Err(LmError::Unforced { step, stream });
            }
            if let Some(values) = input.replayed {
                self.check_replayed(values)?;
                tokens.fill(-1);
            }
            self.tables.place(adapter, &tokens, ids);
            read.pairs.extend(self.text_pairs(&tokens, streams));
            read.text.extend(Some(forced[0]).filter(|&token| token >= 0));
            read.replayed.push(input.replayed);
            line.write(&vec![-1; written])?;
            line.advance();
        }
        Ok(read)
    }

    /// Steps `range` of the prompt through the temporal transformer.
    fn prefill_piece(
        &self,
        state: &mut LmState<B>,
        row: usize,
        read: &Read<'_>,
        range: std::ops::Range<usize>,
    ) -> Result<()> {
        let (backend, dim, tables) = (&self.backend, self.config.dim, self.tables.columns());
        let (n, LmState { rows, stack, adapters, replayed, told, work, out, .. }) = (range.len(), state);
        let Work { active, read_ids, drawn, input, .. } = work;
        active.fill(false);
        active[row] = true;
        rows.put(backend, active, n)?;
        let mut ids = vec![-1; (row + 1) * n * tables];
        ids[row * n * tables..].copy_from_slice(&read.ids[range.start * tables..range.end * tables]);
        backend.upload_ids(&ids, read_ids)?;
        if self.config.demux_second_text_stream {
            let mut pairs = vec![-1; (row + 1) * n * 2];
            pairs[row * n * 2..].copy_from_slice(&read.pairs[range.start * 2..range.end * 2]);
            backend.upload_ids(&pairs, &mut drawn.pairs)?;
        }
        // What the row was told is added at every step.
        let mut given = vec![0.0; (row + 1) * n * dim];
        given[row * n * dim..].chunks_exact_mut(dim).for_each(|to| told.copy_sum(row, to));
        for (to, from) in given[row * n * dim..].chunks_exact_mut(dim).zip(&read.replayed[range]) {
            if let Some(from) = from {
                to.iter_mut().zip(*from).for_each(|(to, from)| *to += from);
            }
        }
        let given_to = replayed.borrowed();
        backend.upload(&given, given_to)?;
        out.status.fill(0);
        backend.upload_ids(&out.status, &mut drawn.status)?;
        let step = Step::new(backend, rows, n).with_adapters(&adapters.ids);
        let Drawn { pairs, status, .. } = drawn;
        let reading = Reading { ids: read_ids, pairs, sums: None, replayed: Some(given_to) };
        self.tables.sum(step, &reading, input, status)?;
        self.temporal.step(step, 0, stack, &mut input.x)?;
        rows.advance(n);
        Ok(())
    }

    /// What was said counts for the repetition penalty, whoever decided it.
    fn remember(&self, state: &mut LmState<B>, row: usize, token: i32) -> Result<()> {
        let (backend, of) = (&self.backend, self.written());
        let LmState { rows, sampler, work, .. } = state;
        let Work { active, forced, forced_ids, drawn, text_logits, .. } = work;
        rows.put(backend, active, 1)?;
        forced[row * of] = token;
        backend.upload_ids(forced, forced_ids)?;
        let (column, card) = (Column { index: 0, of }, self.config.text_card_out);
        let (rows, sampler) = (rows.inner(), &mut sampler.inner);
        let (tokens, status) = (&mut drawn.tokens, &mut drawn.status);
        Ok(backend.sample(rows, text_logits, card, 0, sampler, forced_ids, tokens, column, status)?)
    }
}
