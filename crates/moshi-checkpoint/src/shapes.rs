//! Sizes from tensors: role-play repositories have an empty config.json, others none at all.
//!
//! What no shape tells is as in Moshi 7B and its codec: the numbers of heads, contexts, delays, which of the streams are the
//! agent's. A file that does not fit that is left to the ordinary checks.

use std::sync::LazyLock;

use crate::config::{
    DepformerConfig, LmConfig, MAX_STREAMS, MimiConfig, MimiTransformerConfig, QuantizerConfig, SeanetConfig, nominal,
};
use crate::file::TensorFile;
use crate::layouts;

/// The shapes of all tensors of some files, by the names of the PyTorch package, whatever the files call them.
pub(crate) struct Shapes<'a>(pub(crate) &'a [TensorFile]);

/// Moshi 7B with more depth steps than any model has: what the other layouts call a step's tensors.
static ANY: LazyLock<LmConfig> = LazyLock::new(|| {
    let depth = DepformerConfig { schedule: (0..MAX_STREAMS).collect(), ..DepformerConfig::moshi_7b() };
    LmConfig { dep_q: MAX_STREAMS, depformer: Some(depth), ..LmConfig::moshi_7b() }
});

impl Shapes<'_> {
    fn of(&self, name: &str) -> Option<&[usize]> {
        let find = |name: &str| self.0.iter().find_map(|file| file.tensors().get(name));
        let in_rust = layouts::candle_place(name, &ANY);
        let other = || in_rust.as_deref().and_then(find);
        let in_mlx = || find(&layouts::mlx_rename(in_rust.as_deref().unwrap_or(name)));
        find(name).or_else(other).or_else(in_mlx).map(|tensor| tensor.shape.as_slice())
    }

    /// Whether there is such a tensor.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.of(name).is_some()
    }

    /// Whether there is a tensor whose name in the file begins so.
    pub(crate) fn any(&self, beginning: &str) -> bool {
        self.0.iter().any(|file| file.tensors().keys().any(|name| name.starts_with(beginning)))
    }

    /// One dimension of a tensor.
    fn dim(&self, name: &str, index: usize) -> Option<usize> {
        self.of(name)?.get(index).copied()
    }

    /// Rows of a matrix, which integers packed along them leave as they are.
    pub(crate) fn rows(&self, name: &str) -> Option<usize> {
        self.dim(name, 0)
    }

    /// Columns of a matrix that is not packed.
    pub(crate) fn columns(&self, name: &str) -> Option<usize> {
        self.dim(name, 1)
    }

    /// How many tensors there are whose names go on counting.
    pub(crate) fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|i| self.of(&name(*i)).is_some()).count()
    }

    /// Steps of the depth transformer that the files hold, by their heads.
    pub(crate) fn slices(&self) -> usize {
        self.count(|k| format!("linears.{k}.weight"))
    }

    /// A language model with the streams of Moshi 7B.
    pub(crate) fn lm(&self) -> Option<LmConfig> {
        let base = LmConfig::moshi_7b();
        let dim = self.of("out_norm.alpha")?.iter().product();
        let hidden = self.rows("transformer.layers.0.gating.linear_in.weight")? / 2;
        let lm = LmConfig {
            dim,
            num_layers: self.count(|i| format!("transformer.layers.{i}.norm1.alpha")),
            dim_feedforward: nominal(dim, hidden)?,
            n_q: self.count(|q| format!("emb.{q}.weight")),
            card: self.rows("emb.0.weight")?.checked_sub(1)?,
            text_card: self.rows("text_emb.weight")?.checked_sub(1)?,
            text_card_out: self.rows("text_linear.weight")?,
            depformer: Some(self.depth()?),
            ..base.clone()
        };
        // A file may predict the user too; the user is always given.
        let streams = lm.n_q == base.n_q && [base.dep_q, base.n_q].contains(&self.slices());
        (streams && dim.is_multiple_of(2 * lm.num_heads)).then_some(lm)
    }

    fn depth(&self) -> Option<DepformerConfig> {
        let base = DepformerConfig::moshi_7b();
        let dim = self.rows("depformer_in.0.weight")?;
        let hidden = self.rows("depformer.layers.0.gating.0.linear_in.weight")? / 2;
        let sets = base.schedule.len();
        let depth = DepformerConfig {
            dim,
            num_layers: self.count(|l| format!("depformer.layers.{l}.norm1.alpha")),
            dim_feedforward: vec![nominal(dim, hidden)?; sets],
            ..base
        };
        dim.is_multiple_of(depth.num_heads).then_some(depth)
    }

    /// The codec.
    pub(crate) fn mimi(&self) -> Option<MimiConfig> {
        let base = MimiConfig::published();
        let config = MimiConfig {
            seanet: self.seanet(&base.seanet)?,
            transformer: self.mimi_transformer(&base.transformer)?,
            quantizer: self.quantizer()?,
            ..base.clone()
        };
        let fits = config.frame_samples() == base.frame_samples()
            && config.transformer.d_model.is_multiple_of(2 * config.transformer.num_heads);
        fits.then_some(config)
    }

    fn seanet(&self, base: &SeanetConfig) -> Option<SeanetConfig> {
        // Each stage has one residual block, an activation and a convolution twice as wide as its stride.
        let stage = |i: usize| format!("encoder.model.{}.conv.conv.weight", 3 + 3 * i);
        let convolutions: Vec<usize> = (0..).map_while(|i| self.dim(&stage(i), 2)).collect();
        let n_filters = self.dim("encoder.model.0.conv.conv.weight", 0)?;
        let last = format!("encoder.model.{}.conv.conv.weight", 2 + 3 * convolutions.len());
        Some(SeanetConfig {
            dimension: self.dim(&last, 0)?,
            n_filters,
            ratios: convolutions.iter().rev().map(|kernel| kernel / 2).collect(),
            compress: n_filters.checked_div(self.dim("encoder.model.1.block.1.conv.conv.weight", 0)?)?,
            ..base.clone()
        })
    }

    fn mimi_transformer(&self, base: &MimiTransformerConfig) -> Option<MimiTransformerConfig> {
        let layer = |i: usize| format!("encoder_transformer.transformer.layers.{i}.linear1.weight");
        Some(MimiTransformerConfig {
            d_model: self.dim(&layer(0), 1)?,
            num_layers: self.count(layer),
            dim_feedforward: self.dim(&layer(0), 0)?,
            ..base.clone()
        })
    }

    fn quantizer(&self) -> Option<QuantizerConfig> {
        let codebook = |half: &str, i: usize| format!("quantizer.{half}.vq.layers.{i}._codebook.embedding_sum");
        let first = codebook("rvq_first", 0);
        Some(QuantizerConfig {
            dimension: self.dim(&first, 1)?,
            n_q: 1 + self.count(|i| codebook("rvq_rest", i)),
            bins: self.dim(&first, 0)?,
        })
    }
}

/// Which step of the depth transformer a tensor belongs to, where each has weights of its own.
pub(crate) fn slice_of(name: &str) -> Option<usize> {
    let parts: Vec<&str> = name.split('.').collect();
    match parts.as_slice() {
        ["linears" | "depformer_in" | "depformer_norms", k, ..] => k.parse().ok(),
        ["depformer_emb", k, ..] => k.parse::<usize>().ok()?.checked_add(1),
        ["depformer", "layers", _, "gating", k, ..] => k.parse().ok(),
        ["depformer", "layers", _, "self_attn", "in_projs" | "out_projs", k, ..] => k.parse().ok(),
        _ => None,
    }
}
