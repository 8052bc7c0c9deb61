//! Drawing a token from logits: the definition that every machine follows to the bit, and its parameters.
//!
//! The same logits, parameters, seed, position and stream give the same token on a processor, on a card and in a browser.
//! So behind the weighing of logits (step 1) there are whole numbers of 32 bits alone. Their sums are exact and hence
//! the same in any order, by any number of threads, in trees and chunks of any shape. Sums of f32 in one fixed shape would
//! bind every machine to that shape, and a single product of f32 does not have the same bits everywhere: WGSL
//! knows no rounding mode and may contract, Metal's arithmetic is loose unless told otherwise, some machines flush subnormal
//! numbers. [`RowSampler::draw`] is how a processor computes it; nothing below asks for its way of doing so.
//!
//! # The definition
//! *Damage.* If a logit is NaN or plus infinity, or all are minus infinity, no token is drawn: the row has a fault. A
//! forced token is taken whatever the logits are.
//!
//! 1. *Weighing*, of the text stream alone, in f32 as IEEE 754 has it (to nearest, ties to even, subnormal numbers kept).
//!    Each distinct token among the last `repetition_context` spoken ones: its logit is divided by `repetition_penalty`
//!    if it is above 0, and multiplied otherwise. The padding token's: [`DrawRule::pad`] is added. That is at most 257
//!    logits; a machine that divides in another way than IEEE 754 does it in integers.
//! 2. *Order.* Token i comes before token j if its [`order_key`](crate::likelihood::order_key) is larger, or equal and
//!    i < j. All that follows sees keys alone. The first token's key is the largest.
//! 3. *Greedy* (temperature 0): the first token. Done.
//! 4. *`top_k`*: the first k tokens stay; all, if it is 0 or there are no more.
//! 5. *Likelihoods.* Each has the whole number [`likelihood`](crate::likelihood::likelihood)(key, largest key, scale):
//!    2^31 times e^(difference of the logits / temperature).
//! 6. *`top_p`*: the shortest beginning of the order stays whose likelihoods sum up to `total * fraction / 2^32` or more,
//!    where `total` is the sum of what step 4 left and `fraction` is [`DrawRule::fraction`]; all, if that is 0.
//! 7. *The draw.* `total` is now the sum of what step 6 left, `word` is [`token_word`](crate::philox::token_word) of
//!    seed, position and stream, and the target is `floor(total * word / 2^32)` ([`share`](crate::likelihood::share)).
//!    Of the tokens that stay, going up by index, the first one with which the sum of likelihoods exceeds the target is
//!    drawn. There always is one: the largest key's likelihood is 2^31, so the total is not 0 and the target is below it.
//!
//! So a token is drawn with its probability to within 2^-32, beside what likelihoods are off.
//!
//! # On a parallel machine
//! *Integers.* Sums have 64 bits, which are two words with `carry = low < addend` behind `low += addend`. Where no
//! instruction gives the upper half of a product of 32 by 32 bits, four products of 16-bit halves do. A row's rule
//! ([`DrawRule`]) comes from the host when its parameters are set: no logarithm and no division by a temperature is
//! left to the machine.
//!
//! *Weighing.* One thread a token. Where f32 is not that of IEEE 754, mantissas are whole numbers too: a product of 48
//! bits, or 26 steps of long division, rounded once.
//!
//! *Keys.* One thread a logit reads its bits as u32 (a buffer of f32 bound as one of u32), finds damage by comparing keys
//! with [`LOWEST`](crate::likelihood::LOWEST) and [`HIGHEST`](crate::likelihood::HIGHEST), and takes part in a maximum,
//! whatever its shape.
//!
//! *`top_k`.* A radix selection: a histogram of the keys' upper 8 bits, the bin in which the k-th largest is, then of the
//! next 8 bits within that bin, four times; the last one tells the k-th key and how many of its equals stay. Those are the
//! first by index: a prefix count over equals. Sorting finds the same tokens.
//!
//! *`top_p`.* If step 4 left few, sort them by order and scan. Otherwise the same selection with sums of likelihoods in
//! the histogram's place (atomic additions to two words: whoever sees the lower one wrap adds 1 to the upper). Equal keys
//! have equal likelihoods, so how many equals stay is found by the same prefix count.
//!
//! *The draw.* An inclusive scan of the likelihoods by index, 0 for tokens that do not stay; the one thread whose sum
//! exceeds the target while the sum before it does not writes its index.
//!
//! ```
//! use moshi_tensor::draw::SampleScratch;
//! use moshi_tensor::sample::{Draw, RowSampler, RowSampling, SilentTokens};
//! let mut row = RowSampler::new(SilentTokens { padding: 3, end_padding: 0 });
//! row.set(&RowSampling { seed: 1, ..RowSampling::GREEDY })?;
//! let mut scratch = SampleScratch::new(4);
//! let token = row.draw(&[0.5, 2.0, 2.0, -1.0], Draw { position: 0, stream: 1, forced: None }, &mut scratch)?;
//! assert_eq!(token, 1);
//! # Ok::<(), moshi_tensor::Error>(())
//! ```

use crate::Error;
use crate::likelihood::Scale;

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

    /// The numbers that a draw of this stream computes with.
    ///
    /// ```
    /// use moshi_tensor::sample::{RowSampling, SamplingParams};
    /// let text = SamplingParams { temperature: 0.5, top_k: 25, top_p: 0.75 };
    /// let rule = RowSampling { text, pad_mult: 3.0, ..RowSampling::GREEDY }.rule(0);
    /// assert_eq!((rule.top_k, rule.fraction, rule.pad, rule.penalty), (25, 3 << 30, 1.5, 1.0));
    /// ```
    pub fn rule(&self, stream: Stream) -> DrawRule {
        let SamplingParams { temperature, top_k, top_p } = if stream == TEXT { self.text } else { self.audio };
        let warm = temperature > 0.0;
        let pad = if warm { (self.pad_mult * temperature).clamp(f32::MIN, f32::MAX) } else { self.pad_mult };
        let (pad, penalty) = if stream == TEXT { (pad, self.repetition_penalty) } else { (0.0, 1.0) };
        DrawRule { scale: warm.then(|| Scale::of(temperature)), top_k, fraction: fraction(top_p), pad, penalty }
    }

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

/// A sum of probabilities as a fraction of 2^32, rounded down but for 0; 0 for 1, which keeps all.
fn fraction(top_p: f32) -> u32 {
    if top_p < 1.0 { ((f64::from(top_p) * 4_294_967_296.0) as u32).max(1) } else { 0 }
}

/// What a stream's draws compute with: made from its parameters by the host, once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrawRule {
    /// Turns differences of logits into likelihoods; none is greedy.
    pub scale: Option<Scale>,
    /// How many tokens stay; 0 for all.
    pub top_k: usize,
    /// `top_p` of 2^32, rounded down, but at least 1; 0 keeps all.
    pub fraction: u32,
    /// Added to the padding token's logit: `pad_mult`, times the temperature (one f32 product) unless that is 0.
    pub pad: f32,
    /// The repetition penalty.
    pub penalty: f32,
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

    /// The text tokens that are penalised in the next draw, the last one first; one may come more than once.
    pub fn recent(&self) -> impl Iterator<Item = usize> {
        let count = self.count.min(self.params.repetition_context);
        (1..=count).map(|age| self.spoken[(self.count - age) % MAX_PENALTY_CONTEXT] as usize)
    }

    /// Which token gets [`DrawRule::pad`].
    pub fn padding(&self) -> usize {
        self.silent.padding as usize
    }

    /// Remembers a token of the text stream, drawn or forced, if it is spoken.
    pub fn remember(&mut self, token: i32) {
        let silent = [self.silent.padding, self.silent.end_padding].iter().any(|&s| i64::from(token) == i64::from(s));
        if token >= 0 && !silent {
            self.spoken[self.count % MAX_PENALTY_CONTEXT] = token;
            self.count += 1;
        }
    }
}
