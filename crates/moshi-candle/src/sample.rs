//! Drawing tokens, one row at a time, in the plainest way: sort everything, sum in 128 bits.
//!
//! Written from the definition ([`moshi_tensor::sample`]) without the selection and the sums of [`moshi_tensor::draw`], so
//! that comparing the two executors says something. What is the definition itself (order, likelihoods, random words)
//! is shared.

use std::cmp::Ordering;

use moshi_tensor::likelihood::{Scale, likelihood, order_key};
use moshi_tensor::philox::token_word;
use moshi_tensor::sample::{DrawRule, RowSampler, TEXT};

use crate::Result;
use crate::memory::{Buf, Rows};
use crate::{Candle, check};
use moshi_nn::backend::{Column, FREE, RowSampling, SilentTokens, Stream};
use moshi_nn::{Fault, FaultKind};

/// Parameters and penalty memory of every row.
#[derive(Debug)]
pub struct Sampler {
    rows: Vec<RowSampler>,
}

impl Sampler {
    pub(super) fn new(count: usize, silent: SilentTokens) -> Self {
        Self { rows: vec![RowSampler::new(silent); count] }
    }

    pub(super) fn set(&mut self, row: usize, params: &RowSampling) -> Result<()> {
        check("row of a sampler", row + 1, self.rows.len())?;
        Ok(self.rows[row].set(params)?)
    }

    pub(super) fn copy_row(&mut self, row: usize, src: &Self, src_row: usize) -> Result<()> {
        check("row of a sampler", row + 1, self.rows.len())?;
        check("source row of a sampler", src_row + 1, src.rows.len())?;
        self.rows[row] = src.rows[src_row].clone();
        Ok(())
    }
}

/// What one drawing operation works on.
pub(super) struct Draw<'a> {
    pub(super) v: usize,
    pub(super) stream: Stream,
    pub(super) forced: &'a [i32],
    pub(super) column: Column,
}

impl Candle {
    pub(super) fn draw(
        &self,
        rows: &Rows,
        logits: &Buf,
        draw: Draw<'_>,
        sampler: &mut Sampler,
        (out, status): (&mut [i32], &mut [i32]),
    ) -> Result<()> {
        let Draw { v, stream, forced, column } = draw;
        check("column of tokens", column.index + 1, column.of)?;
        check("tokens", rows.active.len() * column.of, out.len())?;
        check("forced tokens", rows.active.len() * column.of, forced.len())?;
        check("rows of a sampler", rows.active.len(), sampler.rows.len())?;
        check("status", rows.active.len(), status.len())?;
        for row in rows.active() {
            let at = row * column.of + column.index;
            let sampler = &mut sampler.rows[row];
            out[at] = if forced[at] != FREE {
                forced[at].max(-1) // nothing is no token
            } else {
                let logits = logits.row("logits", row, 1, v)?.flatten_all()?.to_vec1::<f32>()?;
                pick(sampler, logits, stream, rows.position[row]).unwrap_or_else(|| {
                    Fault { kind: FaultKind::Logits, column: column.index }.note(&mut status[row]);
                    -1
                })
            };
            if stream == TEXT {
                sampler.remember(out[at]);
            }
        }
        Ok(())
    }
}

/// A token of a row; none of logits that are not numbers.
fn pick(row: &RowSampler, mut logits: Vec<f32>, stream: Stream, position: u64) -> Option<i32> {
    let number = |x: &f32| !x.is_nan() && *x != f32::INFINITY;
    if !logits.iter().all(number) || !logits.iter().any(|x| x.is_finite()) {
        return None;
    }
    let rule = row.params().rule(stream);
    if stream == TEXT {
        weigh(row, &rule, &mut logits);
    }
    // A stable sort, so that the lower index is first of equals; 0 and -0 are equal.
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap_or(Ordering::Equal));
    let Some(scale) = rule.scale else { return Some(order[0] as i32) };
    let word = token_word(row.params().seed, position, stream as u32);
    let kept = likely(&logits, &order, &rule, scale);
    Some(at_share(&kept, u128::from(word)) as i32)
}

fn weigh(row: &RowSampler, rule: &DrawRule, logits: &mut [f32]) {
    let mut recent: Vec<usize> = row.recent().collect();
    recent.sort_unstable();
    recent.dedup();
    for token in recent {
        match logits.get_mut(token) {
            Some(logit) if *logit > 0.0 => *logit /= rule.penalty,
            Some(logit) => *logit *= rule.penalty,
            None => {}
        }
    }
    if let Some(padding) = logits.get_mut(row.padding()) {
        *padding += rule.pad;
    }
}

/// The likelihood of every token by its index, 0 for those that `top_k` and `top_p` leave out.
fn likely(logits: &[f32], order: &[usize], rule: &DrawRule, scale: Scale) -> Vec<u128> {
    let keys: Vec<u32> = logits.iter().map(|&logit| order_key(logit)).collect();
    let kept = if rule.top_k == 0 { order } else { &order[..rule.top_k.min(order.len())] };
    let of = |token: usize| u128::from(likelihood(keys[token], keys[order[0]], scale));
    let enough = u128::from(rule.fraction) * kept.iter().map(|&token| of(token)).sum::<u128>();
    let (mut all, mut sum) = (vec![0; logits.len()], 0);
    for &token in kept {
        all[token] = of(token);
        sum += all[token];
        if rule.fraction > 0 && sum << 32 >= enough {
            break;
        }
    }
    all
}

/// The first index whose cumulative sum is more than `word / 2^32` of all.
fn at_share(likelihoods: &[u128], word: u128) -> usize {
    let total: u128 = likelihoods.iter().sum();
    let mut sum = 0;
    let found = likelihoods.iter().position(|likelihood| {
        sum += likelihood;
        sum << 32 > word * total
    });
    found.unwrap_or(0)
}
