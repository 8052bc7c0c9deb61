//! The temporal transformer's input: the sum of one embedding per stream, and of what the row was told.

use moshi_checkpoint::config::LmConfig;
use moshi_nn::backend::Column;
use moshi_nn::layers::{Embedding, EmbeddingScratch, Step};
use moshi_nn::{At, Backend};

use crate::Result;

/// How many tables go into one operation.
const GROUP: usize = 32;

/// One embedding table per stream, text first.
pub(crate) struct TokenTables<B: Backend> {
    /// With the number of entries of each; without the text's where that carries two tokens.
    tables: Vec<(B::Table, usize)>,
    /// The text's table where a text token carries two.
    pair: Option<Embedding<B>>,
    dim: usize,
}

/// What a step reads.
pub(crate) struct Reading<'a, B: Backend> {
    /// `[b, t, 1 + n_q]`, -1 for nothing.
    pub(crate) tokens: &'a B::Ids,
    /// `[b, t, 2]`: the two tokens of the text stream, in models that have two.
    pub(crate) pairs: &'a B::Ids,
    /// `[b, t, dim]`: what is added to every row's input, in models that have such conditions.
    pub(crate) sums: Option<&'a B::Buf>,
}

/// Room for the temporal input.
pub(crate) struct Input<B: Backend> {
    /// `[b, t, dim]`.
    pub(crate) x: B::Buf,
    pair: Option<EmbeddingScratch<B>>,
}

impl<B: Backend> TokenTables<B> {
    /// From `text_emb` and `emb.{q}`.
    pub(crate) fn load(backend: &B, at: &At<'_>, config: &LmConfig) -> Result<Self> {
        let table = |at: At<'_>, card: usize| -> Result<_> {
            Ok((backend.table(&at.matrix("weight", card + 1, config.dim)?)?, card + 1))
        };
        let (text, entries) = (at.at("text_emb"), config.text_card + 1);
        let (mut tables, mut pair) = (Vec::new(), None);
        if config.demux_second_text_stream {
            pair = Some(Embedding::load_pair(backend, &text, entries, config.dim, None)?);
        } else {
            tables.push(table(text, config.text_card)?);
        }
        for q in 0..config.n_q {
            tables.push(table(at.at("emb").at(q), config.card)?);
        }
        Ok(Self { tables, pair, dim: config.dim })
    }

    /// Bytes that one row reads: an entry of every table.
    pub(crate) fn bytes(&self, backend: &B) -> usize {
        let pair = self.pair.as_ref().map_or(0, |pair| pair.bytes(backend));
        self.tables.iter().map(|(table, entries)| backend.table_bytes(table) / entries).sum::<usize>() + pair
    }

    /// Room for `values` = rows x time steps.
    pub(crate) fn input(&self, backend: &B, values: usize) -> Result<Input<B>> {
        let pair = self.pair.as_ref().map(|pair| pair.scratch(backend, values)).transpose()?;
        Ok(Input { x: backend.buf(values * self.dim)?, pair })
    }

    /// `input.x [b, t, dim]` = sum of the embeddings of what is read, and of what is added; -1 adds nothing, and a token
    /// that has no embedding is noted in `status [b]`.
    pub(crate) fn sum(
        &self,
        step: Step<'_, B>,
        reading: &Reading<'_, B>,
        input: &mut Input<B>,
        status: &mut B::Ids,
    ) -> moshi_nn::Result<()> {
        let Step { backend, rows, t, .. } = step;
        let Input { x, pair: scratch } = input;
        // A text of two tokens has columns of its own.
        let skipped = usize::from(self.pair.is_some());
        let of = skipped + self.tables.len();
        if let (Some(pair), Some(scratch)) = (&self.pair, scratch) {
            pair.set(step, reading.pairs, Column { index: 0, of: 2 }, scratch, x, status)?;
        }
        for (i, group) in self.tables.chunks(GROUP).enumerate() {
            let column = Column { index: skipped + i * GROUP, of };
            let tables: [&B::Table; GROUP] = std::array::from_fn(|j| &group[j.min(group.len() - 1)].0);
            let tables = &tables[..group.len()];
            if i == 0 && self.pair.is_none() {
                backend.embed(rows, t, reading.tokens, column, tables, x, status)?;
            } else {
                backend.embed_add(rows, t, reading.tokens, column, tables, x, status)?;
            }
        }
        match reading.sums {
            Some(sums) => backend.residual_add(rows, t, self.dim, sums, None, x),
            None => Ok(()),
        }
    }
}
