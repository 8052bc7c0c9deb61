//! Teacher forcing: logits for a whole conversation at once.

use moshi_nn::Backend;
use moshi_nn::layers::{Rows, Step};

use crate::conditions::{Conditions, Told};
use crate::depth::{Depth, DepthState};
use crate::drawn::Drawn;
use crate::tokens::{Input, Reading};
use crate::watch::{Place, Watcher};
use crate::{Lm, LmError, Result};

/// Time steps that run together; what bounds the memory of a pass besides its result.
pub const FORWARD_CHUNK: usize = 64;

/// The logits of [`Lm::forward`], aligned to the frames that were given. Frames whose logits would come after the last
/// step, because of the delays, hold NaN; the masks are false there and wherever the frame itself holds "nothing".
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// Number of frames T.
    pub steps: usize,
    /// `[T, text_card_out]`: what the text token of each frame was predicted to be.
    pub text_logits: Vec<f32>,
    /// `[T]`.
    pub text_mask: Vec<bool>,
    /// `[dep_q, T, card]`.
    pub audio_logits: Vec<f32>,
    /// `[dep_q, T]`.
    pub audio_mask: Vec<bool>,
    /// `[heads, T, extra_heads_dim]` probabilities, by step: the frame t is what the heads say before they see it.
    pub extra_heads: Vec<f32>,
}

impl<B: Backend> Lm<B> {
    /// Predicts every token of `codes [1 + n_q, T]` (undelayed: column t is frame t; -1 for nothing) from those that a
    /// conversation would have seen before it.
    ///
    /// # Errors
    /// [`LmError::Codes`] and [`LmError::Token`] for codes that do not fit; failures of the device.
    pub fn forward(&self, codes: &[i32], steps: usize) -> Result<Forward> {
        self.forward_watched(codes, steps, &mut ())
    }

    /// As [`Lm::forward`], while `watcher` looks on: at [`FORWARD_CHUNK`] time steps at once (the last time at those
    /// that are left), which are one row of the temporal transformer and rows of the depth transformer.
    ///
    /// # Errors
    /// As [`Lm::forward`], and the watcher's own.
    pub fn forward_watched(&self, codes: &[i32], steps: usize, watcher: &mut dyn Watcher<B>) -> Result<Forward> {
        self.forward_told(codes, steps, None, watcher)
    }

    /// As [`Lm::forward_watched`] with one of the model's adapters.
    ///
    /// # Errors
    /// As [`Lm::forward_watched`], and [`LmError::Adapter`].
    pub fn forward_adapted(
        &self,
        codes: &[i32],
        steps: usize,
        adapter: Option<usize>,
        watcher: &mut dyn Watcher<B>,
    ) -> Result<Forward> {
        self.forward_of(codes, steps, (adapter, None), watcher)
    }

    /// As [`Lm::forward_watched`], in a conversation that was told something beside its streams.
    ///
    /// # Errors
    /// As [`Lm::forward_watched`].
    pub fn forward_told(
        &self,
        codes: &[i32],
        steps: usize,
        conditions: Option<&Conditions<B>>,
        watcher: &mut dyn Watcher<B>,
    ) -> Result<Forward> {
        self.forward_of(codes, steps, (None, conditions), watcher)
    }

    fn forward_of(
        &self,
        codes: &[i32],
        steps: usize,
        (adapter, conditions): (Option<usize>, Option<&Conditions<B>>),
        watcher: &mut dyn Watcher<B>,
    ) -> Result<Forward> {
        let streams = 1 + self.config.n_q;
        if steps == 0 || streams.checked_mul(steps) != Some(codes.len()) {
            return Err(LmError::Codes { streams, steps, found: codes.len() });
        }
        for (i, &code) in codes.iter().enumerate() {
            self.check_token(i / steps, code)?;
        }
        let mut pass = Pass::new(self, codes, steps)?;
        pass.adapter = self.adapter_number(adapter)?;
        self.backend.upload_ids(&vec![pass.adapter; FORWARD_CHUNK.min(steps)], &mut pass.adapters)?;
        if let Some(conditions) = conditions {
            pass.told.set_all(&self.backend, conditions)?;
            self.recall(pass.stack.cross(), 0, conditions)?;
        }
        for first in (0..steps).step_by(FORWARD_CHUNK) {
            pass.chunk(first, FORWARD_CHUNK.min(steps - first), watcher)?;
        }
        Ok(pass.out)
    }
}

/// A pass in progress.
struct Pass<'a, B: Backend> {
    lm: &'a Lm<B>,
    codes: &'a [i32],
    out: Forward,
    rows: Rows<B>,
    adapter: i32,
    /// The same for every row.
    adapters: B::Ids,
    stack: moshi_nn::layers::TransformerState<B>,
    /// Time steps are the rows of the depth transformer.
    depth: Option<(&'a Depth<B>, DepthState<B>)>,
    /// The same at every time step.
    told: Told<B>,
    read: B::Ids,
    /// Its status stays clear: all codes are checked before the pass, and nothing is drawn from logits.
    drawn: Drawn<B>,
    input: Input<B>,
    z: B::Buf,
    text_logits: B::Buf,
    extra: Vec<B::Buf>,
    host: Vec<f32>,
}

impl<'a, B: Backend> Pass<'a, B> {
    fn new(lm: &'a Lm<B>, codes: &'a [i32], steps: usize) -> Result<Self> {
        let (backend, c) = (&lm.backend, &lm.config);
        let chunk = FORWARD_CHUNK.min(steps);
        let depth = lm.depth.as_ref().map(|depth| Ok::<_, LmError>((depth, depth.init_state(backend, chunk)?)));
        let widest = c.text_card_out.max(c.card).max(c.extra_heads_dim);
        let mask = |stream: usize| {
            let delay = c.delays[stream];
            (0..steps).map(move |t| t + delay < steps && codes[stream * steps + t] != -1)
        };
        Ok(Self {
            lm,
            codes,
            out: Forward {
                steps,
                text_logits: vec![f32::NAN; steps * c.text_card_out],
                text_mask: mask(0).collect(),
                audio_logits: vec![f32::NAN; c.dep_q * steps * c.card],
                audio_mask: (1..=c.dep_q).flat_map(mask).collect(),
                extra_heads: vec![0.0; lm.extra_heads.len() * steps * c.extra_heads_dim],
            },
            rows: Rows::new(backend, 1, &[lm.temporal.config().attention])?,
            adapter: 0,
            adapters: backend.ids(chunk)?,
            stack: lm.temporal.init_state(backend, 1, chunk)?,
            depth: depth.transpose()?,
            read: backend.ids(chunk * lm.tables.columns())?,
            told: lm.told(chunk)?,
            drawn: Drawn::new(backend, chunk, 1 + c.dep_q)?,
            input: lm.tables.input(backend, chunk)?,
            z: backend.buf(chunk * c.dim)?,
            text_logits: backend.buf(chunk * c.text_card_out)?,
            extra: lm.extra_heads.iter().map(|head| backend.buf(chunk * head.outputs())).collect::<Result<_, _>>()?,
            host: vec![0.0; chunk * widest],
        })
    }

    /// The delayed table: column p of a stream, which starts with its initial token.
    fn column(&self, stream: usize, p: usize) -> i32 {
        let c = &self.lm.config;
        match p.checked_sub(1 + c.delays[stream]) {
            Some(frame) => self.codes[stream * self.out.steps + frame],
            None if stream == 0 => c.text_card as i32,
            None => c.card as i32,
        }
    }

    /// Columns `first..first + n` of the first `streams` streams, `[n, streams]`.
    fn columns(&self, first: usize, n: usize, streams: usize) -> Vec<i32> {
        (first..first + n).flat_map(|p| (0..streams).map(move |i| self.column(i, p))).collect()
    }

    fn chunk(&mut self, first: usize, n: usize, watcher: &mut dyn Watcher<B>) -> Result<()> {
        let (lm, backend) = (self.lm, &self.lm.backend);
        let (streams, tables) = (1 + lm.config.n_q, lm.tables.columns());
        let mut columns = self.columns(first, n, streams);
        columns.iter_mut().step_by(streams).for_each(|text| *text = lm.reads_as(*text));
        let mut read = vec![-1; n * tables];
        for (tokens, ids) in columns.chunks_exact(streams).zip(read.chunks_exact_mut(tables)) {
            lm.tables.place(self.adapter, tokens, ids);
        }
        backend.upload_ids(&read, &mut self.read)?;
        backend.upload_ids(&lm.text_pairs(&columns, streams), &mut self.drawn.pairs)?;
        self.rows.put(backend, &[true], n)?;
        let step = Step::new(backend, &self.rows, n).with_adapters(&self.adapters);
        let Drawn { pairs, status, .. } = &mut self.drawn;
        let reading = Reading { ids: &self.read, pairs, sums: self.told.sums.as_ref(), replayed: None };
        lm.temporal_step(step, &reading, &mut self.stack, (&mut self.input, &mut self.z), status, watcher)?;
        lm.text_head.step(step, &self.z, &mut self.text_logits)?;
        watcher.at(Place::TextLogits, &self.text_logits)?;
        lm.extra_probabilities(step, &self.z, &mut self.extra)?;
        self.rows.advance(n);
        let (delay, steps) = (lm.config.delays[0], self.out.steps);
        let placed = Placed { first, n, delay };
        placed.put(backend, &self.text_logits, &mut self.host, lm.config.text_card_out, &mut self.out.text_logits)?;
        for (buf, out) in self.extra.iter().zip(self.out.extra_heads.chunks_mut(steps * lm.config.extra_heads_dim)) {
            let placed = Placed { first, n, delay: 0 };
            placed.put(backend, buf, &mut self.host, lm.config.extra_heads_dim, out)?;
        }
        self.depth_chunk(first, n, watcher)
    }

    fn depth_chunk(&mut self, first: usize, n: usize, watcher: &mut dyn Watcher<B>) -> Result<()> {
        let (lm, backend) = (self.lm, &self.lm.backend);
        let (card, steps) = (lm.config.card, self.out.steps);
        let targets = self.columns(first + 1, n, 1 + lm.config.dep_q);
        backend.upload_ids(&targets, &mut self.drawn.tokens)?;
        backend.upload_ids(&lm.text_pairs(&targets, 1 + lm.config.dep_q), &mut self.drawn.pairs)?;
        let Some((depth, state)) = &mut self.depth else { return Ok(()) };
        let active: Vec<bool> = (0..FORWARD_CHUNK.min(steps)).map(|row| row < n).collect();
        let (host, out) = (&mut self.host, &mut self.out.audio_logits);
        depth.put(backend, &active, depth.codebooks(), state)?;
        Ok(depth.frame(backend, &self.adapters, &self.z, &mut self.drawn, state, watcher, |k, logits, _| {
            let placed = Placed { first, n, delay: lm.config.delays[1 + k] };
            placed.put(backend, logits, host, card, &mut out[k * steps * card..(k + 1) * steps * card])
        })?)
    }
}

/// Where the logits of steps `first..first + n` belong: step s predicts frame s - delay.
struct Placed {
    first: usize,
    n: usize,
    delay: usize,
}

impl Placed {
    fn put<B: Backend>(
        &self,
        backend: &B,
        buf: &B::Buf,
        host: &mut [f32],
        width: usize,
        out: &mut [f32],
    ) -> moshi_nn::Result<()> {
        let values = &mut host[..self.n * width];
        backend.download(buf, values)?;
        let early = self.delay.saturating_sub(self.first).min(self.n);
        let start = (self.first + early).saturating_sub(self.delay) * width;
        let kept = &values[early * width..];
        out[start..start + kept.len()].copy_from_slice(kept);
        Ok(())
    }
}
