//! The canonical tensors of a model: their names and shapes, from its configuration.

use crate::config::{ConditionerKind, Gating, LmConfig, NormKind};

/// One tensor that a model needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Canonical name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// How many tensors of this shape are stacked where a file stacks weight sets.
    pub(crate) sets: usize,
}

impl TensorSpec {
    pub(crate) fn new(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), sets: 1 }
    }

    /// Whether a file may leave it out: the codec's training flags, which no inference reads.
    pub fn is_optional(&self) -> bool {
        self.name.ends_with("._initialized")
    }
}

/// Every tensor of the language model.
pub fn lm_tensors(config: &LmConfig) -> Vec<TensorSpec> {
    let dim = config.dim;
    let mut list = List::default();
    list.push("text_emb.weight", &[config.text_card + 1, dim]);
    if config.demux_second_text_stream {
        list.push("text_emb.out1.weight", &[dim, dim]);
        list.push("text_emb.out2.weight", &[dim, dim]);
    }
    for q in 0..config.n_q {
        list.push(format!("emb.{q}.weight"), &[config.card + 1, dim]);
    }
    for i in 0..config.num_layers {
        temporal_layer(&mut list, config, &format!("transformer.layers.{i}"));
    }
    list.norm("out_norm", config.norm, dim);
    list.head("text_linear", config.text_card_out, dim, config.bias_proj);
    for i in 0..config.extra_heads_num_heads {
        list.push(format!("extra_heads.{i}.weight"), &[config.extra_heads_dim, dim]);
    }
    depth(&mut list, config);
    conditions(&mut list, config);
    list.0
}

fn temporal_layer(list: &mut List, config: &LmConfig, at: &str) {
    let dim = config.dim;
    list.norm(&format!("{at}.norm1"), config.norm, dim);
    list.norm(&format!("{at}.norm2"), config.norm, dim);
    let rows = dim + 2 * config.kv_heads() * config.head_dim();
    list.push(format!("{at}.self_attn.in_projs.0.weight"), &[rows, dim]);
    list.push(format!("{at}.self_attn.out_projs.0.weight"), &[dim, dim]);
    if config.cross_attention {
        list.norm(&format!("{at}.norm_cross"), NormKind::Layer, dim);
        list.push(format!("{at}.cross_attention.in_projs.0.weight"), &[3 * dim, dim]);
        list.push(format!("{at}.cross_attention.out_projs.0.weight"), &[dim, dim]);
        if config.layer_scale.is_some() {
            list.push(format!("{at}.layer_scale_cross.scale"), &[dim]);
        }
    }
    let mlp = if config.gating == Gating::Silu { format!("{at}.gating") } else { at.to_owned() };
    list.mlp(&mlp, config.gating, dim, config.hidden());
    list.layer_scale(at, config.layer_scale, dim);
}

fn conditions(list: &mut List, config: &LmConfig) {
    for conditioner in &config.conditioners {
        let at = format!("condition_provider.conditioners.{}", conditioner.name);
        if let ConditionerKind::Lut { bins, dim, .. } = conditioner.kind {
            list.push(format!("{at}.embed.weight"), &[bins + 1, dim]);
        }
        list.push(format!("{at}.output_proj.weight"), &[config.dim, conditioner.dim()]);
        list.push(format!("{at}.learnt_padding"), &[1, 1, config.dim]);
    }
}

fn depth(list: &mut List, config: &LmConfig) {
    let Some(depth) = &config.depformer else { return };
    let (d, sets) = (depth.dim, depth.weight_sets());
    for j in 0..depth.inputs() {
        list.push(format!("depformer_in.{j}.weight"), &[d, config.dim]);
    }
    list.embedding("depformer_text_emb", config.text_card + 1, d, depth.low_rank_embeddings);
    if config.demux_second_text_stream {
        let width = depth.low_rank_embeddings.unwrap_or(d);
        list.push("depformer_text_emb.out1.weight", &[d, width]);
        list.push("depformer_text_emb.out2.weight", &[d, width]);
    }
    for k in 1..config.dep_q {
        list.embedding(&format!("depformer_emb.{}", k - 1), config.card + 1, d, depth.low_rank_embeddings);
    }
    let rows = d + 2 * depth.kv_heads() * depth.head_dim();
    for l in 0..depth.num_layers {
        let at = format!("depformer.layers.{l}");
        list.norm(&format!("{at}.norm1"), depth.norm, d);
        list.norm(&format!("{at}.norm2"), depth.norm, d);
        for j in 0..sets {
            list.push_stacked(format!("{at}.self_attn.in_projs.{j}.weight"), &[rows, d], sets);
            list.push_stacked(format!("{at}.self_attn.out_projs.{j}.weight"), &[d, d], sets);
            let mlp = if depth.gating == Gating::Silu { format!("{at}.gating.{j}") } else { at.clone() };
            list.mlp(&mlp, depth.gating, d, depth.hidden(j));
        }
        list.layer_scale(&at, depth.layer_scale, d);
    }
    for k in 0..config.dep_q {
        if let Some(norm) = depth.output_norm {
            list.norm(&format!("depformer_norms.{k}"), norm, d);
        }
        list.head(&format!("linears.{k}"), config.card, d, config.bias_proj);
    }
}

/// A growing list of tensors.
#[derive(Default)]
pub(crate) struct List(pub(crate) Vec<TensorSpec>);

impl List {
    pub(crate) fn push(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.0.push(TensorSpec::new(name, shape));
    }

    fn push_stacked(&mut self, name: String, shape: &[usize], sets: usize) {
        self.0.push(TensorSpec { sets, ..TensorSpec::new(name, shape) });
    }

    pub(crate) fn norm(&mut self, at: &str, norm: NormKind, dim: usize) {
        match norm {
            NormKind::RmsF32 => self.push(format!("{at}.alpha"), &[1, 1, dim]),
            NormKind::Layer => {
                self.push(format!("{at}.weight"), &[dim]);
                self.push(format!("{at}.bias"), &[dim]);
            }
        }
    }

    pub(crate) fn mlp(&mut self, at: &str, gating: Gating, dim: usize, hidden: usize) {
        let (first, second, rows) = match gating {
            Gating::Silu => ("linear_in", "linear_out", 2 * hidden),
            Gating::None => ("linear1", "linear2", hidden),
        };
        self.push(format!("{at}.{first}.weight"), &[rows, dim]);
        self.push(format!("{at}.{second}.weight"), &[dim, hidden]);
    }

    pub(crate) fn layer_scale(&mut self, at: &str, scale: Option<f64>, dim: usize) {
        if scale.is_some() {
            self.push(format!("{at}.layer_scale_1.scale"), &[dim]);
            self.push(format!("{at}.layer_scale_2.scale"), &[dim]);
        }
    }

    fn head(&mut self, at: &str, outputs: usize, dim: usize, bias: bool) {
        self.push(format!("{at}.weight"), &[outputs, dim]);
        if bias {
            self.push(format!("{at}.bias"), &[outputs]);
        }
    }

    fn embedding(&mut self, at: &str, entries: usize, dim: usize, rank: Option<usize>) {
        self.push(format!("{at}.weight"), &[entries, rank.unwrap_or(dim)]);
        if let Some(rank) = rank {
            self.push(format!("{at}.low_rank.weight"), &[dim, rank]);
        }
    }
}
