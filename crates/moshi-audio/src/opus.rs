//! Opus packets to and from PCM at 24 kHz, with loss concealment.

use crate::{AudioError, SAMPLE_RATE};

/// Samples of the packets that the encoder makes: 40 ms.
pub const PACKET_SAMPLES: usize = 960;

/// Longest packet in samples: 120 ms.
pub(crate) const MAX_PACKET_SAMPLES: usize = 2_880;

/// Settings of the encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpusEncoderConfig {
    /// Bits per second, 6,000 to 256,000.
    pub bitrate: u32,
    /// 0 (fast) to 10 (thorough).
    pub complexity: u8,
}

impl Default for OpusEncoderConfig {
    /// 32 kbit/s, where speech at 24 kHz keeps its full bandwidth, at a complexity that costs about 1 % of a core.
    fn default() -> Self {
        Self { bitrate: 32_000, complexity: 7 }
    }
}

/// Encodes mono 24 kHz PCM into packets of 40 ms.
pub struct OpusEncoder {
    inner: opus_pure::OpusEncoder,
    packet: Vec<u8>,
}

impl std::fmt::Debug for OpusEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpusEncoder").finish_non_exhaustive()
    }
}

impl OpusEncoder {
    /// An encoder for speech.
    ///
    /// # Errors
    /// [`AudioError::Setting`] when a setting is out of range.
    pub fn new(config: &OpusEncoderConfig) -> Result<Self, AudioError> {
        let setting = |name, found: String, expected| Err(AudioError::Setting { name, found, expected });
        if !(6_000..=256_000).contains(&config.bitrate) {
            return setting("bitrate", config.bitrate.to_string(), "6000 to 256000 bits per second");
        }
        if config.complexity > 10 {
            return setting("complexity", config.complexity.to_string(), "0 to 10");
        }
        let mut inner =
            opus_pure::OpusEncoder::new(SAMPLE_RATE as i32, 1, opus_pure::Application::Voip).map_err(codec)?;
        inner.bitrate_bps = config.bitrate as i32;
        inner.complexity = i32::from(config.complexity);
        Ok(Self { inner, packet: vec![0; opus_pure::MAX_PACKET_BYTES] })
    }

    /// Encodes [`PACKET_SAMPLES`] samples. Samples outside [-1, 1] are clipped, NaN is silence.
    ///
    /// # Errors
    /// [`AudioError::FrameLength`] for another number of samples, [`AudioError::Opus`] when the codec fails.
    pub fn encode(&mut self, pcm: &[f32]) -> Result<&[u8], AudioError> {
        if pcm.len() != PACKET_SAMPLES {
            return Err(AudioError::FrameLength { found: pcm.len(), expected: PACKET_SAMPLES });
        }
        let mut clean = [0.0; PACKET_SAMPLES];
        for (to, from) in clean.iter_mut().zip(pcm) {
            *to = sane(*from);
        }
        let length = self.inner.encode(&clean, PACKET_SAMPLES, &mut self.packet).map_err(codec)?;
        Ok(self.packet.get(..length).unwrap_or_default())
    }

    /// Delay of the encoder in samples at 24 kHz.
    pub fn lookahead(&self) -> usize {
        self.inner.lookahead()
    }
}

/// Decodes packets of any mode and length, mono or stereo, into mono 24 kHz PCM.
pub struct OpusDecoder {
    inner: opus_pure::OpusDecoder,
    channels: usize,
    scratch: Vec<f32>,
    frame: usize,
}

impl std::fmt::Debug for OpusDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpusDecoder").field("channels", &self.channels).finish_non_exhaustive()
    }
}

impl OpusDecoder {
    /// A decoder for a stream of one or two channels; two are mixed to one. `gain_q8` is the header's output gain, in
    /// 1/256 dB.
    ///
    /// # Errors
    /// [`AudioError::Setting`] for another number of channels.
    pub fn new(channels: usize, gain_q8: i16) -> Result<Self, AudioError> {
        if !(1..=2).contains(&channels) {
            return Err(AudioError::Setting { name: "channels", found: channels.to_string(), expected: "1 or 2" });
        }
        let mut inner = opus_pure::OpusDecoder::new(SAMPLE_RATE as i32, channels).map_err(codec)?;
        inner.gain_q8 = i32::from(gain_q8);
        Ok(Self { inner, channels, scratch: vec![0.0; MAX_PACKET_SAMPLES * channels], frame: PACKET_SAMPLES })
    }

    /// How many samples at 24 kHz a packet decodes to, read from its first bytes; `None` when it is no Opus packet.
    pub fn packet_samples(packet: &[u8]) -> Option<usize> {
        let samples = opus_pure::packet::samples(packet, SAMPLE_RATE as i32).ok()?;
        (1..=MAX_PACKET_SAMPLES).contains(&samples).then_some(samples)
    }

    /// Decodes a packet and appends its samples to `pcm`; returns how many. A packet that cannot be decoded is
    /// concealed for as long as its first byte says, or as long as the packet before.
    ///
    /// # Errors
    /// [`AudioError::Opus`] when not even concealment works; nothing is appended then.
    pub fn decode(&mut self, packet: &[u8], pcm: &mut Vec<f32>) -> Result<usize, AudioError> {
        let Some(samples) = Self::packet_samples(packet) else {
            return self.conceal(self.frame, pcm);
        };
        self.frame = samples;
        // A packet of one byte is a pause of discontinuous transmission. Handed over as it is, the decoder makes
        // comfort noise 10 dB too quiet; as a loss, it makes the right one.
        let data = if packet.len() <= 1 { &[][..] } else { packet };
        match self.inner.decode(data, samples, &mut self.scratch) {
            Ok(made) => Ok(self.append(made, pcm)),
            Err(_) => self.conceal(samples, pcm),
        }
    }

    /// Appends `samples` samples (rounded up to 2.5 ms) of concealment in the manner of the last packet.
    ///
    /// # Errors
    /// [`AudioError::Opus`] when the codec refuses.
    pub fn conceal(&mut self, samples: usize, pcm: &mut Vec<f32>) -> Result<usize, AudioError> {
        let mut left = samples.next_multiple_of(60);
        let mut total = 0;
        while left > 0 {
            // The lengths a codec frame may have, longest first.
            let step = [480, 240, 120, 60].into_iter().find(|step| *step <= left).unwrap_or(60);
            let made = self.inner.decode(&[], step, &mut self.scratch).map_err(codec)?;
            if made == 0 {
                break;
            }
            total += self.append(made, pcm);
            left = left.saturating_sub(made);
        }
        Ok(total)
    }

    fn append(&mut self, samples: usize, pcm: &mut Vec<f32>) -> usize {
        let scale = 1.0 / self.channels as f32;
        let frames = self.scratch.chunks_exact(self.channels).take(samples);
        let before = pcm.len();
        pcm.extend(frames.map(|frame| sane(frame.iter().sum::<f32>() * scale)));
        pcm.len() - before
    }
}

/// The sample within [-1, 1]; silence for what is not a number.
fn sane(sample: f32) -> f32 {
    if sample.is_nan() { 0.0 } else { sample.clamp(-1.0, 1.0) }
}

fn codec(error: opus_pure::Error) -> AudioError {
    AudioError::Opus(error.to_string())
}
