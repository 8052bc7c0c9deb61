//! Codec, language model and text assembled, loaded onto the executor of choice, behind what the engine drives.
//!
//! [`load_model`] and [`load_codec`] lay out an opened repository; [`on_device`] is the one place that names executors.

mod builtin;
mod choices;
mod codec;
mod error;
mod kept;
mod load;
mod memory;
mod moshi;
mod priming;
mod reading;
mod recognition;
mod registry;
mod row;
mod saying;
mod shared;
mod speech;
mod steering;
mod step;
mod translation;
mod voices;

pub use builtin::{builtin, builtin_repository};
pub use load::{AdapterPath, Dtype, LoadOptions, Loaded, load_codec, load_model, load_model_on};
pub use priming::role_play;
pub use registry::{Device, Executors, OnExecutors, Wanted, on_device};
pub use speech::{Codec, CodecInfo, CodecStream};
pub use voices::{speaker_voices, spoken_prefix};
