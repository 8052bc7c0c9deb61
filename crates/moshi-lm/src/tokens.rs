//! The temporal transformer's input: the sum of one embedding per stream.

use moshi_checkpoint::config::LmConfig;
use moshi_nn::backend::Column;
use moshi_nn::layers::Step;
use moshi_nn::{At, Backend};

use crate::Result;

/// How many tables go into one operation.
const GROUP: usize = 32;

/// One embedding table per stream, text first.
pub(crate) struct TokenTables<B: Backend> {
    /// With the number of entries of each.
    tables: Vec<(B::Table, usize)>,
}

impl<B: Backend> TokenTables<B> {
    /// From `text_emb` and `emb.{q}`.
    pub(crate) fn load(backend: &B, at: &At<'_>, config: &LmConfig) -> Result<Self> {
        let table = |at: At<'_>, card: usize| -> Result<_> {
            Ok((backend.table(&at.matrix("weight", card + 1, config.dim)?)?, card + 1))
        };
        let mut tables = vec![table(at.at("text_emb"), config.text_card)?];
        for q in 0..config.n_q {
            tables.push(table(at.at("emb").at(q), config.card)?);
        }
        Ok(Self { tables })
    }

    /// Bytes that one row reads: an entry of every table.
    pub(crate) fn bytes(&self, backend: &B) -> usize {
        self.tables.iter().map(|(table, entries)| backend.table_bytes(table) / entries).sum()
    }

    /// `y [b, t, dim]` = sum of the embeddings of `tokens [b, t, 1 + n_q]`; -1 adds nothing, and a token that has no
    /// embedding is noted in `status [b]`.
    pub(crate) fn sum(
        &self,
        step: Step<'_, B>,
        tokens: &B::Ids,
        y: &mut B::Buf,
        status: &mut B::Ids,
    ) -> moshi_nn::Result<()> {
        let Step { backend, rows, t, .. } = step;
        for (i, group) in self.tables.chunks(GROUP).enumerate() {
            let column = Column { index: i * GROUP, of: self.tables.len() };
            let tables: [&B::Table; GROUP] = std::array::from_fn(|j| &group[j.min(group.len() - 1)].0);
            let tables = &tables[..group.len()];
            if i == 0 {
                backend.embed(rows, t, tokens, column, tables, y, status)?;
            } else {
                backend.embed_add(rows, t, tokens, column, tables, y, status)?;
            }
        }
        Ok(())
    }
}
