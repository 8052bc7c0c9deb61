//! What can go wrong with audio.

use std::path::PathBuf;

/// An error of this crate; each says what was found and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AudioError {
    /// A stream that never was Ogg Opus.
    #[error("{bytes} bytes without an Ogg Opus stream in them; expected pages that begin with \"OggS\" and OpusHead")]
    NotOggOpus {
        /// How much was read before giving up.
        bytes: usize,
    },
    /// An Ogg stream of another codec.
    #[error("the Ogg stream holds {found}; expected Opus")]
    OtherCodec {
        /// Name of the codec found.
        found: String,
    },
    /// An Opus stream this crate does not play.
    #[error("OpusHead says {what} {found}; expected {expected}")]
    OpusHead {
        /// Which field.
        what: &'static str,
        /// Its value.
        found: u8,
        /// Values allowed.
        expected: &'static str,
    },
    /// The encoder was given a frame of the wrong length.
    #[error("{found} samples given to the encoder; expected {expected}")]
    FrameLength {
        /// Samples given.
        found: usize,
        /// Samples needed.
        expected: usize,
    },
    /// A setting is out of range.
    #[error("{name} is {found}; expected {expected}")]
    Setting {
        /// Which setting.
        name: &'static str,
        /// Its value.
        found: String,
        /// Values allowed.
        expected: &'static str,
    },
    /// The Opus codec failed.
    #[error("the Opus codec failed: {0}")]
    Opus(String),
    /// The resampler failed.
    #[error("the resampler failed: {0}")]
    Resample(String),
    /// A file that cannot be opened or read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write {path}: {reason}", path = path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// A name that promises a format which is not written.
    #[error("cannot write {path}: its name ends in .{ending}, and only wav files are written; let it end in .wav, and convert it with another program", path = path.display())]
    Ending {
        /// Which file.
        path: PathBuf,
        /// The ending of its name.
        ending: String,
    },
    /// A file without a byte.
    #[error("{path} is empty; expected an audio file", path = path.display())]
    EmptyFile {
        /// Which file.
        path: PathBuf,
    },
    /// A file that is not audio, or in a format this crate does not know.
    #[error("{path} is not an audio file this program can read ({reason}); expected wav, flac, mp3, ogg, opus, m4a, webm, aiff or caf", path = path.display())]
    UnknownFormat {
        /// Which file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file's container is known, its codec is not.
    #[error("{path} holds audio in {codec}, which this program cannot decode; convert it to wav or flac", path = path.display())]
    UnsupportedCodec {
        /// Which file.
        path: PathBuf,
        /// Name of the codec.
        codec: String,
    },
    /// The file's container holds no audio at all.
    #[error("{path} holds no audio track", path = path.display())]
    NoAudio {
        /// Which file.
        path: PathBuf,
    },
    /// The file is damaged where nothing could be decoded yet.
    #[error("{path} is damaged: {reason}", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What the decoder says.
        reason: String,
    },
}
