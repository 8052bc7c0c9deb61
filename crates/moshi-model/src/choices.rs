//! What a session asks for, in the words of the language model.

use moshi_engine::{EngineError, SessionParams, SessionSpec};
use moshi_lm::conditions::ConditionValues;
use moshi_lm::{RowSampling, SamplingParams};

/// How a session's tokens are drawn.
pub(crate) fn sampling(params: &SessionParams) -> RowSampling {
    let stream = |temperature, top_k| SamplingParams { temperature, top_k, top_p: params.top_p };
    RowSampling {
        seed: params.seed,
        text: stream(params.text_temperature, params.text_top_k),
        audio: stream(params.temperature, params.top_k),
        pad_mult: params.pad_mult,
        repetition_penalty: params.repetition_penalty,
        repetition_context: params.repetition_context,
    }
}

/// Which of the model's adapters a session has.
pub(crate) fn adapter(known: &[String], spec: &SessionSpec) -> Result<Option<usize>, EngineError> {
    let Some(name) = &spec.adapter else { return Ok(None) };
    let unknown = || EngineError::Parameter {
        name: "adapter",
        found: format!("{name:?}"),
        expected: match known {
            [] => "none: the model was loaded without adapters".to_owned(),
            known => format!("one that was loaded with the model: {}", known.join(", ")),
        },
    };
    known.iter().position(|known| known == name).map(Some).ok_or_else(unknown)
}

/// What the model is told about a session.
pub(crate) fn conditions(spec: &SessionSpec) -> ConditionValues {
    spec.conditions.iter().fold(ConditionValues::new(), |values, (name, value)| values.text(name, value))
}
