//! The model: weights, and one step of some rows.

use std::sync::Arc;

use moshi_checkpoint::config::LmConfig;
use moshi_nn::backend::{Column, FREE, Plan, RowSampling, SilentTokens, Stretch};
use moshi_nn::layers::{Linear, Norm, Rows, Step, StreamState, Transformer, TransformerState};
use moshi_nn::{Adapted, At, Backend, LaidOut, WeightSource};

use crate::adapters::{NamedAdapter, RowAdapters};
use crate::conditions::Conditioners;
use crate::delay::{Cell, DelayConfig, DelayLine};
use crate::depth::Depth;
use crate::drawn::Drawn;
use crate::guidance::{Pairs, guidance_of, hide, is_null};
use crate::replay::Replayed;
use crate::speech::Speeches;
use crate::state::{Lines, LmState, Sampler, StepOutput, Work};
use crate::tokens::{Input, Reading, TokenTables};
use crate::watch::{Place, Watcher};
use crate::{LmError, Result, shape};

/// The weights of the language model on an executor. Shared by all sessions; their memory is [`LmState`].
pub struct Lm<B: Backend> {
    pub(crate) backend: B,
    pub(crate) config: LmConfig,
    pub(crate) delays: Arc<DelayConfig>,
    pub(crate) tables: TokenTables<B>,
    pub(crate) conditioners: Conditioners<B>,
    pub(crate) temporal: Transformer<B>,
    out_norm: Norm<B>,
    pub(crate) text_head: Linear<B>,
    pub(crate) extra_heads: Vec<Linear<B>>,
    pub(crate) depth: Option<Depth<B>>,
    pub(crate) adapters: Vec<String>,
}

/// What one row hears and must say in a step.
#[derive(Debug, Clone, Copy)]
pub struct RowInput<'a> {
    /// Which row.
    pub row: usize,
    /// The codes of the frame just heard, one per heard stream (`n_q - dep_q`); -1 for nothing.
    pub heard: &'a [i32],
    /// What the frame that this step begins must say: text, then `dep_q` codes; [`Cell::Pending`] is left to the model.
    /// Empty when nothing is forced. Each stream says it `delays[i]` steps later.
    pub forced: &'a [Cell],
}

impl<B: Backend> Lm<B> {
    /// Lays out the weights of a model; names are the canonical ones (see `moshi-checkpoint`).
    ///
    /// # Errors
    /// [`LmError::Unsupported`] for a configuration that does not run here; the errors of the source and of the device.
    pub fn load(backend: B, source: &dyn WeightSource, config: &LmConfig) -> Result<Self> {
        Self::load_adapted(backend, source, config, &[])
    }

    /// As [`Lm::load`], with adapters that rows choose from ([`Lm::set_adapter`]).
    ///
    /// # Errors
    /// As [`Lm::load`], and those of the adapters' sources.
    pub fn load_adapted(
        backend: B,
        source: &dyn WeightSource,
        config: &LmConfig,
        adapters: &[NamedAdapter<'_>],
    ) -> Result<Self> {
        Self::load_sharing(backend, source, config, adapters, &LaidOut::default())
    }

    /// As [`Lm::load_adapted`], with what `laid_out` has of the same model on the same executor: a second model, with other
    /// adapters, takes only what these add. What it has not is put there.
    ///
    /// # Errors
    /// As [`Lm::load_adapted`].
    pub fn load_sharing(
        backend: B,
        source: &dyn WeightSource,
        config: &LmConfig,
        adapters: &[NamedAdapter<'_>],
        laid_out: &LaidOut<B>,
    ) -> Result<Self> {
        shape::check(config)?;
        let adapted = Adapted::new(source, adapters.iter().map(|adapter| adapter.source).collect());
        let at = At::new(&adapted, "").keeping(laid_out);
        let head = |i| Linear::load(&backend, &at.at("extra_heads").at(i), config.extra_heads_dim, config.dim);
        let depth = config.depformer.as_ref().map(|depth| Depth::load(&backend, &at, config, depth)).transpose()?;
        Ok(Self {
            delays: Arc::new(shape::delays(config)),
            tables: TokenTables::load(&backend, &at, config)?,
            conditioners: Conditioners::load(&backend, &at, config)?,
            temporal: Transformer::load(&backend, &at.at("transformer"), shape::temporal(config)?)?,
            out_norm: Norm::load(&backend, &at.at("out_norm"), shape::norm(config.norm)?, config.dim)?,
            text_head: Linear::load(&backend, &at.at("text_linear"), config.text_card_out, config.dim)?,
            extra_heads: (0..config.extra_heads_num_heads).map(head).collect::<Result<_, _>>()?,
            depth,
            adapters: adapters.iter().map(|adapter| adapter.name.to_owned()).collect(),
            config: config.clone(),
            backend,
        })
    }

    /// Sizes and options.
    pub fn config(&self) -> &LmConfig {
        &self.config
    }

    /// The executor.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Streams that are heard: codes per frame of the user.
    pub fn heard(&self) -> usize {
        self.delays.heard()
    }

    /// Streams that are written: text and the agent's codebooks.
    pub fn written(&self) -> usize {
        self.delays.written
    }

    /// Steps before the first frame comes out.
    pub fn max_delay(&self) -> usize {
        self.delays.max_delay()
    }

    /// Bytes of weights that a step of one row reads: all matrices, and the embeddings of its tokens.
    pub fn bytes(&self) -> usize {
        let backend = &self.backend;
        let heads = std::iter::once(&self.text_head).chain(&self.extra_heads);
        self.tables.bytes(backend)
            + self.temporal.bytes(backend)
            + heads.map(|head| head.bytes(backend)).sum::<usize>()
            + self.depth.as_ref().map_or(0, |depth| depth.bytes(backend))
    }

    /// Memory for `rows` conversations, all greedy until [`Lm::set_sampling`].
    ///
    /// # Errors
    /// When the device fails.
    pub fn init_state(&self, rows: usize) -> Result<LmState<B>> {
        self.init_state_of(rows, 1)
    }

    /// As [`Lm::init_state`], with room for prompts of `chunk` steps at once.
    pub(crate) fn init_state_of(&self, rows: usize, chunk: usize) -> Result<LmState<B>> {
        let (backend, c) = (&self.backend, &self.config);
        let (streams, written, tables) = (self.delays.delays.len(), self.written(), self.tables.columns());
        let silent = SilentTokens { padding: c.existing_text_padding_id, end_padding: c.existing_text_end_padding_id };
        let heads = || self.extra_heads.iter().map(|head| head.outputs() * rows);
        let work = Work {
            active: vec![false; rows],
            read: vec![0; rows * streams],
            placed: vec![-1; rows * tables],
            forced: vec![FREE; rows * written],
            cells: vec![Cell::Pending; written],
            text: vec![-1; if c.demux_second_text_stream { rows * 2 } else { 0 }],
            speaking: vec![false; rows],
            read_ids: backend.ids(rows * chunk * tables)?,
            forced_ids: backend.ids(rows * written)?,
            drawn: Drawn { pairs: backend.ids(rows * chunk * 2)?, ..Drawn::new(backend, rows, written)? },
            input: self.tables.input(backend, rows * chunk)?,
            z: backend.buf(rows * c.dim)?,
            text_logits: backend.buf(rows * c.text_card_out)?,
            extra: heads().map(|len| backend.buf(len)).collect::<Result<_, _>>()?,
            depth: self.depth.as_ref().map(|depth| depth.init_state(backend, rows)).transpose()?,
        };
        let out = StepOutput {
            valid: false,
            written,
            sampled: vec![-1; rows * written],
            status: vec![0; rows],
            frames: vec![-1; rows * written],
            emitted: vec![false; rows],
            extra: heads().map(|len| vec![0.0; len]).collect(),
        };
        Ok(LmState {
            rows: Rows::new(backend, rows, &[self.temporal.config().attention])?,
            stack: self.temporal.init_prompt_state(backend, rows, chunk)?,
            sampler: Sampler::new(backend, rows, silent)?,
            lines: Lines::new(&self.delays, rows),
            adapters: RowAdapters::new(backend, rows)?,
            replayed: Replayed::new(backend, (rows, chunk), c.dim)?,
            chunk,
            told: self.told(rows)?,
            speeches: Speeches::new(rows, c.dep_q),
            pairs: None,
            work,
            recordings: B::Recordings::default(),
            out,
        })
    }

    /// Sets how a row draws its tokens, and forgets what its repetition penalty remembers.
    ///
    /// # Errors
    /// A parameter out of range; a row that the state does not have.
    pub fn set_sampling(&self, state: &mut LmState<B>, row: usize, params: &RowSampling) -> Result<()> {
        state.sampler.set(&self.backend, row, params)?;
        match guidance_of(&state.pairs, row) {
            Some(pair) => Ok(state.sampler.set(&self.backend, pair.null_row, params)?),
            None => Ok(()),
        }
    }

    /// Makes a row as before its first step, with nothing to say. Its sampling parameters stay, and so do its adapter, its
    /// conditions, its number of codebooks and its guidance.
    ///
    /// # Errors
    /// A row that the state does not have; failures of the device.
    pub fn reset(&self, state: &mut LmState<B>, row: usize) -> Result<()> {
        if let Some(pair) = guidance_of(&state.pairs, row) {
            state.reset_row(&self.backend, pair.null_row)?;
        }
        Ok(state.reset_row(&self.backend, row)?)
    }

    /// Overwrites a row with one of another state of this model: both go on the same way, independently.
    ///
    /// # Errors
    /// A row that a state does not have; failures of the device.
    pub fn copy_row(&self, state: &mut LmState<B>, row: usize, src: &LmState<B>, src_row: usize) -> Result<()> {
        Ok(state.copy_row(&self.backend, row, src, src_row)?)
    }

    /// Takes one step of the rows that `inputs` name; all others stay as they are, bit for bit. Results are in the state:
    /// [`LmState::frame`], [`LmState::sampled`], [`LmState::extra_head`], and [`LmState::fault`] for a row whose data turned
    /// out to be damaged: that row is lost, the others get what they would have got without it.
    ///
    /// # Errors
    /// Input that does not fit changes nothing. When the device fails, the rows of this step are lost: reset them.
    pub fn step(&self, state: &mut LmState<B>, inputs: &[RowInput<'_>]) -> Result<()> {
        state.out.valid = false;
        state.out.emitted.fill(false);
        self.check_inputs(state, inputs)?;
        self.take_inputs(state, inputs)?;
        if self.decides(state) {
            self.stretch(state, (Stretch::Text, 1), |state| self.text_part(state, &mut ()))?;
            if let Some(codebooks) = self.decide(state)? {
                self.stretch(state, (Stretch::Depth, codebooks), |state| self.depth_part(state, &mut ()))?;
            }
        } else {
            self.stretch(state, (Stretch::Think, 1), |state| self.compute(state, &mut ()))?;
        }
        self.hand_out(state)
    }

    /// Runs a stretch of the rows that were put.
    fn stretch(
        &self,
        state: &mut LmState<B>,
        (stretch, t): (Stretch, usize),
        calls: impl Fn(&mut LmState<B>) -> moshi_nn::Result<()>,
    ) -> Result<()> {
        let plan = Plan { stretch, rows: state.rows.running(), t };
        let mut recordings = std::mem::take(&mut state.recordings);
        let ran = self.backend.replay(&mut recordings, plan, &mut || calls(state));
        state.recordings = recordings;
        Ok(ran?)
    }

    /// As [`Lm::step`], while `watcher` looks on. It looks into the middle of a stretch, so nothing is replayed.
    ///
    /// # Errors
    /// As [`Lm::step`], and the watcher's own.
    pub fn step_watched(
        &self,
        state: &mut LmState<B>,
        inputs: &[RowInput<'_>],
        watcher: &mut dyn Watcher<B>,
    ) -> Result<()> {
        state.out.valid = false;
        state.out.emitted.fill(false);
        self.check_inputs(state, inputs)?;
        self.take_inputs(state, inputs)?;
        if self.decides(state) {
            self.text_part(state, watcher)?;
            if self.decide(state)?.is_some() {
                self.depth_part(state, watcher)?;
            }
        } else {
            self.compute(state, watcher)?;
        }
        self.hand_out(state)
    }

    /// The text logits of the last step, `[rows, text_card_out]`; unspecified for rows that did not run.
    ///
    /// # Errors
    /// When the device fails.
    pub fn text_logits(&self, state: &LmState<B>) -> Result<Vec<f32>> {
        let mut logits = vec![0.0; state.rows() * self.config.text_card_out];
        self.backend.download(&state.work.text_logits, &mut logits)?;
        Ok(logits)
    }

    /// The last token that stream `stream` has an embedding for: its initial one, or where text carries two, both of them.
    fn last_token(&self, stream: usize) -> usize {
        let LmConfig { card, text_card, demux_second_text_stream: two, .. } = self.config;
        match stream {
            0 if two => (text_card + 1) * (text_card + 2) - 1,
            0 => text_card,
            _ => card,
        }
    }

    pub(crate) fn check_token(&self, stream: usize, found: i32) -> Result<()> {
        let last = self.last_token(stream);
        if (-1..=last as i64).contains(&i64::from(found)) {
            Ok(())
        } else {
            Err(LmError::Token { stream, found, last })
        }
    }

    /// Refuses input that does not fit before anything is changed, and marks the rows of the step.
    fn check_inputs(&self, state: &mut LmState<B>, inputs: &[RowInput<'_>]) -> Result<()> {
        let rows = state.rows();
        let active = &mut state.work.active;
        active.fill(false);
        for input in inputs {
            match active.get_mut(input.row) {
                Some(flag) if !*flag => *flag = true,
                _ => return Err(LmError::Row { row: input.row, rows }),
            }
            if is_null(&state.pairs, input.row) {
                return Err(LmError::Row { row: input.row, rows });
            }
            self.check_input(&state.lines.0[input.row], input)?;
        }
        Ok(())
    }

    /// Refuses input of a row that does not fit its streams.
    pub(crate) fn check_input(&self, line: &DelayLine, input: &RowInput<'_>) -> Result<()> {
        line.check(input.heard, input.forced)?;
        for (i, &code) in input.heard.iter().enumerate() {
            self.check_token(self.written() + i, code)?;
        }
        for (stream, cell) in input.forced.iter().enumerate() {
            if let Cell::Token(token) = *cell {
                self.check_token(stream, token)?;
            }
        }
        Ok(())
    }

    fn take_inputs(&self, state: &mut LmState<B>, inputs: &[RowInput<'_>]) -> Result<()> {
        let LmState { rows, lines, adapters, replayed, work, out, speeches, pairs, .. } = state;
        let (streams, written, tables) = (self.delays.delays.len(), self.written(), self.tables.columns());
        speeches.begin();
        for &RowInput { row, heard, forced } in inputs {
            let line = &mut lines.0[row];
            line.hear(heard)?;
            if !forced.is_empty() {
                line.force(forced)?;
            }
            if speeches.column(row, line.step(), &self.delays, &mut work.cells) {
                line.force_column(&work.cells)?;
            }
            let read = row * streams..(row + 1) * streams;
            line.read(&mut work.read[read.clone()])?;
            work.read[read.start] = self.reads_as(work.read[read.start]);
            if replayed.is_given(row) {
                work.read[read.clone()].fill(-1);
            }
            let must = row * written..(row + 1) * written;
            line.forced(&mut work.forced[must.clone()])?;
            if let Some(pair) = guidance_of(pairs, row) {
                let null = pair.null_row;
                work.active[null] = true;
                work.read.copy_within(read, null * streams);
                work.forced.copy_within(must, null * written);
                let tokens = &mut work.read[null * streams..(null + 1) * streams];
                hide(pair.guided, line.step(), speeches.get(row), &self.delays.delays, tokens);
            }
        }
        self.put_pairs(work, |work, row| work.read[row * streams])?;
        rows.put(&self.backend, &work.active, 1)?;
        if let (Some(weights), Some(depth)) = (&self.depth, &mut work.depth) {
            weights.put(&self.backend, &work.active, weights.codebooks(), depth)?;
        }
        for row in (0..work.active.len()).filter(|&row| work.active[row]) {
            let (tokens, ids) = (&work.read[row * streams..(row + 1) * streams], &mut work.placed);
            self.tables.place(adapters.of(row), tokens, &mut ids[row * tables..(row + 1) * tables]);
        }
        replayed.upload(&self.backend)?;
        self.backend.upload_ids(&work.placed, &mut work.read_ids)?;
        self.backend.upload_ids(&work.forced, &mut work.forced_ids)?;
        out.status.fill(0);
        self.backend.upload_ids(&out.status, &mut work.drawn.status)?;
        Ok(())
    }

    /// From tokens read to tokens sampled, without waiting for the device.
    fn compute(&self, state: &mut LmState<B>, watcher: &mut dyn Watcher<B>) -> moshi_nn::Result<()> {
        self.text_part(state, watcher)?;
        self.depth_part(state, watcher)
    }

    /// From tokens read to the text token sampled.
    fn text_part(&self, state: &mut LmState<B>, watcher: &mut dyn Watcher<B>) -> moshi_nn::Result<()> {
        let backend = &self.backend;
        let LmState { rows, stack, sampler, adapters, replayed, told, pairs, work, .. } = state;
        let Work { read_ids, forced_ids, drawn, input, z, text_logits, extra, .. } = work;
        let step = Step::new(backend, rows, 1).with_adapters(&adapters.ids);
        let (sums, replayed) = (told.sums.as_ref(), Some(&replayed.inputs));
        let reading = Reading { ids: read_ids, pairs: &drawn.pairs, sums, replayed };
        self.temporal_step(step, &reading, stack, (input, z), &mut drawn.status, watcher)?;
        self.text_head.step(step, z, text_logits)?;
        watcher.at(Place::TextLogits, text_logits)?;
        self.extra_probabilities(step, z, extra)?;
        let card = self.config.text_card_out;
        if let Some(Pairs { text, coefficients, .. }) = pairs {
            backend.guide(rows.inner(), card, text, coefficients, text_logits)?;
        }
        let (column, Drawn { tokens, status, .. }) = (Column { index: 0, of: self.written() }, drawn);
        let sampler = &mut sampler.inner;
        backend.sample(rows.inner(), text_logits, card, 0, sampler, forced_ids, tokens, column, status)?;
        watcher.at(Place::Drawn { stream: 0 }, text_logits)
    }

    /// From the text token to the codes sampled.
    fn depth_part(&self, state: &mut LmState<B>, watcher: &mut dyn Watcher<B>) -> moshi_nn::Result<()> {
        let (backend, of) = (&self.backend, self.written());
        let LmState { rows, sampler, adapters, pairs, work, .. } = state;
        let Work { forced_ids, drawn, z, depth, .. } = work;
        let (Some(weights), Some(depth)) = (&self.depth, depth) else { return Ok(()) };
        let (rows, sampler, card, pairs) = (rows.inner(), &mut sampler.inner, self.config.card, pairs.as_ref());
        weights.frame(backend, &adapters.ids, z, drawn, depth, watcher, |k, logits, drawn| {
            if let Some(Pairs { audio, coefficients, .. }) = pairs {
                backend.guide(rows, card, audio, coefficients, logits)?;
            }
            let (column, Drawn { tokens, status, .. }) = (Column { index: 1 + k, of }, drawn);
            backend.sample(rows, logits, card, 1 + k, sampler, forced_ids, tokens, column, status)
        })
    }

    /// What is read -> `z [b, t, dim]`, the normalised output of the temporal transformer; what is wrong with
    /// the tokens is noted in `status [b]`.
    pub(crate) fn temporal_step(
        &self,
        step: Step<'_, B>,
        reading: &Reading<'_, B>,
        stack: &mut TransformerState<B>,
        (input, z): (&mut Input<B>, &mut B::Buf),
        status: &mut B::Ids,
        watcher: &mut dyn Watcher<B>,
    ) -> moshi_nn::Result<()> {
        self.tables.sum(step, reading, input, status)?;
        let x = &mut input.x;
        watcher.at(Place::Embedded, x)?;
        self.temporal.step_watched(step, 0, stack, x, |layer, x| watcher.at(Place::Temporal { layer }, x))?;
        self.out_norm.step(step, x, z)
    }

    /// The probabilities of every extra head, `[heads][b, t, head]`.
    pub(crate) fn extra_probabilities(
        &self,
        step: Step<'_, B>,
        z: &B::Buf,
        out: &mut [B::Buf],
    ) -> moshi_nn::Result<()> {
        for (head, out) in self.extra_heads.iter().zip(out) {
            head.step(step, z, out)?;
            self.backend.softmax(step.rows, step.t, head.outputs(), out)?;
        }
        Ok(())
    }

    /// Brings the sampled tokens to the host, through the delay lines, and out.
    fn hand_out(&self, state: &mut LmState<B>) -> Result<()> {
        let LmState { rows, lines, replayed, pairs, work, out, .. } = state;
        let written = self.written();
        rows.advance_rows(&work.active, 1);
        replayed.read(&work.active);
        self.backend.download_ids(&work.drawn.tokens, &mut out.sampled)?;
        self.backend.download_ids(&work.drawn.status, &mut out.status)?;
        for (buf, values) in work.extra.iter().zip(&mut out.extra) {
            self.backend.download(buf, values)?;
        }
        for row in (0..lines.0.len()).filter(|&row| work.active[row] && !is_null(pairs, row)) {
            if let Some(pair) = guidance_of(pairs, row).filter(|_| out.status[row] == 0) {
                out.status[row] = out.status[pair.null_row];
            }
            let (line, tokens) = (&mut lines.0[row], row * written..(row + 1) * written);
            line.write(&out.sampled[tokens.clone()])?;
            // The line of a damaged row goes on, so that it fits the row's position until somebody resets both.
            out.emitted[row] = line.emit(&mut out.frames[tokens])? && out.status[row] == 0;
            line.advance();
        }
        out.valid = true;
        Ok(())
    }
}
