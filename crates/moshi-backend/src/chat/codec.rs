//! Audio messages to samples and back.

use moshi_audio::{AudioError, OggOpusDecoder, OggOpusEncoder, OggOpusEncoderConfig};

use super::format::WireFormat;
use crate::call::{from_s16, to_s16};

/// Bytes of one sample of raw audio.
const SAMPLE_BYTES: usize = 2;

/// Turns a caller's audio messages into samples.
pub(super) enum VoiceDecoder {
    /// An Ogg Opus stream, cut anywhere.
    OggOpus(Box<OggOpusDecoder>),
    /// Raw samples.
    Pcm,
}

/// What is wrong with audio.
#[derive(Debug, thiserror::Error)]
pub(super) enum VoiceError {
    /// The stream is of another kind; nothing of it can be used.
    #[error("{0}")]
    Hopeless(AudioError),
    /// This piece cannot be used.
    #[error("{0}")]
    Piece(String),
}

impl VoiceDecoder {
    /// A decoder at the beginning of a call.
    pub(super) fn new(format: WireFormat) -> Self {
        match format {
            WireFormat::OggOpus => Self::OggOpus(Box::new(OggOpusDecoder::live())),
            WireFormat::Pcm => Self::Pcm,
        }
    }

    /// Appends the samples of a message to `pcm`.
    pub(super) fn decode(&mut self, payload: &[u8], pcm: &mut Vec<f32>) -> Result<(), VoiceError> {
        match self {
            Self::OggOpus(decoder) => decoder.push(payload, pcm).map_err(|error| match error {
                AudioError::NotOggOpus { .. } | AudioError::OtherCodec { .. } | AudioError::OpusHead { .. } => {
                    VoiceError::Hopeless(error)
                }
                other => VoiceError::Piece(other.to_string()),
            }),
            Self::Pcm if !payload.len().is_multiple_of(SAMPLE_BYTES) => Err(VoiceError::Piece(format!(
                "audio message of {} bytes; expected whole samples of {SAMPLE_BYTES} bytes (s16le)",
                payload.len()
            ))),
            Self::Pcm => {
                let samples = payload.chunks_exact(SAMPLE_BYTES);
                pcm.extend(samples.map(|s| from_s16(i16::from_le_bytes([s[0], s[1]]))));
                Ok(())
            }
        }
    }
}

/// Turns the agent's frames into audio messages.
pub(super) enum VoiceEncoder {
    /// An Ogg Opus stream.
    OggOpus(Box<OggOpusEncoder>),
    /// Raw samples.
    Pcm,
}

impl VoiceEncoder {
    /// An encoder at the beginning of a call; `serial` names its stream.
    pub(super) fn new(format: WireFormat, serial: u32) -> Result<Self, AudioError> {
        Ok(match format {
            WireFormat::OggOpus => {
                let config = OggOpusEncoderConfig { serial, ..OggOpusEncoderConfig::default() };
                Self::OggOpus(Box::new(OggOpusEncoder::new(&config)?))
            }
            WireFormat::Pcm => Self::Pcm,
        })
    }

    /// What must come before the first audio, if anything.
    pub(super) fn headers(&mut self) -> Option<Vec<u8>> {
        let Self::OggOpus(encoder) = self else { return None };
        let mut out = Vec::new();
        encoder.headers(&mut out);
        Some(out)
    }

    /// Tells the listener that `frames` frames are left out, where the format can.
    pub(super) fn skip(&mut self, frames: usize) {
        if let Self::OggOpus(encoder) = self {
            encoder.skip(frames);
        }
    }

    /// The payload of the message for one frame of 1,920 samples.
    pub(super) fn encode(&mut self, frame: &[f32]) -> Result<Vec<u8>, AudioError> {
        let mut out = Vec::with_capacity(512);
        match self {
            Self::OggOpus(encoder) => encoder.push(frame, &mut out)?,
            Self::Pcm => out.extend(frame.iter().flat_map(|sample| to_s16(*sample).to_le_bytes())),
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_samples_survive_both_ways_and_are_clipped() {
        let mut encoder = VoiceEncoder::new(WireFormat::Pcm, 0).unwrap();
        let bytes = encoder.encode(&[0.0, 0.5, -1.0, 2.0, f32::NAN]).unwrap();
        let mut pcm = Vec::new();
        VoiceDecoder::Pcm.decode(&bytes, &mut pcm).unwrap();
        assert_eq!(pcm, [0.0, 0.5, -1.0, 32_767.0 / 32_768.0, 0.0]);
        assert!(encoder.headers().is_none());
        let error = VoiceDecoder::Pcm.decode(&[1, 2, 3], &mut pcm).unwrap_err();
        assert!(error.to_string().contains("3 bytes"), "{error}");
    }
}
