//! What each kind of model is asked for, and what is said to somebody who asks for another's.

use moshi_engine::{EngineError, ModelInfo, ModelKind, SessionParams, SessionSpec};

/// Most frames (a minute) in which a translation may say what it has not said yet when its caller ends: a model may never
/// come to an end.
const TRANSLATION_TAIL: usize = 750;

/// A session that somebody owns and waits for, as this kind of model is used: a translation goes on after its caller's end
/// until it is complete, for a minute at most.
pub fn conversation(info: &ModelInfo, sampling: SessionParams) -> SessionSpec {
    let tail = if info.kind == ModelKind::Translation { TRANSLATION_TAIL } else { 0 };
    SessionSpec { tail, ..SessionSpec::lossless(sampling) }
}

/// Refuses to do `what` with a model of another kind than `kind`.
///
/// # Errors
/// [`EngineError::Input`] says which kind it takes, which this is, and where one is to be had.
pub fn expect_kind(info: &ModelInfo, what: &str, kind: ModelKind) -> Result<(), EngineError> {
    if info.kind == kind {
        return Ok(());
    }
    Err(EngineError::Input(format!(
        "{what} needs a model for {} (kind \"{}\"), such as {}; this is one for {} (kind \"{}\"): {}",
        purpose(kind),
        kind.name(),
        example(kind),
        purpose(info.kind),
        info.kind.name(),
        info.source
    )))
}

fn purpose(kind: ModelKind) -> &'static str {
    match kind {
        ModelKind::Dialogue => "dialogue",
        ModelKind::Stt => "recognition",
        ModelKind::Tts => "synthesis",
        ModelKind::Translation => "translation",
    }
}

/// A published repository of each kind.
fn example(kind: ModelKind) -> &'static str {
    match kind {
        ModelKind::Dialogue => "kyutai/moshiko-candle-q8",
        ModelKind::Stt => "kyutai/stt-1b-en_fr-candle",
        ModelKind::Tts => "kyutai/tts-1.6b-en_fr",
        ModelKind::Translation => "kyutai/hibiki-1b-pytorch-bf16",
    }
}
