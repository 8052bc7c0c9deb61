//! Python bindings of rustymoshi: extract, release the interpreter lock, call the engine, wrap.
//!
//! No logic lives here. The package `rustymoshi` re-exports this module; its stubs are `python/rustymoshi/_native.pyi`.

use pyo3::prelude::*;

mod args;
mod audio;
mod background;
mod codec;
mod errors;
mod model;
mod numbers;
mod session;
mod signals;
mod source;
mod speech;
mod steering;
mod synthesis;
mod transcript;
mod transcription;
mod translation;

/// Both crates say how long a frame is, because neither may use the other.
const _: () = assert!(moshi_audio::FRAME_SAMPLES == moshi_engine::FRAME_SAMPLES);

/// The native half of the package `rustymoshi`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::audio::{load_audio, save_audio};
    #[pymodule_export]
    use super::codec::{Mimi, MimiStream};
    #[pymodule_export]
    use super::errors::RustymoshiError;
    #[pymodule_export]
    use super::model::{Lm, Model};
    #[pymodule_export]
    use super::session::StreamingSession;
    #[pymodule_export]
    use super::speech::{Speech, SpokenWord};
    #[pymodule_export]
    use super::synthesis::SynthesisSession;
    #[pymodule_export]
    use super::transcript::{Heard, Transcript, Word};
    #[pymodule_export]
    use super::transcription::TranscriptionSession;
    #[pymodule_export]
    use super::translation::Translation;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("SESSION_PARAMETERS", crate::numbers::declared())?;
        module.add("SAMPLE_RATE", moshi_audio::SAMPLE_RATE)?;
        module.add("SAVED_ENDINGS", moshi_audio::SAVED_ENDINGS.map(|ending| format!(".{ending}")))?;
        module.add("FRAME_SAMPLES", moshi_engine::FRAME_SAMPLES)
    }
}
