//! The temporal transformer's input: the sum of one embedding per stream, and of what the row was told.

use std::sync::Arc;

use moshi_checkpoint::config::LmConfig;
use moshi_nn::backend::Column;
use moshi_nn::layers::{Embedding, EmbeddingScratch, Step};
use moshi_nn::{At, Backend};

use crate::Result;

/// How many tables go into one operation.
const GROUP: usize = 32;

/// The embedding tables: that of every stream, text first, each followed by those that adapters put in its place. A row
/// reads one of them for each stream and nothing of the others.
pub(crate) struct TokenTables<B: Backend> {
    /// Without the text's where that carries two tokens.
    tables: Vec<TokenTable<B>>,
    /// The text's table where a text token carries two.
    pair: Option<Embedding<B>>,
    dim: usize,
}

struct TokenTable<B: Backend> {
    table: Arc<B::Table>,
    entries: usize,
    stream: usize,
    readers: Readers,
}

/// Which rows read a table, by the numbers of their adapters.
enum Readers {
    /// All but those with one of these.
    AllBut(Vec<i32>),
    /// Those with this one.
    Adapter(i32),
}

/// What a step reads.
pub(crate) struct Reading<'a, B: Backend> {
    /// `[b, t, tables]`, -1 for nothing.
    pub(crate) ids: &'a B::Ids,
    /// `[b, t, 2]`: the two tokens of the text stream, in models that have two.
    pub(crate) pairs: &'a B::Ids,
    /// `[b, t, dim]`: what is added to every row's input, in models that have such conditions.
    pub(crate) sums: Option<&'a B::Buf>,
    /// `[b, t, dim]`: the inputs of rows that are given them in place of tokens.
    pub(crate) replayed: Option<&'a B::Buf>,
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
        let mut this = Self { tables: Vec::new(), pair: None, dim: config.dim };
        let (text, entries) = (at.at("text_emb"), config.text_card + 1);
        if config.demux_second_text_stream {
            this.pair = Some(Embedding::load_pair(backend, &text, entries, config.dim, None)?);
        } else {
            this.push(backend, &text, 0, (entries, config.dim))?;
        }
        for q in 0..config.n_q {
            this.push(backend, &at.at("emb").at(q), 1 + q, (config.card + 1, config.dim))?;
        }
        Ok(this)
    }

    fn push(&mut self, backend: &B, at: &At<'_>, stream: usize, (entries, dim): (usize, usize)) -> Result<()> {
        let replaced = at.tables("weight", entries, dim)?;
        let numbered = || (0..).zip(&replaced).filter_map(|(number, table)| Some((number, table.as_ref()?)));
        let mut add = |table, readers| self.tables.push(TokenTable { table, entries, stream, readers });
        let others = numbered().map(|(number, _)| number).collect();
        let base = at.laid_out_table::<B>("weight", || backend.table(&at.matrix("weight", entries, dim)?))?;
        add(base, Readers::AllBut(others));
        for (number, table) in numbered() {
            add(Arc::new(backend.table(table)?), Readers::Adapter(number));
        }
        Ok(())
    }

    /// Number of tables: ids that each row and time step is given.
    pub(crate) fn columns(&self) -> usize {
        self.tables.len()
    }

    /// From the tokens of the streams to the ids that a row with this adapter reads, one a table; -1 for nothing.
    pub(crate) fn place(&self, adapter: i32, tokens: &[i32], ids: &mut [i32]) {
        for (id, table) in ids.iter_mut().zip(&self.tables) {
            let reads = match &table.readers {
                Readers::AllBut(others) => !others.contains(&adapter),
                Readers::Adapter(number) => *number == adapter,
            };
            *id = tokens.get(table.stream).copied().filter(|_| reads).unwrap_or(-1);
        }
    }

    /// Bytes that one row reads: an entry of the table of every stream.
    pub(crate) fn bytes(&self, backend: &B) -> usize {
        let pair = self.pair.as_ref().map_or(0, |pair| pair.bytes(backend));
        let bases = self.tables.iter().filter(|table| matches!(table.readers, Readers::AllBut(_)));
        bases.map(|table| backend.table_bytes(&table.table) / table.entries).sum::<usize>() + pair
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
        if let (Some(pair), Some(scratch)) = (&self.pair, scratch) {
            pair.set(step, reading.pairs, Column { index: 0, of: 2 }, scratch, x, status)?;
        }
        for (i, group) in self.tables.chunks(GROUP).enumerate() {
            let column = Column { index: i * GROUP, of: self.tables.len() };
            let tables: [&B::Table; GROUP] = std::array::from_fn(|j| &*group[j.min(group.len() - 1)].table);
            let tables = &tables[..group.len()];
            if i == 0 && self.pair.is_none() {
                backend.embed(rows, t, reading.ids, column, tables, x, status)?;
            } else {
                backend.embed_add(rows, t, reading.ids, column, tables, x, status)?;
            }
        }
        for added in [reading.sums, reading.replayed].into_iter().flatten() {
            backend.residual_add(rows, t, self.dim, added, None, x)?;
        }
        Ok(())
    }
}
