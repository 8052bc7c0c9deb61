//! Sizes and options of the language model.

use super::conditions::{parse_conditioners, parse_fuser};
use super::limits::{MAX_LAYERS, MAX_STREAMS, MAX_WIDTH};
use super::{ConditionerConfig, DepformerConfig, FuserConfig, Reader};
use crate::Result;

/// Which norm a transformer uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NormKind {
    /// `rms_norm_f32`: tensors `alpha [1, 1, dim]`, eps 1e-8.
    RmsF32,
    /// `layer_norm`: tensors `weight [dim]` and `bias [dim]`, eps 1e-5.
    Layer,
}

impl NormKind {
    pub(crate) const NAMES: [(&'static str, Self); 2] = [("rms_norm_f32", Self::RmsF32), ("layer_norm", Self::Layer)];

    /// The name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            Self::RmsF32 => "rms_norm_f32",
            Self::Layer => "layer_norm",
        }
    }
}

/// Which feed-forward block a transformer uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gating {
    /// `silu`: `linear_out(silu(a) * b)` with `a` the first half of `linear_in`.
    Silu,
    /// `none`: `linear2(gelu(linear1))`.
    None,
}

impl Gating {
    pub(crate) const NAMES: [(&'static str, Self); 2] = [("silu", Self::Silu), ("none", Self::None)];

    /// The name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::None => "none",
        }
    }
}

/// How a transformer knows positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PositionalEmbedding {
    /// `rope`: rotary, interleaved pairs.
    Rope,
    /// `rope_concat`: rotary, first half with second half.
    RopeConcat,
    /// `none`.
    None,
}

impl PositionalEmbedding {
    pub(crate) const NAMES: [(&'static str, Self); 3] =
        [("rope", Self::Rope), ("rope_concat", Self::RopeConcat), ("none", Self::None)];

    /// The name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rope => "rope",
            Self::RopeConcat => "rope_concat",
            Self::None => "none",
        }
    }
}

/// Which weights each depth step has.
pub(super) const SCHEDULE: &str = "depformer_weights_per_step_schedule";

/// The language model: one text stream and `n_q` audio streams in, one text stream and `dep_q` audio streams out.
#[derive(Debug, Clone, PartialEq)]
pub struct LmConfig {
    /// Width of the temporal transformer.
    pub dim: usize,
    /// Query heads of the temporal transformer; divides `dim`.
    pub num_heads: usize,
    /// Layers of the temporal transformer.
    pub num_layers: usize,
    /// `floor(hidden_scale * dim)`, before gating takes its share (see [`gated_hidden`]).
    pub dim_feedforward: usize,
    /// Audio streams read.
    pub n_q: usize,
    /// Audio streams written; at most `n_q`, 0 for a model that only writes text.
    pub dep_q: usize,
    /// Audio codes; id `card` is the initial token, so tables have `card + 1` rows.
    pub card: usize,
    /// Text tokens; id `text_card` is the initial token.
    pub text_card: usize,
    /// Text logits.
    pub text_card_out: usize,
    /// Keys that a query of the temporal transformer sees, itself included.
    pub context: usize,
    /// Longest wavelength of the rotary embedding.
    pub max_period: f64,
    /// Norm of the temporal transformer.
    pub norm: NormKind,
    /// Feed-forward block of the temporal transformer.
    pub gating: Gating,
    /// Positions of the temporal transformer.
    pub positional_embedding: PositionalEmbedding,
    /// Query heads per key and value head; divides `num_heads`.
    pub kv_repeat: usize,
    /// Initial value of learned channel scales on both branches; `None` means there are none.
    pub layer_scale: Option<f64>,
    /// Delay of each stream in steps: text, then `n_q` audio streams.
    pub delays: Vec<usize>,
    /// Text token that stands for "nothing said".
    pub existing_text_padding_id: u32,
    /// Text token that ends padding.
    pub existing_text_end_padding_id: u32,
    /// The depth transformer; `None` when `dep_q` is 0.
    pub depformer: Option<DepformerConfig>,
    /// Number of extra heads on the temporal output.
    pub extra_heads_num_heads: usize,
    /// Logits of each extra head.
    pub extra_heads_dim: usize,
    /// Whether temporal layers also attend to conditions.
    pub cross_attention: bool,
    /// What the model may be told beside its streams, in the order of names.
    pub conditioners: Vec<ConditionerConfig>,
    /// Where conditions go.
    pub fuser: FuserConfig,
    /// Whether a text token carries two: (second + 1) * (text_card + 1) + first.
    pub demux_second_text_stream: bool,
    /// Whether the temporal transformer reads the text token that ends the text as padding (translation models).
    pub end_reads_as_padding: bool,
    /// Whether embeddings are normalised.
    pub norm_emb: bool,
    /// Whether output heads have biases.
    pub bias_proj: bool,
}

pub(super) const LM_KEYS: [&str; 8] = ["dim", "num_heads", "num_layers", "n_q", "dep_q", "card", "text_card", "delays"];

impl LmConfig {
    /// Moshi 7B, as published.
    pub fn moshi_7b() -> Self {
        Self {
            dim: 4096,
            num_heads: 32,
            num_layers: 32,
            dim_feedforward: 16896,
            n_q: 16,
            dep_q: 8,
            card: 2048,
            text_card: 32000,
            text_card_out: 32000,
            context: 3000,
            max_period: 10_000.0,
            norm: NormKind::RmsF32,
            gating: Gating::Silu,
            positional_embedding: PositionalEmbedding::Rope,
            kv_repeat: 1,
            layer_scale: None,
            delays: vec![0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1],
            existing_text_padding_id: 3,
            existing_text_end_padding_id: 0,
            depformer: Some(DepformerConfig::moshi_7b()),
            extra_heads_num_heads: 0,
            extra_heads_dim: 6,
            cross_attention: false,
            conditioners: Vec::new(),
            fuser: FuserConfig::default(),
            demux_second_text_stream: false,
            end_reads_as_padding: false,
            norm_emb: false,
            bias_proj: false,
        }
    }

    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.dim / self.num_heads
    }

    /// Key and value heads of the temporal transformer.
    pub fn kv_heads(&self) -> usize {
        self.num_heads / self.kv_repeat
    }

    /// Hidden width of the temporal feed-forward block.
    pub fn hidden(&self) -> usize {
        match self.gating {
            Gating::Silu => gated_hidden(self.dim, self.dim_feedforward),
            Gating::None => self.dim_feedforward,
        }
    }

    /// Largest delay of any stream.
    pub fn max_delay(&self) -> usize {
        self.delays.iter().copied().max().unwrap_or(0)
    }

    /// Reads the LM keys; a file with none of them describes Moshi 7B.
    pub(super) fn parse(r: &Reader<'_>, warnings: &mut Vec<String>) -> Result<Self> {
        if !r.has_any(&LM_KEYS) {
            let rest = "no language model sizes; what its tensors do not tell is as in Moshi 7B";
            warnings.push(format!("{}: {rest}", r.path().display()));
            return Ok(Self::moshi_7b());
        }
        let mut assume = |key: &str, value: f64| {
            warnings.push(format!("{}: {key:?} is not set; taking {value}, as in Moshi 7B", r.path().display()));
            value
        };
        let hidden_scale = r.number("hidden_scale", 0.0, 1000.0)?.unwrap_or_else(|| assume("hidden_scale", 4.125));
        let context = r.count("context", 1, 1 << 24)?.unwrap_or_else(|| assume("context", 3000.0) as usize);
        let mut config = Self { context, ..Self::default_options() };
        config.parse_sizes(r, hidden_scale)?;
        config.parse_options(r)?;
        config.check(r, hidden_scale)?;
        let steps = config.dep_q;
        if config.predicts_the_user(r)? {
            config.dep_q /= 2;
        }
        config.depformer = DepformerConfig::parse(r, &config, steps, hidden_scale)?;
        Ok(config)
    }

    /// Whether it is a dialogue that was trained to predict the user's streams beside the agent's. They are always given
    /// when it runs, so the steps that predict them are left out.
    fn predicts_the_user(&self, r: &Reader<'_>) -> Result<bool> {
        let dialogue = matches!(r.text("model_type")?.as_deref(), None | Some("moshi")) && !r.says("tts_config");
        let own = r.counts(SCHEDULE, 0, MAX_STREAMS)?.is_none_or(|list| list.iter().copied().eq(0..list.len()));
        let (agent, user) = self.delays[1..].split_at(self.n_q / 2);
        Ok(dialogue && own && self.dep_q > 0 && self.dep_q == self.n_q && agent == user)
    }

    /// Moshi 7B without what a configuration has to ask for.
    fn default_options() -> Self {
        Self { depformer: None, delays: Vec::new(), ..Self::moshi_7b() }
    }

    /// What every configuration has to say.
    fn parse_sizes(&mut self, r: &Reader<'_>, hidden_scale: f64) -> Result<()> {
        self.n_q = r.need_count("n_q", 0, MAX_STREAMS)?;
        self.dep_q = r.need_count("dep_q", 0, MAX_STREAMS)?;
        if self.dep_q > self.n_q {
            return Err(r.error("dep_q", self.dep_q, format!("at most n_q, which is {}", self.n_q)));
        }
        self.dim = r.need_count("dim", 1, MAX_WIDTH)?;
        self.dim_feedforward = (hidden_scale * self.dim as f64) as usize;
        self.num_heads = r.need_count("num_heads", 1, MAX_WIDTH)?;
        self.num_layers = r.need_count("num_layers", 1, MAX_LAYERS)?;
        self.card = r.need_count("card", 1, MAX_WIDTH)?;
        self.text_card = r.need_count("text_card", 1, MAX_WIDTH)?;
        self.delays = r.counts("delays", 0, 1 << 16)?.ok_or_else(|| r.error("delays", "missing", "a list"))?;
        Ok(())
    }

    /// What a configuration may leave out.
    fn parse_options(&mut self, r: &Reader<'_>) -> Result<()> {
        let padding = r.count("existing_text_padding_id", 0, self.text_card)?;
        self.text_card_out = r.count("text_card_out", 1, MAX_WIDTH + 1)?.unwrap_or(self.text_card);
        self.existing_text_padding_id = padding.unwrap_or(3.min(self.text_card)) as u32;
        self.existing_text_end_padding_id =
            r.count("existing_text_end_padding_id", 0, self.text_card)?.unwrap_or(0) as u32;
        self.max_period = r.number("max_period", 1.0, 1e12)?.unwrap_or(self.max_period);
        self.norm = r.choice("norm", &NormKind::NAMES)?.unwrap_or(self.norm);
        self.gating = r.choice("gating", &Gating::NAMES)?.unwrap_or(self.gating);
        let positions = r.choice("positional_embedding", &PositionalEmbedding::NAMES)?;
        self.positional_embedding = positions.unwrap_or(self.positional_embedding);
        self.kv_repeat = r.count("kv_repeat", 1, MAX_WIDTH)?.unwrap_or(1);
        self.layer_scale = r.number("layer_scale", -1e6, 1e6)?;
        self.extra_heads_num_heads = r.count("extra_heads_num_heads", 0, MAX_STREAMS)?.unwrap_or(0);
        self.extra_heads_dim = r.count("extra_heads_dim", 1, MAX_WIDTH)?.unwrap_or(6);
        self.cross_attention = r.flag("cross_attention", false)?;
        self.conditioners = parse_conditioners(r)?;
        self.fuser = parse_fuser(r, &self.conditioners)?;
        // Published files spell it either way.
        self.demux_second_text_stream =
            r.flag("demux_second_stream", false)? | r.flag("demux_second_text_stream", false)?;
        self.end_reads_as_padding = r.text("model_type")?.as_deref() == Some("hibiki");
        self.norm_emb = r.flag("norm_emb", false)?;
        self.bias_proj = r.flag("bias_proj", false)?;
        Ok(())
    }

    fn check(&self, r: &Reader<'_>, hidden_scale: f64) -> Result<()> {
        check_heads(r, "", self.dim, self.num_heads, self.kv_repeat, self.positional_embedding)?;
        if self.delays.len() != self.n_q + 1 {
            let expected = format!("{} numbers (text and n_q = {} audio streams)", self.n_q + 1, self.n_q);
            return Err(r.error("delays", format!("a list of {}", self.delays.len()), expected));
        }
        if !r.flag("causal", true)? {
            return Err(r.error("causal", false, "true: only causal models can stream"));
        }
        if self.hidden() == 0 || self.dim_feedforward > MAX_WIDTH {
            let expected = format!("a scale that gives 2 to {MAX_WIDTH} hidden units for dim {}", self.dim);
            return Err(r.error("hidden_scale", hidden_scale, expected));
        }
        Ok(())
    }
}

/// Hidden width of a gated feed-forward block of `dim_feedforward` in a model of width `dim`: two thirds of it, except
/// that four times the width gives 21/8 of it. (Published PyTorch package; 16,896 at width 4,096 gives 11,264.)
pub fn gated_hidden(dim: usize, dim_feedforward: usize) -> usize {
    if dim_feedforward == 4 * dim { 21 * dim / 8 } else { 2 * dim_feedforward / 3 }
}

/// The nominal size of a gated block of so many hidden units; `None` where no size leads to it.
pub(crate) fn nominal(dim: usize, hidden: usize) -> Option<usize> {
    [(3 * hidden).div_ceil(2), 4 * dim].into_iter().find(|&nominal| gated_hidden(dim, nominal) == hidden)
}

/// A factor whose product with `dim`, rounded down, is `width`.
pub(super) fn scale(dim: usize, width: usize) -> f64 {
    let exact = width as f64 / dim as f64;
    if (exact * dim as f64) as usize == width { exact } else { (width as f64 + 0.5) / dim as f64 }
}

/// Checks that heads divide the width, that key heads divide heads, and that rotary pairs are whole.
pub(super) fn check_heads(
    r: &Reader<'_>,
    prefix: &str,
    dim: usize,
    heads: usize,
    kv_repeat: usize,
    positions: PositionalEmbedding,
) -> Result<()> {
    if !dim.is_multiple_of(heads) {
        return Err(r.error(&format!("{prefix}num_heads"), heads, format!("a divisor of {prefix}dim, which is {dim}")));
    }
    if !heads.is_multiple_of(kv_repeat) {
        return Err(r.error("kv_repeat", kv_repeat, format!("a divisor of {prefix}num_heads, which is {heads}")));
    }
    if positions != PositionalEmbedding::None && !(dim / heads).is_multiple_of(2) {
        let expected = format!("heads of even width for {:?}, not {dim} / {heads} = {}", positions.name(), dim / heads);
        return Err(r.error(&format!("{prefix}num_heads"), heads, expected));
    }
    Ok(())
}
