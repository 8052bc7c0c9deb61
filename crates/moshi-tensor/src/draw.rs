//! How a processor draws a token: [`crate::sample`]'s definition on one thread, by selection and short sums.

use crate::Error;
use crate::likelihood::{HIGHEST, LOWEST, Scale, likelihood, order_key, share};
use crate::philox::token_word;
use crate::sample::{Draw, DrawRule, RowSampler, TEXT};

impl RowSampler {
    /// Draws a token from `logits [v]` (or takes the forced one), and remembers it if it is spoken text.
    ///
    /// Allocates nothing if the scratch was made for `v` or more.
    ///
    /// # Errors
    /// [`Error::Value`] when a logit is NaN or plus infinity, or all are minus infinity. A forced token is taken
    /// whatever the logits are.
    pub fn draw(&mut self, logits: &[f32], draw: Draw, scratch: &mut SampleScratch) -> Result<i32, Error> {
        let token = match draw.forced {
            Some(token) => token,
            None => self.pick(logits, draw, scratch)? as i32,
        };
        if draw.stream == TEXT {
            self.remember(token);
        }
        Ok(token)
    }

    fn pick(&self, logits: &[f32], draw: Draw, scratch: &mut SampleScratch) -> Result<u32, Error> {
        let rule = self.params().rule(draw.stream);
        let mut largest = check(logits)?;
        let weighed = rule.pad != 0.0 || (rule.penalty != 1.0 && self.recent().next().is_some());
        if rule.scale.is_none() && !weighed {
            // The common greedy case needs no copy.
            return Ok(logits.iter().position(|&logit| order_key(logit) == largest).unwrap_or(0) as u32);
        }
        scratch.fill(logits);
        if weighed {
            self.weigh(logits, &rule, scratch);
            largest = key(scratch.first());
        }
        Ok(match rule.scale {
            None => scratch.first() as u32,
            Some(scale) => {
                let word = token_word(self.params().seed, draw.position, draw.stream as u32);
                scratch.draw(&rule, (largest, scale), word)
            }
        })
    }

    fn weigh(&self, logits: &[f32], rule: &DrawRule, scratch: &mut SampleScratch) {
        for token in self.recent() {
            if let Some(&logit) = logits.get(token) {
                scratch.put(token, if logit > 0.0 { logit / rule.penalty } else { logit * rule.penalty });
            }
        }
        if let Some(&logit) = logits.get(self.padding()) {
            scratch.put(self.padding(), logit + rule.pad);
        }
    }
}

/// The largest key of logits of which a token can be drawn.
fn check(logits: &[f32]) -> Result<u32, Error> {
    const EXPECTED: &str =
        "numbers below plus infinity, at least one of them finite (the model's weights or input are damaged)";
    let (mut smallest, mut largest) = (u32::MAX, 0);
    for key in logits.iter().map(|&logit| order_key(logit)) {
        (smallest, largest) = (key.min(smallest), key.max(largest));
    }
    if smallest >= LOWEST && largest > LOWEST && largest < HIGHEST {
        return Ok(largest);
    }
    let bad = logits.iter().enumerate().find(|(_, x)| x.is_nan() || **x == f32::INFINITY);
    let found = match bad {
        Some((i, logit)) => format!("{logit} at token {i}"),
        None => format!("minus infinity for all of {} tokens", logits.len()),
    };
    Err(Error::Value { what: "logits", found, expected: EXPECTED })
}

/// A token as an entry of [`SampleScratch`]: smaller ones come before.
fn entry(token: usize, logit: f32) -> u64 {
    u64::from(!order_key(logit)) << 32 | token as u64
}

fn key(entry: u64) -> u32 {
    !((entry >> 32) as u32)
}

/// Room for one draw; shared by all rows of an executor's thread.
#[derive(Debug, Clone, Default)]
pub struct SampleScratch {
    /// What may still be drawn: below a token's index, above first its key, turned round, so that smaller entries come
    /// before, then its likelihood.
    kept: Vec<u64>,
}

impl SampleScratch {
    /// Room for draws among `v` tokens; grows by itself when given more.
    pub fn new(v: usize) -> Self {
        Self { kept: Vec::with_capacity(v) }
    }

    fn fill(&mut self, logits: &[f32]) {
        self.kept.clear();
        self.kept.extend(logits.iter().enumerate().map(|(token, &logit)| entry(token, logit)));
    }

    fn put(&mut self, token: usize, logit: f32) {
        self.kept[token] = entry(token, logit);
    }

    fn first(&self) -> u64 {
        self.kept.iter().copied().min().unwrap_or(0)
    }

    /// Steps 4 to 7.
    fn draw(&mut self, rule: &DrawRule, (largest, scale): (u32, Scale), word: u32) -> u32 {
        let narrowed = rule.top_k > 0 && rule.top_k < self.kept.len();
        if narrowed {
            self.kept.select_nth_unstable(rule.top_k - 1);
            self.kept.truncate(rule.top_k);
        }
        if rule.fraction > 0 {
            self.kept.sort_unstable();
        }
        let mut total = self.weigh(largest, scale);
        if rule.fraction > 0 {
            let (enough, more) = share(total, rule.fraction);
            total = self.keep_until(enough + u64::from(more));
        }
        if narrowed || rule.fraction > 0 {
            self.kept.sort_unstable_by_key(|&entry| entry as u32);
        }
        let (target, _) = share(total, word);
        let mut sum = 0;
        let drawn = self.kept.iter().find(|&&entry| {
            sum += entry >> 32;
            sum > target
        });
        drawn.map_or(0, |&entry| entry as u32)
    }

    /// Puts likelihoods in the keys' places, and gives their sum.
    fn weigh(&mut self, largest: u32, scale: Scale) -> u64 {
        let mut total = 0;
        for entry in &mut self.kept {
            let likelihood = u64::from(likelihood(key(*entry), largest, scale));
            *entry = likelihood << 32 | u64::from(*entry as u32);
            total += likelihood;
        }
        total
    }

    /// Keeps the shortest beginning whose likelihoods sum up to `enough`, and gives their sum.
    fn keep_until(&mut self, enough: u64) -> u64 {
        let mut sum = 0;
        let reached = self.kept.iter().position(|entry| {
            sum += entry >> 32;
            sum >= enough
        });
        self.kept.truncate(reached.map_or(self.kept.len(), |last| last + 1));
        sum
    }
}
