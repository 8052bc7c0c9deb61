//! Sizes and options of the depth transformer.

use super::limits::{MAX_LAYERS, MAX_STREAMS, MAX_WIDTH};
use super::lm::{SCHEDULE, check_heads};
use super::{Gating, LmConfig, NormKind, PositionalEmbedding, Reader, gated_hidden};
use crate::Result;

/// The depth transformer: for each frame an autoregressive run over `dep_q` audio streams.
#[derive(Debug, Clone, PartialEq)]
pub struct DepformerConfig {
    /// Width.
    pub dim: usize,
    /// Query heads; divides `dim`.
    pub num_heads: usize,
    /// Query heads per key and value head.
    pub kv_repeat: usize,
    /// Layers.
    pub num_layers: usize,
    /// Feed-forward size of each weight set, before gating takes its share.
    pub dim_feedforward: Vec<usize>,
    /// Weight set of each of the `dep_q` steps: 0, 1, 2, ... unless steps share weights.
    pub schedule: Vec<usize>,
    /// Whether each weight set has an input projection of its own; otherwise there is one for all.
    pub multi_linear: bool,
    /// Whether the layers' weights differ between weight sets; otherwise there is one set for all steps.
    pub weights_per_step: bool,
    /// Width of the embedding tables, where a projection follows them.
    pub low_rank_embeddings: Option<usize>,
    /// Positions.
    pub pos_emb: PositionalEmbedding,
    /// Norm of the layers.
    pub norm: NormKind,
    /// Norm of each step's output before its head (`depformer_norms.{k}`), where there is one.
    pub output_norm: Option<NormKind>,
    /// Feed-forward block.
    pub gating: Gating,
    /// Keys that a query sees; at least the steps of a frame unless the model was trained otherwise.
    pub context: usize,
    /// Longest wavelength of the rotary embedding.
    pub max_period: f64,
    /// Initial value of learned channel scales; `None` means there are none.
    pub layer_scale: Option<f64>,
}

impl DepformerConfig {
    /// The depth transformer of Moshi 7B.
    pub fn moshi_7b() -> Self {
        Self {
            dim: 1024,
            num_heads: 16,
            kv_repeat: 1,
            num_layers: 6,
            dim_feedforward: vec![4224; 8],
            schedule: (0..8).collect(),
            multi_linear: true,
            weights_per_step: true,
            low_rank_embeddings: None,
            pos_emb: PositionalEmbedding::None,
            norm: NormKind::RmsF32,
            output_norm: None,
            gating: Gating::Silu,
            context: 8,
            max_period: 10_000.0,
            layer_scale: None,
        }
    }

    /// Number of weight sets of the layers.
    pub fn weight_sets(&self) -> usize {
        self.dim_feedforward.len()
    }

    /// Number of input projections `depformer_in.{j}`.
    pub fn inputs(&self) -> usize {
        if self.multi_linear { self.schedule.iter().max().map_or(1, |m| m + 1) } else { 1 }
    }

    /// Input projection of step `k`.
    pub fn input_of(&self, k: usize) -> usize {
        if self.multi_linear { self.schedule.get(k).copied().unwrap_or(0) } else { 0 }
    }

    /// Weight set of step `k`.
    pub fn set_of(&self, k: usize) -> usize {
        if self.weights_per_step { self.schedule.get(k).copied().unwrap_or(0) } else { 0 }
    }

    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.dim / self.num_heads
    }

    /// Key and value heads.
    pub fn kv_heads(&self) -> usize {
        self.num_heads / self.kv_repeat
    }

    /// Hidden width of the feed-forward block of weight set `j`.
    pub fn hidden(&self, j: usize) -> usize {
        let feedforward = self.dim_feedforward.get(j).copied().unwrap_or(0);
        match self.gating {
            Gating::Silu => gated_hidden(self.dim, feedforward),
            Gating::None => feedforward,
        }
    }

    /// Reads the `depformer_*` keys, which are of `steps` steps, for the first `dep_q` of them; `None` when the model writes
    /// no audio.
    pub(super) fn parse(r: &Reader<'_>, lm: &LmConfig, steps: usize, hidden_scale: f64) -> Result<Option<Self>> {
        // Obsolete, and said to be ignored; asking for it makes it known.
        let _ = r.value("depformer_causal");
        let base = Self::moshi_7b();
        let first = |mut list: Vec<usize>| {
            if list.len() == steps {
                list.truncate(lm.dep_q);
            }
            list
        };
        let schedule = r.counts(SCHEDULE, 0, MAX_STREAMS)?.filter(|list| !list.is_empty()).map(first);
        let dim = r.count("depformer_dim", 1, MAX_WIDTH)?;
        let feedforward = parse_feedforward(r)?.map(first);
        let output_norm = r.choice("depformer_norm", &NormKind::NAMES)?;
        let config = Self {
            dim: dim.unwrap_or(base.dim),
            num_heads: r.count("depformer_num_heads", 1, MAX_WIDTH)?.unwrap_or(lm.num_heads),
            kv_repeat: r.count("depformer_kv_repeat", 1, MAX_WIDTH)?.unwrap_or(lm.kv_repeat),
            num_layers: r.count("depformer_num_layers", 1, MAX_LAYERS)?.unwrap_or(lm.num_layers),
            dim_feedforward: Vec::new(),
            schedule: schedule.clone().unwrap_or_else(|| (0..lm.dep_q).collect()),
            multi_linear: r.flag("depformer_multi_linear", false)?,
            weights_per_step: r.flag("depformer_weights_per_step", false)?,
            low_rank_embeddings: r.count("depformer_low_rank_embeddings", 1, MAX_WIDTH)?,
            pos_emb: r.choice("depformer_pos_emb", &PositionalEmbedding::NAMES)?.unwrap_or(base.pos_emb),
            norm: lm.norm,
            output_norm,
            gating: r.choice("depformer_gating", &Gating::NAMES)?.unwrap_or(lm.gating),
            context: r.count("depformer_context", 1, 1 << 24)?.unwrap_or(lm.dep_q.max(1)),
            max_period: r.number("depformer_max_period", 1.0, 1e12)?.unwrap_or(lm.max_period),
            layer_scale: r.number("depformer_layer_scale", -1e6, 1e6)?.or(lm.layer_scale),
        };
        if lm.dep_q == 0 {
            return Ok(None);
        }
        if dim.is_none() {
            return Err(r.error("depformer_dim", "missing", "the width of the depth transformer"));
        }
        if let Some(schedule) = &schedule {
            check_schedule(r, schedule, lm.dep_q)?;
        }
        config.finish(r, feedforward, hidden_scale).map(Some)
    }

    fn finish(mut self, r: &Reader<'_>, feedforward: Option<Vec<usize>>, hidden_scale: f64) -> Result<Self> {
        let sets = if self.weights_per_step { self.schedule.iter().max().map_or(1, |m| m + 1) } else { 1 };
        let key = "depformer_dim_feedforward";
        self.dim_feedforward = match feedforward {
            None => vec![(hidden_scale * self.dim as f64) as usize; sets],
            Some(one) if one.len() == 1 => vec![one[0]; sets],
            Some(list) if list.len() == sets => list,
            Some(list) => {
                let expected = format!("one number, or one for each of the {sets} weight sets");
                return Err(r.error(key, format!("a list of {}", list.len()), expected));
            }
        };
        check_heads(r, "depformer_", self.dim, self.num_heads, self.kv_repeat, self.pos_emb)?;
        if let Some(j) = (0..sets).find(|j| self.hidden(*j) == 0 || self.dim_feedforward[*j] > MAX_WIDTH) {
            return Err(r.error(key, self.dim_feedforward[j], format!("2 to {MAX_WIDTH} hidden units")));
        }
        if self.gating == Gating::None && sets > 1 {
            return Err(r.error("depformer_gating", "\"none\"", "\"silu\" where weights differ between steps"));
        }
        Ok(self)
    }
}

fn parse_feedforward(r: &Reader<'_>) -> Result<Option<Vec<usize>>> {
    let key = "depformer_dim_feedforward";
    match r.value(key) {
        Some(v) if v.is_array() => Ok(r.counts(key, 1, MAX_WIDTH)?.filter(|list| !list.is_empty())),
        _ => Ok(r.count(key, 1, MAX_WIDTH)?.map(|n| vec![n])),
    }
}

/// A schedule gives each step a weight set, starting at 0, never going back and leaving none out.
fn check_schedule(r: &Reader<'_>, schedule: &[usize], dep_q: usize) -> Result<()> {
    let key = SCHEDULE;
    if schedule.len() != dep_q {
        return Err(r.error(key, format!("a list of {}", schedule.len()), format!("dep_q = {dep_q} numbers")));
    }
    let mut next = 0;
    for (k, &set) in schedule.iter().enumerate() {
        if set > next || set + 1 < next {
            let expected = if next == 0 { "0".to_owned() } else { format!("{} or {next}", next - 1) };
            return Err(r.error(
                &format!("{key}[{k}]"),
                set,
                format!("{expected} (sets start at 0 and never go back)"),
            ));
        }
        next = set + 1;
    }
    Ok(())
}
