//! What a row hears after its caller's end: nothing as a rule, but a recognition and a translation still have words to say.

use moshi_engine::{ModelKind, SessionSpec};
use moshi_lm::translation::{Hear, Translation};

/// The end of a session's translation, for codebooks of `card` codes; `None` where the model is for something else.
pub(crate) fn translation_of(kind: ModelKind, card: usize, spec: &SessionSpec) -> Option<Translation> {
    (kind == ModelKind::Translation).then(|| Translation::new(card, spec.tail as u64))
}

/// The code of nothing.
pub(crate) const NOTHING: i32 = -1;

/// The code that a row hears on all streams in its next frame after the end; `None` for silence through the codec.
/// `listens` says whether it is a recognition's row of samples.
pub(crate) fn after_end(translation: Option<&mut Translation>, listens: bool) -> Option<i32> {
    let Some(translation) = translation else {
        return (!listens).then_some(NOTHING); // the text of a recognition is later than the sound
    };
    translation.end();
    match translation.hear() {
        Hear::Marker(code) => Some(code),
        Hear::Speech | Hear::Silence | Hear::Over => None,
    }
}

/// A frame after the end is done, and emitted this text token; whether the translation is complete.
pub(crate) fn is_translated(translation: &mut Translation, token: Option<i32>) -> bool {
    translation.stepped(token);
    translation.ending().is_some()
}
