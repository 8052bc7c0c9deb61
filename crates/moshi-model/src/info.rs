//! What is told of a loaded model.

use std::path::Path;

use moshi_checkpoint::Repository;
use moshi_checkpoint::config::{ConditionerConfig, ConditionerKind, ModelType};
use moshi_engine::{ConditionInfo, ModelInfo, ModelKind, ModelMemory, SessionParams, VoiceInfo};
use moshi_lm::Lm;
use moshi_nn::Backend;

/// What a model is, but for what its weights and sessions take.
pub(crate) fn describe<B: Backend>(lm: &Lm<B>, source: &str, repository: &Repository) -> ModelInfo {
    let (config, sampling) = (lm.config(), &repository.config().lm_gen_config);
    ModelInfo {
        kind: kind(repository.config().model_type),
        adapters: lm.adapters().to_vec(),
        voices: voices(repository),
        conditions: config.conditioners.iter().map(condition).collect(),
        source: source.to_owned(),
        executor: lm.backend().name().to_owned(),
        notice: None,
        n_q: config.n_q,
        dep_q: config.dep_q,
        user_streams: lm.heard(),
        card: config.card,
        text_card: config.text_card,
        dim: config.dim,
        delays: config.delays.clone(),
        weight_bytes: 0,
        memory: ModelMemory::default(),
        threads: 1,
        defaults: SessionParams {
            temperature: sampling.temp,
            top_k: sampling.top_k,
            text_temperature: sampling.temp_text,
            text_top_k: sampling.top_k_text,
            ..SessionParams::default()
        },
    }
}

fn kind(kind: ModelType) -> ModelKind {
    match kind {
        ModelType::Hibiki => ModelKind::Translation,
        ModelType::Stt => ModelKind::Stt,
        ModelType::Tts => ModelKind::Tts,
        _ => ModelKind::Dialogue,
    }
}

/// How a model that reads aloud takes a voice.
fn voices(repository: &Repository) -> Option<VoiceInfo> {
    let config = repository.config();
    if config.model_type != ModelType::Tts {
        return None;
    }
    let vectors = |known: &&ConditionerConfig| matches!(known.kind, ConditionerKind::Tensor { .. });
    let condition = config.lm.conditioners.iter().find(vectors).map(|known| known.name.clone());
    let most = if condition.is_some() { config.tts_config.map_or(5, |tts| tts.max_speakers) } else { 1 };
    let file_ending = config.model_id.as_ref().map(|id| id.voice_file(""));
    let folder = repository.config_path().and_then(Path::parent).map(|folder| folder.join("voices"));
    Some(VoiceInfo { condition, most, file_ending, folder })
}

fn condition(config: &ConditionerConfig) -> ConditionInfo {
    let (texts, width) = match &config.kind {
        ConditionerKind::Lut { values, .. } => (values.clone(), None),
        ConditionerKind::Tensor { dim } => (Vec::new(), Some(*dim)),
        _ => (Vec::new(), None),
    };
    ConditionInfo { name: config.name.clone(), texts, width }
}
