//! Codec, language model and text assembled, loaded onto the executor of choice, behind what the engine drives.
//!
//! [`load_model`] and [`load_codec`] lay out an opened repository; [`on_device`] is the one place that names executors.

mod adapters;
mod builtin;
pub mod captions;
mod choices;
mod codec;
mod error;
mod info;
mod kept;
mod kinds;
mod load;
mod memory;
mod moshi;
mod priming;
mod reading;
mod recognition;
mod registry;
mod role;
mod role_voices;
mod row;
mod saying;
mod shared;
mod sound;
mod speech;
mod steering;
mod step;
mod transcriber;
mod transcript;
mod transcription_session;
mod translation;
mod voices;
mod whole_transcription;
mod whole_translation;

pub use adapters::{AdapterPath, adapter_at};
pub use builtin::{builtin, builtin_repository};
pub use kinds::{conversation, expect_kind};
pub use load::{Dtype, LoadOptions, Loaded, load_codec, load_model, load_model_on};
pub use priming::role_play;
pub use registry::{Device, Executors, OnExecutors, Wanted, on_device};
pub use role::Roles;
pub use role_voices::RoleVoices;
pub use sound::Sound;
pub use speech::{Codec, CodecInfo, CodecStream};
pub use transcriber::{Transcriber, Transcription};
pub use transcript::{Transcript, TranscriptWord, Understood};
pub use transcription_session::TranscriptionSession;
pub use voices::{speaker_voices, spoken_prefix};
pub use whole_transcription::WholeTranscription;
pub use whole_translation::WholeTranslation;
