//! Configurations as JSON, in the keys of the published files.

use serde_json::{Map, Value, json};

use super::conditions::conditioners_to_json;
use super::lm::scale;
use super::{
    DepformerConfig, FileNames, LmConfig, LmGenConfig, MimiConfig, ModelConfig, ModelId, ModelType, TtsConfig,
};

impl ModelConfig {
    /// As `config.json` spells it: reading it back gives the same configuration, but for `raw`.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        let model_type = match self.model_type {
            ModelType::Moshi => "moshi",
            ModelType::Hibiki => "hibiki",
            ModelType::Stt => "stt",
            ModelType::Tts => "tts",
        };
        map.insert("model_type".to_owned(), json!(model_type));
        extend(&mut map, self.lm.to_json());
        extend(&mut map, names(&self.names));
        map.insert("lm_gen_config".to_owned(), gen_config(&self.lm_gen_config));
        if let Some(lora) = &self.lora {
            let value =
                json!({"lora": true, "lora_name": lora.name, "lora_rank": lora.rank, "lora_scaling": lora.scaling});
            extend(&mut map, value);
        }
        extend(
            &mut map,
            json!({
                "tts_config": self.tts_config.map(TtsConfig::to_json),
                "stt_config": self.stt_config,
                "model_id": self.model_id.as_ref().map(ModelId::to_json),
                "rag_token_id": self.rag_token_id,
            }),
        );
        map.retain(|_, value| !value.is_null());
        Value::Object(map)
    }
}

fn extend(map: &mut Map<String, Value>, value: Value) {
    if let Value::Object(more) = value {
        map.extend(more);
    }
}

fn names(names: &FileNames) -> Value {
    json!({
        "moshi_name": names.moshi,
        "mimi_name": names.mimi,
        "mimi_config_name": names.mimi_config,
        "tokenizer_name": names.tokenizer,
    })
}

fn gen_config(config: &LmGenConfig) -> Value {
    json!({
        "temp": config.temp,
        "temp_text": config.temp_text,
        "top_k": config.top_k,
        "top_k_text": config.top_k_text,
    })
}

impl LmConfig {
    /// The language model's keys of `config.json`.
    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "dim": self.dim,
            "num_heads": self.num_heads,
            "num_layers": self.num_layers,
            // Half a unit up, so that the floor of the product is the width again.
            "hidden_scale": scale(self.dim, self.dim_feedforward),
            "n_q": self.n_q,
            "dep_q": self.dep_q,
            "card": self.card,
            "text_card": self.text_card,
            "text_card_out": self.text_card_out,
            "context": self.context,
            "max_period": self.max_period,
            "causal": true,
            "norm": self.norm.name(),
            "gating": self.gating.name(),
            "positional_embedding": self.positional_embedding.name(),
            "kv_repeat": self.kv_repeat,
            "layer_scale": self.layer_scale,
            "delays": self.delays,
            "existing_text_padding_id": self.existing_text_padding_id,
            "existing_text_end_padding_id": self.existing_text_end_padding_id,
            "extra_heads_num_heads": self.extra_heads_num_heads,
            "extra_heads_dim": self.extra_heads_dim,
            "cross_attention": self.cross_attention,
            "conditioners": conditioners_to_json(&self.conditioners),
            "fuser": self.fuser.to_json(),
            "demux_second_text_stream": self.demux_second_text_stream,
            "norm_emb": self.norm_emb,
            "bias_proj": self.bias_proj,
        });
        if let (Some(depth), Value::Object(map)) = (&self.depformer, &mut value) {
            extend(map, depth.to_json());
        }
        value
    }
}

impl DepformerConfig {
    fn to_json(&self) -> Value {
        let identity = self.schedule.iter().enumerate().all(|(k, set)| k == *set);
        let alike = self.dim_feedforward.windows(2).all(|w| w[0] == w[1]);
        json!({
            "depformer_dim": self.dim,
            "depformer_num_heads": self.num_heads,
            "depformer_kv_repeat": self.kv_repeat,
            "depformer_num_layers": self.num_layers,
            "depformer_dim_feedforward": match self.dim_feedforward.first() {
                Some(first) if alike => json!(first),
                _ => json!(self.dim_feedforward),
            },
            "depformer_weights_per_step": self.weights_per_step,
            "depformer_weights_per_step_schedule": Some(&self.schedule).filter(|_| !identity),
            "depformer_multi_linear": self.multi_linear,
            "depformer_low_rank_embeddings": self.low_rank_embeddings,
            "depformer_pos_emb": self.pos_emb.name(),
            "depformer_norm": self.output_norm.map(|n| n.name()),
            "depformer_gating": self.gating.name(),
            "depformer_context": self.context,
            "depformer_max_period": self.max_period,
            "depformer_layer_scale": self.layer_scale,
        })
    }
}

impl MimiConfig {
    /// As `mimi_config.json` spells it.
    pub fn to_json(&self) -> Value {
        let (seanet, transformer, quantizer) = (&self.seanet, &self.transformer, &self.quantizer);
        json!({
            "sample_rate": self.sample_rate,
            "channels": 1,
            "frame_rate": self.frame_rate,
            "seanet": {
                "channels": 1,
                "dimension": seanet.dimension,
                "causal": true,
                "n_filters": seanet.n_filters,
                "n_residual_layers": seanet.n_residual_layers,
                "activation": "ELU",
                "compress": seanet.compress,
                "dilation_base": seanet.dilation_base,
                "disable_norm_outer_blocks": 0,
                "kernel_size": seanet.kernel_size,
                "residual_kernel_size": seanet.residual_kernel_size,
                "last_kernel_size": seanet.last_kernel_size,
                "norm": "none",
                "pad_mode": "constant",
                "ratios": seanet.ratios,
                "true_skip": true,
            },
            "quantizer": {
                "dimension": quantizer.dimension,
                "n_q": quantizer.n_q,
                "bins": quantizer.bins,
                "input_dimension": seanet.dimension,
                "output_dimension": seanet.dimension,
            },
            "transformer": {
                "d_model": transformer.d_model,
                "num_heads": transformer.num_heads,
                "num_layers": transformer.num_layers,
                "causal": true,
                "layer_scale": transformer.layer_scale,
                "context": transformer.context,
                "conv_layout": true,
                "max_period": transformer.max_period,
                "gating": transformer.gating.name(),
                "norm": transformer.norm.name(),
                "positional_embedding": transformer.positional_embedding.name(),
                "dim_feedforward": transformer.dim_feedforward,
                "input_dimension": seanet.dimension,
                "output_dimensions": [seanet.dimension],
            },
        })
    }
}
