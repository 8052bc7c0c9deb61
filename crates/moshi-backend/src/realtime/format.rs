//! What audio is on this wire: PCM of 16 bits at 24 kHz, or G.711 at 8 kHz; and the ways to the model's samples and back.

use moshi_audio::{AudioError, Resampler, SAMPLE_RATE};
use serde_json::{Value, json};

use super::g711;
use crate::call::{CallRequest, NamedFormat, from_s16, to_s16};

/// Samples per second of G.711.
const TELEPHONE_RATE: u32 = 8_000;

/// What a caller of this wire asks for.
pub(super) type RealtimeRequest = CallRequest<AudioFormat>;

/// A format of audio. Each direction has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum AudioFormat {
    /// s16le, 24 kHz, mono.
    #[default]
    Pcm16,
    /// G.711 µ-law, 8 kHz.
    Ulaw,
    /// G.711 A-law, 8 kHz.
    Alaw,
}

impl NamedFormat for AudioFormat {
    const NAMES: &'static str = "pcm16, g711_ulaw or g711_alaw (or audio/pcm, audio/pcmu, audio/pcma)";

    /// The format of this name, in either spelling, or as `/api/chat` has it.
    fn named(name: &str) -> Option<Self> {
        let format = Self::ALL.into_iter().find(|format| name == format.short_name() || name == format.media_type());
        format.or_else(|| (name == "pcm").then_some(Self::Pcm16))
    }
}

impl AudioFormat {
    const ALL: [Self; 3] = [Self::Pcm16, Self::Ulaw, Self::Alaw];

    /// As sessions of the beta say it.
    pub(super) fn short_name(self) -> &'static str {
        match self {
            Self::Pcm16 => "pcm16",
            Self::Ulaw => "g711_ulaw",
            Self::Alaw => "g711_alaw",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Pcm16 => "audio/pcm",
            Self::Ulaw => "audio/pcmu",
            Self::Alaw => "audio/pcma",
        }
    }

    /// Samples per second on the wire.
    pub(super) fn rate(self) -> u32 {
        if self == Self::Pcm16 { SAMPLE_RATE } else { TELEPHONE_RATE }
    }

    /// As sessions of today say it.
    pub(super) fn object(self) -> Value {
        match self {
            Self::Pcm16 => json!({ "type": self.media_type(), "rate": SAMPLE_RATE }),
            Self::Ulaw | Self::Alaw => json!({ "type": self.media_type() }),
        }
    }

    /// How many of the model's samples `bytes` bytes are.
    pub(super) fn samples(self, bytes: usize) -> usize {
        match self {
            Self::Pcm16 => bytes / 2,
            Self::Ulaw | Self::Alaw => bytes.saturating_mul((SAMPLE_RATE / TELEPHONE_RATE) as usize),
        }
    }
}

/// Turns the caller's bytes into samples.
#[derive(Debug)]
pub(super) struct VoiceIn {
    format: AudioFormat,
    resampler: Resampler,
}

impl VoiceIn {
    /// At the beginning of a stream.
    pub(super) fn new(format: AudioFormat) -> Result<Self, AudioError> {
        Ok(Self { format, resampler: Resampler::low_latency(format.rate(), SAMPLE_RATE)? })
    }

    /// Samples at 24 kHz; the resampler keeps back a few milliseconds of G.711. Bytes that make no whole sample are left
    /// out.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<Vec<f32>, AudioError> {
        let wire: Vec<f32> = match self.format {
            AudioFormat::Pcm16 => bytes.chunks_exact(2).map(|b| from_s16(i16::from_le_bytes([b[0], b[1]]))).collect(),
            AudioFormat::Ulaw => bytes.iter().map(|byte| from_s16(g711::from_ulaw(*byte))).collect(),
            AudioFormat::Alaw => bytes.iter().map(|byte| from_s16(g711::from_alaw(*byte))).collect(),
        };
        let mut pcm = Vec::with_capacity(self.format.samples(bytes.len()));
        self.resampler.push(&wire, &mut pcm)?;
        Ok(pcm)
    }
}

/// Turns the agent's samples into bytes.
#[derive(Debug)]
pub(super) struct VoiceOut {
    format: AudioFormat,
    resampler: Resampler,
}

impl VoiceOut {
    /// At the beginning of an utterance.
    pub(super) fn new(format: AudioFormat) -> Result<Self, AudioError> {
        Ok(Self { format, resampler: Resampler::low_latency(SAMPLE_RATE, format.rate())? })
    }

    /// The bytes of these samples at 24 kHz, but for what the resampler keeps back.
    pub(super) fn encode(&mut self, pcm: &[f32]) -> Result<Vec<u8>, AudioError> {
        let mut wire = Vec::with_capacity(pcm.len());
        self.resampler.push(pcm, &mut wire)?;
        let samples = wire.into_iter().map(to_s16);
        Ok(match self.format {
            AudioFormat::Pcm16 => samples.flat_map(i16::to_le_bytes).collect(),
            AudioFormat::Ulaw => samples.map(g711::to_ulaw).collect(),
            AudioFormat::Alaw => samples.map(g711::to_alaw).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(samples: usize) -> Vec<f32> {
        (0..samples).map(|n| 0.5 * (n as f32 * std::f32::consts::TAU * 440.0 / 24_000.0).sin()).collect()
    }

    #[test]
    fn a_tone_survives_each_format_in_pieces_of_any_size() {
        for (format, allowed) in [(AudioFormat::Pcm16, 1e-4), (AudioFormat::Ulaw, 0.03), (AudioFormat::Alaw, 0.03)] {
            let (mut out, mut back) = (VoiceOut::new(format).unwrap(), VoiceIn::new(format).unwrap());
            let sent = tone(24_000);
            let bytes: Vec<u8> = sent.chunks(1_920).flat_map(|frame| out.encode(frame).unwrap()).collect();
            let heard: Vec<f32> = bytes.chunks(334).flat_map(|piece| back.decode(piece).unwrap()).collect();
            assert!(heard.len() > 23_000 && heard.len() <= 24_000, "{format:?}: {}", heard.len());
            let worst = heard.iter().zip(&sent).skip(500).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < allowed, "{format:?}: {worst}");
        }
    }

    #[test]
    fn both_spellings_name_a_format() {
        for format in AudioFormat::ALL {
            assert_eq!(AudioFormat::named(format.short_name()), Some(format));
            assert_eq!(AudioFormat::named(format.object()["type"].as_str().unwrap()), Some(format));
        }
        assert_eq!(AudioFormat::named("opus"), None);
    }
}
