//! What a session asks for, in the words of the language model.

use std::collections::BTreeMap;
use std::sync::Arc;

use moshi_engine::{Condition, ConditionInfo, EngineError, SessionParams, SessionSpec, Vectors};
use moshi_lm::conditions::{ConditionValues, Sequence};
use moshi_lm::{RowSampling, SamplingParams};

use crate::error::ModelError;

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
pub(crate) fn adapter(known: &[String], name: Option<&str>) -> Result<Option<usize>, EngineError> {
    let Some(name) = name else { return Ok(None) };
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

/// How many codebooks a session makes, of `most`.
pub(crate) fn codebooks(most: usize, spec: &SessionSpec) -> Result<usize, EngineError> {
    match spec.codebooks {
        None => Ok(most),
        Some(count) if (1..=most).contains(&count) => Ok(count),
        Some(count) => Err(EngineError::Parameter {
            name: "num_codebooks",
            found: count.to_string(),
            expected: format!("1 to {most}, the codebooks of this model"),
        }),
    }
}

/// Text tokens that a session watches for, of `text_card`.
pub(crate) fn watched(text_card: usize, spec: &SessionSpec) -> Result<Vec<i32>, EngineError> {
    let unknown = |token: &&i32| !usize::try_from(**token).is_ok_and(|token| token < text_card);
    match spec.watched.iter().find(unknown) {
        None => Ok(spec.watched.clone()),
        Some(token) => Err(EngineError::Parameter {
            name: "watch",
            found: token.to_string(),
            expected: format!("text tokens of this model, 0 to {}", text_card.saturating_sub(1)),
        }),
    }
}

/// What sessions are told where they say nothing else: a good voice, in the one way there is.
const AS_A_RULE: [(&str, &str); 2] = [("control", "ok"), ("description", "very_good")];
/// The condition under which a model has learnt what guidance comes to.
const LEARNT: &str = "cfg";
/// What a session that is drawn by guidance is drawn away from, where that is not "nothing given".
const AWAY_FROM: [(&str, &str); 1] = [("description", "very_bad")];
/// Empty places in a model that attends to voices, where the session has none: five of ten seconds.
const NO_VOICE: usize = 625;

/// The condition of guidance in a model that has learnt it.
pub(crate) fn learnt(known: &[ConditionInfo]) -> Option<&ConditionInfo> {
    known.iter().find(|known| known.name == LEARNT && !known.texts.is_empty())
}

/// What the model is told about a session, all names given.
pub(crate) fn conditions(
    known: &[ConditionInfo],
    spec: &SessionSpec,
) -> Result<BTreeMap<String, Condition>, EngineError> {
    let mut told = spec.conditions.clone();
    for (name, text) in AS_A_RULE.iter().filter(|(name, text)| knows(known, name, text)) {
        told.entry((*name).to_owned()).or_insert_with(|| Condition::from(*text));
    }
    if let (Some(learnt), Some(guidance)) = (learnt(known), spec.guidance) {
        let text = format!("{guidance:.1}");
        if !learnt.texts.contains(&text) {
            let expected = format!("one that this model has learnt: {}", learnt.texts.join(", "));
            return Err(EngineError::Parameter { name: "cfg", found: guidance.to_string(), expected });
        }
        told.insert(LEARNT.to_owned(), Condition::Text(text));
    }
    for vectors in known.iter().filter_map(|known| known.width.map(|width| (known, width))) {
        let (known, width) = vectors;
        told.entry(known.name.clone()).or_insert_with(|| Condition::Vectors(empty(width, NO_VOICE)));
    }
    Ok(told)
}

/// What a session's guidance draws away from.
pub(crate) fn away(known: &[ConditionInfo], spec: &SessionSpec) -> Result<BTreeMap<String, Condition>, EngineError> {
    let mut away = BTreeMap::new();
    for (name, text) in AWAY_FROM.iter().filter(|(name, text)| knows(known, name, text)) {
        away.insert((*name).to_owned(), Condition::from(*text));
    }
    for (name, value) in conditions(known, spec)? {
        if let Condition::Vectors(vectors) = value {
            away.insert(name, Condition::Vectors(empty(vectors.width, vectors.given.len())));
        }
    }
    Ok(away)
}

fn empty(width: usize, places: usize) -> Arc<Vectors> {
    Arc::new(Vectors { width, values: vec![0.0; width * places], given: vec![false; places] })
}

fn knows(known: &[ConditionInfo], name: &str, text: &str) -> bool {
    known.iter().any(|known| known.name == name && known.texts.iter().any(|known| known == text))
}

/// The same in the words of the language model.
pub(crate) fn condition_values(told: &BTreeMap<String, Condition>) -> Result<ConditionValues, ModelError> {
    let mut values = ConditionValues::new();
    for (name, value) in told {
        values = match value {
            Condition::NotGiven => values,
            Condition::Text(text) => values.text(name, text),
            Condition::Vectors(vectors) => {
                let Vectors { width, values: vectors, given } = &**vectors;
                values.sequence(name, Sequence::masked(*width, vectors.clone(), given.clone())?)
            }
        };
    }
    Ok(values)
}
