//! Between text and audio: what the host decides about the text token before the depth transformer runs.

use moshi_nn::Backend;

use crate::guidance::{guidance_of, is_null};
use crate::spelling::{END_OF_TEXT, PADDING};
use crate::state::{LmState, Work};
use crate::text_rule::unpair;
use crate::{Lm, Result};

impl<B: Backend> Lm<B> {
    /// Whether the step that was prepared waits for the host after its text: where a row's text is decided here, and in
    /// models whose text token is two, which the host takes apart.
    pub(crate) fn decides(&self, state: &LmState<B>) -> bool {
        self.config.demux_second_text_stream || state.speeches.decides(&state.work.active)
    }

    /// After the text: replaces the sampled tokens by those that rows feed, and prepares the depth run of the rows whose
    /// audio has begun. How many codebooks it has; `None` where there is none to run.
    pub(crate) fn decide(&self, state: &mut LmState<B>) -> Result<Option<usize>> {
        let backend = &self.backend;
        let LmState { rows, lines, speeches, pairs, work, out, .. } = state;
        let (written, mut codebooks) = (self.written(), 0);
        backend.download_ids(&work.drawn.tokens, &mut out.sampled)?;
        work.speaking.fill(false);
        for row in (0..lines.0.len()).filter(|&row| work.active[row] && !is_null(pairs, row)) {
            let at = row * written;
            let (token, speaks) = speeches.decide(row, lines.0[row].step(), out.sampled[at]);
            out.sampled[at] = token;
            out.sampled[at + 1..at + written].fill(-1);
            work.speaking[row] = speaks;
            if speaks {
                codebooks = codebooks.max(speeches.codebooks(row));
            }
            if let Some(pair) = guidance_of(pairs, row) {
                out.sampled.copy_within(at..at + written, pair.null_row * written);
                work.speaking[pair.null_row] = speaks;
            }
        }
        backend.upload_ids(&out.sampled, &mut work.drawn.tokens)?;
        let sampled = &out.sampled;
        self.put_pairs(work, |_, row| sampled[row * written])?;
        let (Some(weights), Some(depth)) = (&self.depth, &mut work.depth) else { return Ok(None) };
        if codebooks == 0 {
            return Ok(None);
        }
        rows.put(backend, &work.speaking, 1)?;
        weights.put(backend, &work.speaking, codebooks, depth)?;
        Ok(Some(codebooks))
    }

    /// In a model with two text streams: takes each row's text token apart, and tells the device.
    pub(crate) fn put_pairs(&self, work: &mut Work<B>, token: impl Fn(&Work<B>, usize) -> i32) -> Result<()> {
        if !self.config.demux_second_text_stream {
            return Ok(());
        }
        for row in 0..work.active.len() {
            let (first, second) = unpair(self.config.text_card, token(work, row));
            work.text[2 * row..2 * row + 2].copy_from_slice(&[first, second]);
        }
        Ok(self.backend.upload_ids(&work.text, &mut work.drawn.pairs)?)
    }

    /// The text tokens of `columns [n, streams]` as two each, `[n, 2]`.
    pub(crate) fn text_pairs(&self, columns: &[i32], streams: usize) -> Vec<i32> {
        let pairs = columns.iter().step_by(streams).map(|&token| unpair(self.config.text_card, token));
        pairs.flat_map(|(first, second)| [first, second]).collect()
    }

    /// The text token that the temporal transformer reads for `token`: a translation reads its early ends as padding.
    pub(crate) fn reads_as(&self, token: i32) -> i32 {
        if self.config.end_reads_as_padding && token == END_OF_TEXT { PADDING } else { token }
    }
}
