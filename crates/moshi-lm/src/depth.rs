//! The depth transformer: within a frame, one codebook after another.

use moshi_checkpoint::config::{DepformerConfig, LmConfig};
use moshi_nn::backend::Column;
use moshi_nn::layers::{Embedding, EmbeddingScratch, Linear, Norm, Rows, Step, Transformer, TransformerState};
use moshi_nn::{At, Backend};

use crate::drawn::Drawn;
use crate::watch::{Place, Watcher};
use crate::{Result, shape};

/// Weights of the depth transformer. Step k reads the temporal output and the token before it (text for k = 0) and
/// gives the logits of codebook k; its keys start empty in every frame.
pub(crate) struct Depth<B: Backend> {
    transformer: Transformer<B>,
    inputs: Vec<Linear<B>>,
    text: Embedding<B>,
    codes: Vec<Embedding<B>>,
    steps: Vec<DepthStep<B>>,
    width: usize,
    card: usize,
}

/// What belongs to one codebook.
struct DepthStep<B: Backend> {
    /// Index of the input projection.
    input: usize,
    /// Weight set of the layers.
    set: usize,
    norm: Option<Norm<B>>,
    head: Linear<B>,
}

impl<B: Backend> Depth<B> {
    /// From `depformer`, `depformer_in`, `depformer_text_emb`, `depformer_emb`, `depformer_norms` and `linears`.
    pub(crate) fn load(backend: &B, at: &At<'_>, lm: &LmConfig, config: &DepformerConfig) -> Result<Self> {
        let (width, rank) = (config.dim, config.low_rank_embeddings);
        let input = |j| Linear::load(backend, &at.at("depformer_in").at(j), width, lm.dim);
        let code = |k| Embedding::load(backend, &at.at("depformer_emb").at(k), lm.card + 1, width, rank);
        let steps = (0..lm.dep_q).map(|k| {
            let norm = config.output_norm.map(shape::norm).transpose()?;
            let norm = norm.map(|norm| Norm::load(backend, &at.at("depformer_norms").at(k), norm, width));
            Ok(DepthStep {
                input: config.input_of(k),
                set: config.set_of(k),
                norm: norm.transpose()?,
                head: Linear::load(backend, &at.at("linears").at(k), lm.card, width)?,
            })
        });
        let (text, entries) = (at.at("depformer_text_emb"), lm.text_card + 1);
        let text = match lm.demux_second_text_stream {
            true => Embedding::load_pair(backend, &text, entries, width, rank),
            false => Embedding::load(backend, &text, entries, width, rank),
        };
        Ok(Self {
            transformer: Transformer::load(backend, &at.at("depformer"), shape::depth(config)?)?,
            inputs: (0..config.inputs()).map(input).collect::<Result<_, _>>()?,
            text: text?,
            codes: (1..lm.dep_q).map(|k| code(k - 1)).collect::<Result<_, _>>()?,
            steps: steps.collect::<Result<_>>()?,
            width,
            card: lm.card,
        })
    }

    /// Bytes of weights that a frame reads, weight sets that several codebooks share once.
    pub(crate) fn bytes(&self, backend: &B) -> usize {
        let linears = self.inputs.iter().chain(self.steps.iter().map(|step| &step.head));
        let embeddings = std::iter::once(&self.text).chain(&self.codes);
        self.transformer.bytes(backend)
            + linears.map(|linear| linear.bytes(backend)).sum::<usize>()
            + embeddings.map(|embedding| embedding.bytes(backend)).sum::<usize>()
    }

    /// Memory for frames of `rows` rows.
    pub(crate) fn init_state(&self, backend: &B, rows: usize) -> Result<DepthState<B>> {
        Ok(DepthState {
            rows: Rows::new(backend, rows, &[self.transformer.config().attention])?,
            stack: self.transformer.init_state(backend, rows, 1)?,
            codebooks: self.steps.len(),
            embedding: self.text.scratch(backend, rows)?,
            x: backend.buf(rows * self.width)?,
            normed: backend.buf(rows * self.width)?,
            logits: backend.buf(rows * self.card)?,
        })
    }

    /// Number of codebooks.
    pub(crate) fn codebooks(&self) -> usize {
        self.steps.len()
    }

    /// Before a frame: which rows run it, and how many codebooks of it.
    pub(crate) fn put(
        &self,
        backend: &B,
        active: &[bool],
        codebooks: usize,
        state: &mut DepthState<B>,
    ) -> moshi_nn::Result<()> {
        state.codebooks = codebooks.min(self.steps.len());
        state.rows.put(backend, active, state.codebooks)
    }

    /// Runs one frame of the rows that were put. `z [rows, dim]` is the temporal output, `drawn.tokens [rows, 1 + dep_q]` holds
    /// the text token (`drawn.pairs [rows, 2]`, where it is two); `code(k, logits [rows, card], drawn)` is called for each codebook and leaves its code in column
    /// 1 + k of the tokens, unless it is there already.
    pub(crate) fn frame(
        &self,
        backend: &B,
        adapters: &B::Ids,
        z: &B::Buf,
        drawn: &mut Drawn<B>,
        state: &mut DepthState<B>,
        watcher: &mut dyn Watcher<B>,
        mut code: impl FnMut(usize, &mut B::Buf, &mut Drawn<B>) -> moshi_nn::Result<()>,
    ) -> moshi_nn::Result<()> {
        for k in 0..state.codebooks {
            self.logits(backend, (k, adapters), z, drawn, state, watcher)?;
            watcher.at(Place::AudioLogits { codebook: k }, &state.logits)?;
            code(k, &mut state.logits, drawn)?;
            watcher.at(Place::Drawn { stream: 1 + k }, &state.logits)?;
        }
        Ok(())
    }

    fn logits(
        &self,
        backend: &B,
        (k, adapters): (usize, &B::Ids),
        z: &B::Buf,
        drawn: &mut Drawn<B>,
        state: &mut DepthState<B>,
        watcher: &mut dyn Watcher<B>,
    ) -> moshi_nn::Result<()> {
        let DepthState { rows, stack, embedding, x, normed, logits, .. } = state;
        let weights = &self.steps[k];
        let step = Step::new(backend, rows, 1).from_step(k).with_adapters(adapters);
        let before = Column { index: k, of: 1 + self.steps.len() };
        let (table, ids, before) = match k {
            0 if self.text.columns() == 2 => (&self.text, &drawn.pairs, Column { index: 0, of: 2 }),
            0 => (&self.text, &drawn.tokens, before),
            _ => (&self.codes[k - 1], &drawn.tokens, before),
        };
        self.inputs[weights.input].step(step, z, x)?;
        table.add(step, ids, before, embedding, x, &mut drawn.status)?;
        let mut after = |layer, x: &B::Buf| watcher.at(Place::Depth { codebook: k, layer }, x);
        self.transformer.step_watched(step, weights.set, stack, x, &mut after)?;
        match &weights.norm {
            None => weights.head.step(step, x, logits),
            Some(norm) => {
                norm.step(step, x, normed)?;
                weights.head.step(step, normed, logits)
            }
        }
    }
}

/// Room for one frame; holds nothing between frames.
pub(crate) struct DepthState<B: Backend> {
    rows: Rows<B>,
    stack: TransformerState<B>,
    /// Of the next frame.
    codebooks: usize,
    embedding: EmbeddingScratch<B>,
    x: B::Buf,
    normed: B::Buf,
    logits: B::Buf,
}
