//! Drawing a token from logits.
//!
//! What happens to a row's logits, in this order: text only, the logits of recently spoken tokens are weakened
//! (repetition penalty); all are divided by the temperature; text only, `pad_mult` is added to that of the padding token;
//! `top_k`; `top_p` over what is left; then one uniform number of 53 bits ([`crate::philox::uniform`], keyed by seed,
//! position and stream) picks a token from the cumulative probabilities of the kept tokens in order of their index.
//! Sums are f64. Equal logits are ordered by index, lowest first.
//!
//! ```
//! use moshi_tensor::sample::{Draw, RowSampler, RowSampling, SampleScratch, SilentTokens};
//! let mut row = RowSampler::new(SilentTokens { padding: 3, end_padding: 0 });
//! row.set(&RowSampling { seed: 1, ..RowSampling::GREEDY })?;
//! let mut scratch = SampleScratch::new(4);
//! let token = row.draw(&[0.5, 2.0, 2.0, -1.0], Draw { position: 0, stream: 1, forced: None }, &mut scratch)?;
//! assert_eq!(token, 1);
//! # Ok::<(), moshi_tensor::Error>(())
//! ```

use crate::Error;
use crate::philox::uniform;

/// How one row's tokens are drawn. Temperature 0 takes the largest logit (ties: lowest index).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits; 0 for greedy.
    pub temperature: f32,
    /// Keeps the k largest logits; 0 keeps all.
    pub top_k: usize,
    /// Keeps the smallest set of tokens whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
}

impl SamplingParams {
    /// Always the largest logit.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0 };

    fn check(&self) -> Result<(), Error> {
        demand("temperature", self.temperature, |x| x >= 0.0, "a finite number from 0 (greedy) up")?;
        demand("top_p", self.top_p, |x| x > 0.0 && x <= 1.0, "a number above 0, up to 1 (off)")
    }
}

/// Everything that decides how a row's tokens are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowSampling {
    /// Key of the counter-based generator: the draw of (seed, step, stream) never depends on anything else.
    pub seed: u64,
    /// Parameters of the text stream (stream 0).
    pub text: SamplingParams,
    /// Parameters of the audio streams.
    pub audio: SamplingParams,
    /// The text padding token's probability is multiplied by exp(pad_mult); 0 leaves it. (Greedy: added to its logit.)
    pub pad_mult: f32,
    /// Positive logits of recently spoken text tokens are divided by this, negative multiplied; 1 leaves them.
    pub repetition_penalty: f32,
    /// How many of the last non-silent text tokens are penalised (at most [`MAX_PENALTY_CONTEXT`]).
    pub repetition_context: usize,
}

impl RowSampling {
    /// Greedy text and audio, nothing weighted, seed 0.
    pub const GREEDY: Self = Self {
        seed: 0,
        text: SamplingParams::GREEDY,
        audio: SamplingParams::GREEDY,
        pad_mult: 0.0,
        repetition_penalty: 1.0,
        repetition_context: 0,
    };

    /// Checks that a token can be drawn with these parameters.
    ///
    /// # Errors
    /// [`Error::Value`] naming the parameter that is out of range.
    pub fn check(&self) -> Result<(), Error> {
        self.text.check()?;
        self.audio.check()?;
        demand("pad_mult", self.pad_mult, |_| true, "a finite number, 0 for none")?;
        demand("repetition_penalty", self.repetition_penalty, |x| x > 0.0, "a finite number above 0, 1 for none")?;
        if self.repetition_context > MAX_PENALTY_CONTEXT {
            return Err(Error::Unsupported {
                what: "repetition_context",
                found: self.repetition_context,
                expected: "at most 256 tokens are remembered",
            });
        }
        Ok(())
    }
}

fn demand(what: &'static str, x: f32, ok: impl Fn(f32) -> bool, expected: &'static str) -> Result<(), Error> {
    if x.is_finite() && ok(x) { Ok(()) } else { Err(Error::Value { what, found: x.to_string(), expected }) }
}

/// Longest repetition-penalty memory of a row, in text tokens.
pub const MAX_PENALTY_CONTEXT: usize = 256;

/// Which stream a draw belongs to: 0 is text, 1 + k is audio codebook k.
pub type Stream = usize;

/// The text stream.
pub const TEXT: Stream = 0;

/// Which text tokens print nothing; they are not counted by the repetition penalty, and `padding` gets `pad_mult`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SilentTokens {
    /// `existing_text_padding_id`, 3 in published models.
    pub padding: u32,
    /// `existing_text_end_padding_id`, 0 in published models.
    pub end_padding: u32,
}

/// What one draw is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// The row's position, in steps since its reset.
    pub position: u64,
    /// Which stream the logits are of.
    pub stream: Stream,
    /// Taken instead of a drawn token.
    pub forced: Option<i32>,
}

/// Parameters and penalty memory of one row.
#[derive(Debug, Clone)]
pub struct RowSampler {
    params: RowSampling,
    silent: SilentTokens,
    /// The last spoken text tokens, a ring.
    spoken: [i32; MAX_PENALTY_CONTEXT],
    /// How many tokens were ever spoken.
    count: usize,
}

impl RowSampler {
    /// A greedy row.
    pub fn new(silent: SilentTokens) -> Self {
        Self { params: RowSampling::GREEDY, silent, spoken: [0; MAX_PENALTY_CONTEXT], count: 0 }
    }

    /// The parameters in use.
    pub fn params(&self) -> &RowSampling {
        &self.params
    }

    /// Sets the parameters and forgets the penalty memory.
    ///
    /// # Errors
    /// Those of [`RowSampling::check`]; the row then stays as it is.
    pub fn set(&mut self, params: &RowSampling) -> Result<(), Error> {
        params.check()?;
        (self.params, self.count) = (*params, 0);
        Ok(())
    }

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
        let text = draw.stream == TEXT;
        let params = if text { &self.params.text } else { &self.params.audio };
        let best = match check_logits(logits)? {
            // The common greedy case needs no copy.
            best if params.temperature == 0.0 && !(text && self.weighs_text()) => return Ok(best),
            best => best,
        };
        let inverse = if params.temperature == 0.0 { 1.0 } else { 1.0 / params.temperature };
        scratch.fill(logits);
        if text {
            self.penalise(logits, &mut scratch.kept);
        }
        for token in &mut scratch.kept {
            token.logit *= inverse;
        }
        if text && let Some(padding) = scratch.kept.get_mut(self.silent.padding as usize) {
            padding.logit += self.params.pad_mult;
        }
        if params.temperature == 0.0 {
            return Ok(scratch
                .kept
                .iter()
                .copied()
                .reduce(|a, b| if b.before(&a) { b } else { a })
                .map_or(best, |t| t.id));
        }
        scratch.keep_top_k(params.top_k);
        scratch.normalise();
        scratch.keep_top_p(params.top_p);
        Ok(scratch.pick(uniform(self.params.seed, draw.position, draw.stream as u32)).unwrap_or(best))
    }

    fn weighs_text(&self) -> bool {
        let RowSampling { pad_mult, repetition_penalty, repetition_context, .. } = self.params;
        pad_mult != 0.0 || (repetition_penalty != 1.0 && repetition_context > 0)
    }

    /// Weakens each recent token once, however often it was spoken.
    fn penalise(&self, logits: &[f32], kept: &mut [Token]) {
        let penalty = self.params.repetition_penalty;
        let recent = self.count.min(self.params.repetition_context);
        for age in 1..=recent {
            let id = self.spoken[(self.count - age) % MAX_PENALTY_CONTEXT] as usize;
            if let (Some(&logit), Some(token)) = (logits.get(id), kept.get_mut(id)) {
                token.logit = if logit > 0.0 { logit / penalty } else { logit * penalty };
            }
        }
    }

    fn remember(&mut self, token: i32) {
        let silent = [self.silent.padding, self.silent.end_padding].iter().any(|&s| i64::from(token) == i64::from(s));
        if token >= 0 && !silent {
            self.spoken[self.count % MAX_PENALTY_CONTEXT] = token;
            self.count += 1;
        }
    }
}

/// Index of the largest logit, ties to the lowest.
fn check_logits(logits: &[f32]) -> Result<u32, Error> {
    const EXPECTED: &str =
        "numbers below plus infinity, at least one of them finite (the model's weights or input are damaged)";
    let mut best: Option<(usize, f32)> = None;
    for (i, &logit) in logits.iter().enumerate() {
        if logit.is_nan() || logit == f32::INFINITY {
            let found = format!("{logit} at token {i}");
            return Err(Error::Value { what: "logits", found, expected: EXPECTED });
        }
        if logit > best.map_or(f32::NEG_INFINITY, |(_, value)| value) {
            best = Some((i, logit));
        }
    }
    match best {
        Some((i, _)) => Ok(i as u32),
        None => Err(Error::Value {
            what: "logits",
            found: format!("minus infinity for all of {} tokens", logits.len()),
            expected: EXPECTED,
        }),
    }
}

#[derive(Debug, Clone, Copy)]
struct Token {
    id: u32,
    logit: f32,
    weight: f64,
}

impl Token {
    /// Larger logits first, then lower indices. Logits are never NaN here.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        other.logit.total_cmp(&self.logit).then(self.id.cmp(&other.id))
    }

    fn before(&self, other: &Self) -> bool {
        self.order(other).is_lt()
    }
}

/// Room for one draw; shared by all rows of an executor's thread.
#[derive(Debug, Clone, Default)]
pub struct SampleScratch {
    kept: Vec<Token>,
}

impl SampleScratch {
    /// Room for draws among `v` tokens; grows by itself when given more.
    pub fn new(v: usize) -> Self {
        Self { kept: Vec::with_capacity(v) }
    }

    fn fill(&mut self, logits: &[f32]) {
        // Adding zero makes minus zero equal to zero, so that ties go to the lowest index.
        let token = |(id, &logit): (usize, &f32)| Token { id: id as u32, logit: logit + 0.0, weight: 0.0 };
        self.kept.clear();
        self.kept.extend(logits.iter().enumerate().map(token));
    }

    fn keep_top_k(&mut self, k: usize) {
        if k > 0 && k < self.kept.len() {
            self.kept.select_nth_unstable_by(k - 1, Token::order);
            self.kept.truncate(k);
        }
    }

    /// Weights `exp(logit - max)`; they need not sum to 1.
    fn normalise(&mut self) {
        let max = self.kept.iter().fold(f32::NEG_INFINITY, |max, t| max.max(t.logit));
        for token in &mut self.kept {
            token.weight = (f64::from(token.logit) - f64::from(max)).exp();
        }
    }

    fn keep_top_p(&mut self, p: f32) {
        if p < 1.0 {
            self.kept.sort_unstable_by(Token::order);
            let enough = f64::from(p) * self.kept.iter().map(|t| t.weight).sum::<f64>();
            let mut sum = 0.0;
            let reached = self.kept.iter().position(|t| {
                sum += t.weight;
                sum >= enough
            });
            self.kept.truncate(reached.map_or(self.kept.len(), |last| last + 1));
        }
        self.kept.sort_unstable_by_key(|t| t.id);
    }

    /// The token at which the cumulative weight exceeds `u` of the whole.
    fn pick(&self, u: f64) -> Option<u32> {
        let target = u * self.kept.iter().map(|t| t.weight).sum::<f64>();
        let mut sum = 0.0;
        let picked = self.kept.iter().find(|t| {
            sum += t.weight;
            sum > target
        });
        // Only rounding can leave the loop without a token.
        picked.or_else(|| self.kept.iter().rev().find(|t| t.weight > 0.0)).map(|t| t.id)
    }
}
