//! The canonical tensors of the codec.

use crate::config::{Gating, MimiConfig, SeanetConfig};
use crate::names::{List, TensorSpec};

/// Every tensor of the codec, attention projections under their canonical names
/// (`self_attn.in_projs.0.weight`, `self_attn.out_projs.0.weight`).
pub fn mimi_tensors(config: &MimiConfig) -> Vec<TensorSpec> {
    let mut list = List::default();
    let dimension = config.seanet.dimension;
    encoder(&mut list, &config.seanet);
    transformer(&mut list, config, "encoder_transformer");
    let kernel = 2 * config.downsample;
    if config.downsample > 1 {
        list.push("downsample.conv.conv.conv.weight", &[dimension, dimension, kernel]);
        list.push("upsample.convtr.convtr.convtr.weight", &[dimension, 1, kernel]);
    }
    quantizer(&mut list, config);
    transformer(&mut list, config, "decoder_transformer");
    decoder(&mut list, &config.seanet);
    list.0
}

fn conv(list: &mut List, at: &str, kind: &str, shape: [usize; 3], bias: usize) {
    list.push(format!("{at}.{kind}.{kind}.weight"), &shape);
    list.push(format!("{at}.{kind}.{kind}.bias"), &[bias]);
}

/// The residual blocks of a stage; returns the index of the layer after them.
fn residual(list: &mut List, seanet: &SeanetConfig, side: &str, first: usize, channels: usize) -> usize {
    let inner = channels / seanet.compress;
    for index in first..first + seanet.n_residual_layers {
        let at = format!("{side}.model.{index}.block");
        conv(list, &format!("{at}.1"), "conv", [inner, channels, seanet.residual_kernel_size], inner);
        conv(list, &format!("{at}.3"), "conv", [channels, inner, 1], channels);
    }
    first + seanet.n_residual_layers
}

fn encoder(list: &mut List, seanet: &SeanetConfig) {
    let mut channels = seanet.n_filters;
    conv(list, "encoder.model.0", "conv", [channels, 1, seanet.kernel_size], channels);
    let mut index = 1;
    for stride in seanet.ratios.iter().rev() {
        // Blocks, then an activation, then the strided convolution.
        let at = residual(list, seanet, "encoder", index, channels) + 1;
        conv(list, &format!("encoder.model.{at}"), "conv", [2 * channels, channels, 2 * stride], 2 * channels);
        channels *= 2;
        index = at + 1;
    }
    let shape = [seanet.dimension, channels, seanet.last_kernel_size];
    conv(list, &format!("encoder.model.{}", index + 1), "conv", shape, seanet.dimension);
}

fn decoder(list: &mut List, seanet: &SeanetConfig) {
    let mut channels = seanet.n_filters << seanet.ratios.len();
    conv(list, "decoder.model.0", "conv", [channels, seanet.dimension, seanet.kernel_size], channels);
    let mut index = 1;
    for stride in &seanet.ratios {
        // An activation, then the transposed convolution, then blocks.
        let at = format!("decoder.model.{}", index + 1);
        conv(list, &at, "convtr", [channels, channels / 2, 2 * stride], channels / 2);
        channels /= 2;
        index = residual(list, seanet, "decoder", index + 2, channels);
    }
    conv(list, &format!("decoder.model.{}", index + 1), "conv", [1, channels, seanet.last_kernel_size], 1);
}

fn transformer(list: &mut List, config: &MimiConfig, side: &str) {
    let transformer = &config.transformer;
    let dim = transformer.d_model;
    for i in 0..transformer.num_layers {
        let at = format!("{side}.transformer.layers.{i}");
        list.norm(&format!("{at}.norm1"), transformer.norm, dim);
        list.norm(&format!("{at}.norm2"), transformer.norm, dim);
        list.push(format!("{at}.self_attn.in_projs.0.weight"), &[3 * dim, dim]);
        list.push(format!("{at}.self_attn.out_projs.0.weight"), &[dim, dim]);
        let hidden = transformer.dim_feedforward;
        match transformer.gating {
            Gating::None => list.mlp(&at, Gating::None, dim, hidden),
            Gating::Silu => {
                let hidden = crate::config::gated_hidden(dim, hidden);
                list.mlp(&format!("{at}.gating"), Gating::Silu, dim, hidden);
            }
        }
        list.layer_scale(&at, transformer.layer_scale, dim);
    }
}

fn quantizer(list: &mut List, config: &MimiConfig) {
    let (dimension, q) = (config.seanet.dimension, &config.quantizer);
    for (half, codebooks) in [("rvq_first", 1), ("rvq_rest", q.n_q - 1)] {
        if codebooks == 0 {
            continue;
        }
        list.push(format!("quantizer.{half}.input_proj.weight"), &[q.dimension, dimension, 1]);
        list.push(format!("quantizer.{half}.output_proj.weight"), &[dimension, q.dimension, 1]);
        for i in 0..codebooks {
            let at = format!("quantizer.{half}.vq.layers.{i}._codebook");
            list.push(format!("{at}._initialized"), &[1]);
            list.push(format!("{at}.cluster_usage"), &[q.bins]);
            list.push(format!("{at}.embedding_sum"), &[q.bins, q.dimension]);
        }
    }
}
