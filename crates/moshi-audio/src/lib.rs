//! Audio for Moshi: Ogg Opus streams, audio files and resampling. Everything inside is mono at [`SAMPLE_RATE`].
//!
//! ```
//! use moshi_audio::{FRAME_SAMPLES, OggOpusDecoder, OggOpusEncoder, OggOpusEncoderConfig};
//!
//! // Towards a client: one message of whole pages for every frame of 80 ms ...
//! let mut encoder = OggOpusEncoder::new(&OggOpusEncoderConfig::default())?;
//! let mut message = Vec::new();
//! encoder.push(&[0.0; FRAME_SAMPLES], &mut message)?;
//!
//! // ... and from a client: bytes in, samples out, however the pages were cut.
//! let mut decoder = OggOpusDecoder::live();
//! let mut pcm = Vec::new();
//! for piece in message.chunks(100) {
//!     decoder.push(piece, &mut pcm)?;
//! }
//! assert_eq!(pcm.len(), FRAME_SAMPLES);
//! # Ok::<(), moshi_audio::AudioError>(())
//! ```

mod contents;
mod error;
mod file;
mod input;
mod loudness;
mod ogg_reader;
mod ogg_writer;
mod opus;
mod page;
mod resample;
mod stream;
mod track;
mod wav;
mod wave;
mod wave_format;
mod wave_header;

pub use error::AudioError;
pub use file::{AudioFile, Recording, load};
pub use loudness::{LoudnessError, gain_to, loudness};
pub use ogg_reader::{OggOpusDecoder, OggOpusDecoderConfig, StreamStats};
pub use ogg_writer::{OggOpusEncoder, OggOpusEncoderConfig};
pub use opus::{OpusDecoder, OpusEncoder, OpusEncoderConfig, PACKET_SAMPLES};
pub use resample::{Resampler, resample};
pub use wav::{SAVED_ENDINGS, WavFormat, WavWriter, save, write_wav};

/// Samples per second of everything in this crate.
pub const SAMPLE_RATE: u32 = 24_000;

/// Samples of one frame of the model: 80 ms.
pub const FRAME_SAMPLES: usize = 1_920;

/// The time of one frame: a model whose step takes longer does not keep up.
pub const FRAME_TIME: std::time::Duration =
    std::time::Duration::from_millis(1_000 * FRAME_SAMPLES as u64 / SAMPLE_RATE as u64);
