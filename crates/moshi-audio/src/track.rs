//! The audio track of a container that symphonia reads.

use std::path::{Path, PathBuf};

use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use crate::contents::{self, Inside};
use crate::input::Input;
use crate::opus::OpusDecoder;
use crate::resample::Resampler;
use crate::stream::Head;
use crate::wave::WaveBlocks;
use crate::wave_format::{Blocks, WaveCodec};
use crate::wave_header::{Form, WaveHeader};
use crate::{AudioError, SAMPLE_RATE};

/// Errors of the container in a row after which reading ends.
const MAX_ERRORS: u32 = 16;

/// Reads one track, mixed to mono at 24 kHz.
pub(crate) struct TrackReader {
    path: PathBuf,
    packets: Packets,
    codec: Codec,
    duration: Option<f64>,
    /// What is odd about the header, if something is.
    oddity: Option<&'static str>,
    /// Made when the first packet shows its rate.
    resampler: Option<(u32, Resampler)>,
    interleaved: Vec<f32>,
    mono: Vec<f32>,
    bad_packets: u64,
    good_packets: u64,
    errors: u32,
    last_error: String,
    /// Whether the file ended in the middle of something.
    broke_off: bool,
}

/// Where packets come from.
enum Packets {
    /// A container, and which of its tracks is heard.
    Container(Box<dyn FormatReader>, u32),
    Wave(WaveBlocks),
}

enum Codec {
    Symphonia(Box<dyn AudioDecoder>),
    /// Opus, and how many samples of pre-skip are left.
    Opus(Box<OpusDecoder>, usize),
}

impl std::fmt::Debug for TrackReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrackReader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl TrackReader {
    /// Finds the track; `beginning` is the file's first bytes.
    pub(crate) fn open(input: Input, path: &Path, beginning: &[u8]) -> Result<Self, AudioError> {
        match Form::of(beginning) {
            Some(form) => Self::wave(input, path, form),
            None => Self::container(input, path, beginning),
        }
    }

    /// A container that symphonia reads.
    fn container(input: Input, path: &Path, beginning: &[u8]) -> Result<Self, AudioError> {
        if let Some(name) = contents::whole_file(beginning) {
            return Err(AudioError::UnknownFormat { path: path.to_owned(), reason: format!("it is {name}") });
        }
        let mut hint = Hint::new();
        if let Some(extension) = path.extension().and_then(|extension| extension.to_str()) {
            hint.with_extension(extension);
        }
        let again = || input.again(path).map_err(|source| AudioError::Read { path: path.to_owned(), source });
        let (seekable, unseekable, mut spare) = (again()?, again()?, again()?);
        // A file that breaks off may lack the index at its end; read without seeking, it needs none.
        probe(&hint, Box::new(seekable))
            .or_else(|error| probe(&hint, Box::new(ReadOnlySource::new(unseekable))).map_err(|_| error))
            .map_err(|error| refused(path, beginning, &error))
            .and_then(|format| Self::of_container(format, path))
            .map_err(|error| named(error, path, || contents::codec_inside(&mut spare, beginning)))
    }

    fn of_container(format: Box<dyn FormatReader>, path: &Path) -> Result<Self, AudioError> {
        let track = audio_track(format.as_ref(), path)?;
        let codec = make_codec(track, path)?;
        let duration = duration(track).or_else(|| media_duration(format.as_ref()));
        let track = track.id;
        Ok(Self::new(path, Packets::Container(format, track), codec, duration))
    }

    /// A wav file of any form, whose header this crate reads itself.
    fn wave(mut input: Input, path: &Path, form: Form) -> Result<Self, AudioError> {
        let read = |source| AudioError::Read { path: path.to_owned(), source };
        let damaged = |reason: String| AudioError::Damaged { path: path.to_owned(), reason };
        let header = WaveHeader::read(&mut input, form).map_err(read)?.map_err(|reason| damaged(reason.to_owned()))?;
        let part = |input: Input| input.part(header.data.clone()).map_err(read);
        let track = match header.format.codec() {
            WaveCodec::Blocks(blocks) => {
                let codec = decoder(&blocks.params, path)?;
                let packets = WaveBlocks::new(part(input)?, &blocks);
                Self::new(path, Packets::Wave(packets), codec, wave_duration(&header, &blocks))
            }
            WaveCodec::Stream(ending) => {
                let mut hint = Hint::new();
                hint.with_extension(ending);
                let format = probe(&hint, Box::new(part(input)?));
                Self::of_container(format.map_err(|error| damaged(error.to_string()))?, path)?
            }
            WaveCodec::Unknown(codec) => return Err(AudioError::UnsupportedCodec { path: path.to_owned(), codec }),
            WaveCodec::Damaged(reason) => return Err(damaged(reason)),
        };
        Ok(Self { oddity: header.oddity, ..track })
    }

    fn new(path: &Path, packets: Packets, codec: Codec, duration: Option<f64>) -> Self {
        Self {
            path: path.to_owned(),
            packets,
            codec,
            duration,
            oddity: None,
            resampler: None,
            interleaved: Vec::new(),
            mono: Vec::new(),
            bad_packets: 0,
            good_packets: 0,
            errors: 0,
            last_error: String::new(),
            broke_off: false,
        }
    }

    pub(crate) fn duration(&self) -> Option<f64> {
        self.duration
    }

    pub(crate) fn complaint(&self) -> Option<String> {
        if self.bad_packets > 0 || self.errors > 0 {
            return Some(format!("{} packets could not be decoded: {}", self.bad_packets.max(1), self.last_error));
        }
        self.broke_off.then(|| "it breaks off".to_owned()).or_else(|| self.oddity.map(str::to_owned))
    }

    /// Decodes one packet; false at the end.
    pub(crate) fn read_block(&mut self, pcm: &mut Vec<f32>) -> Result<bool, AudioError> {
        let next = match &mut self.packets {
            Packets::Container(format, track) => next_of(format.as_mut(), *track),
            Packets::Wave(blocks) => blocks.next_packet().map(Next::from).map_err(Error::IoError),
        };
        match next {
            Ok(Next::Packet(packet)) => {
                self.errors = 0;
                self.packet(&packet, pcm)?;
                Ok(true)
            }
            Ok(Next::Other) => Ok(true),
            Ok(Next::End) => self.end(pcm),
            Err(Error::ResetRequired) => self.begin_anew(),
            Err(Error::IoError(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                self.broke_off = true;
                self.end(pcm)
            }
            Err(Error::IoError(source)) => Err(AudioError::Read { path: self.path.clone(), source }),
            Err(error) => {
                self.errors += 1;
                self.last_error = error.to_string();
                let again = matches!(error, Error::DecodeError(_)) && self.errors < MAX_ERRORS;
                if again { Ok(true) } else { self.end(pcm) }
            }
        }
    }

    /// The container's tracks have changed.
    fn begin_anew(&mut self) -> Result<bool, AudioError> {
        if let Packets::Container(format, number) = &mut self.packets {
            let track = audio_track(format.as_ref(), &self.path)?;
            *number = track.id;
            self.codec = make_codec(track, &self.path)?;
        }
        Ok(true)
    }

    fn end(&mut self, pcm: &mut Vec<f32>) -> Result<bool, AudioError> {
        if self.good_packets == 0 && (self.bad_packets > 0 || self.errors > 0) {
            return Err(AudioError::Damaged { path: self.path.clone(), reason: self.last_error.clone() });
        }
        if let Some((_, resampler)) = &mut self.resampler {
            resampler.finish(pcm)?;
        }
        Ok(false)
    }

    fn packet(&mut self, packet: &Packet, pcm: &mut Vec<f32>) -> Result<(), AudioError> {
        self.mono.clear();
        let rate = match &mut self.codec {
            Codec::Opus(decoder, skip) => {
                decoder.decode(&packet.data, &mut self.mono)?;
                let cut = (*skip).min(self.mono.len());
                self.mono.drain(..cut);
                *skip -= cut;
                SAMPLE_RATE
            }
            Codec::Symphonia(decoder) => match decoder.decode(packet) {
                Ok(decoded) => {
                    decoded.copy_to_vec_interleaved(&mut self.interleaved);
                    mix(&self.interleaved, decoded.num_planes(), &mut self.mono);
                    decoded.spec().rate()
                }
                Err(error) => {
                    self.bad_packets += 1;
                    self.last_error = error.to_string();
                    return Ok(());
                }
            },
        };
        self.good_packets += 1;
        self.resample(rate, pcm)
    }

    fn resample(&mut self, rate: u32, pcm: &mut Vec<f32>) -> Result<(), AudioError> {
        if self.resampler.as_ref().is_none_or(|(from, _)| *from != rate) {
            if let Some((_, mut old)) = self.resampler.take() {
                old.finish(pcm)?;
            }
            self.resampler = Some((rate, Resampler::new(rate, SAMPLE_RATE)?));
        }
        match &mut self.resampler {
            Some((_, resampler)) => resampler.push(&self.mono, pcm),
            None => Ok(()),
        }
    }
}

/// What a container gives next.
enum Next {
    Packet(Packet),
    /// A packet of another track.
    Other,
    End,
}

impl From<Option<Packet>> for Next {
    fn from(packet: Option<Packet>) -> Self {
        packet.map_or(Self::End, Self::Packet)
    }
}

fn next_of(format: &mut dyn FormatReader, track: u32) -> Result<Next, Error> {
    let packet = format.next_packet()?;
    Ok(if packet.as_ref().is_some_and(|packet| packet.track_id != track) { Next::Other } else { packet.into() })
}

fn probe(hint: &Hint, source: Box<dyn MediaSource>) -> Result<Box<dyn FormatReader>, Error> {
    let stream = MediaSourceStream::new(source, Default::default());
    symphonia::default::get_probe().probe(hint, stream, FormatOptions::default(), MetadataOptions::default())
}

/// The mean of all channels; silence for what is no number.
fn mix(interleaved: &[f32], channels: usize, mono: &mut Vec<f32>) {
    let channels = channels.max(1);
    let scale = 1.0 / channels as f32;
    let mean = |frame: &[f32]| frame.iter().sum::<f32>() * scale;
    mono.extend(interleaved.chunks_exact(channels).map(mean).map(|s| if s.is_finite() { s } else { 0.0 }));
}

fn audio_track<'a>(format: &'a dyn FormatReader, path: &Path) -> Result<&'a Track, AudioError> {
    format
        .default_track(TrackType::Audio)
        .or_else(|| format.first_track(TrackType::Audio))
        .ok_or_else(|| AudioError::NoAudio { path: path.to_owned() })
}

fn make_codec(track: &Track, path: &Path) -> Result<Codec, AudioError> {
    let unsupported = |codec: String| AudioError::UnsupportedCodec { path: path.to_owned(), codec };
    let Some(params) = track.codec_params.as_ref().and_then(|params| params.audio()) else {
        return Err(unsupported("an unknown codec".to_owned()));
    };
    if params.codec == CODEC_ID_OPUS {
        return opus(params);
    }
    decoder(params, path)
}

fn decoder(params: &AudioCodecParameters, path: &Path) -> Result<Codec, AudioError> {
    match symphonia::default::get_codecs().make_audio_decoder(params, &AudioDecoderOptions::default()) {
        Ok(decoder) => Ok(Codec::Symphonia(decoder)),
        Err(Error::Unsupported(_)) => {
            Err(AudioError::UnsupportedCodec { path: path.to_owned(), codec: codec_name(params) })
        }
        Err(error) => Err(AudioError::Damaged { path: path.to_owned(), reason: error.to_string() }),
    }
}

fn opus(params: &AudioCodecParameters) -> Result<Codec, AudioError> {
    let head = match params.extra_data.as_deref() {
        // The version is 0 in mp4 files only.
        Some(data) if data.starts_with(b"OpusHead\0") => Head::parse_mp4(data)?,
        Some(data) if data.starts_with(b"OpusHead") => Head::parse(data)?,
        _ => Head::unknown(),
    };
    Ok(Codec::Opus(Box::new(head.decoder()?), head.skip()))
}

/// A codec's name where symphonia knows the codec but cannot decode it.
fn codec_name(params: &AudioCodecParameters) -> String {
    use symphonia::core::codecs::audio::well_known as id;
    let known = [
        (id::CODEC_ID_AC3, "AC-3"),
        (id::CODEC_ID_EAC3, "E-AC-3"),
        (id::CODEC_ID_AC4, "AC-4"),
        (id::CODEC_ID_DCA, "DTS"),
        (id::CODEC_ID_TRUEHD, "TrueHD"),
        (id::CODEC_ID_WMA, "Windows Media Audio (WMA)"),
        (id::CODEC_ID_SPEEX, "Speex"),
        (id::CODEC_ID_WAVPACK, "WavPack"),
        (id::CODEC_ID_MUSEPACK, "Musepack"),
        (id::CODEC_ID_TTA, "True Audio (TTA)"),
        (id::CODEC_ID_AAC, "AAC of a kind other than LC"),
        (id::CODEC_ID_ADPCM_MS, "MS ADPCM"),
        (id::CODEC_ID_ADPCM_IMA_WAV, "IMA ADPCM"),
        (id::CODEC_ID_ADPCM_IMA_QT, "IMA ADPCM"),
    ];
    let name = known.iter().find(|(known, _)| *known == params.codec);
    name.map_or_else(|| format!("codec {}", params.codec), |(_, name)| (*name).to_owned())
}

/// Length in seconds by the bytes that the header says, or by those that there are.
fn wave_duration(header: &WaveHeader, blocks: &Blocks) -> Option<f64> {
    let rate = blocks.params.sample_rate.filter(|rate| *rate > 0)?;
    let bytes = header.declared.unwrap_or(header.data.end - header.data.start);
    let frames = bytes / blocks.bytes.max(1) as u64 * blocks.frames as u64;
    Some(frames as f64 / f64::from(rate)).filter(|seconds| *seconds > 0.0)
}

/// The name of the codec instead of an error that says less, where it can be found.
fn named(error: AudioError, path: &Path, inside: impl FnOnce() -> Option<Inside>) -> AudioError {
    let damaged = matches!(error, AudioError::Damaged { .. });
    if !damaged && !matches!(error, AudioError::UnsupportedCodec { .. } | AudioError::NoAudio { .. }) {
        return error;
    }
    match inside().filter(|inside| !(damaged && inside.decodable)) {
        Some(Inside { name, .. }) => AudioError::UnsupportedCodec { path: path.to_owned(), codec: name },
        None => error,
    }
}

/// Length in seconds.
fn duration(track: &Track) -> Option<f64> {
    let rate = track.codec_params.as_ref().and_then(|params| params.audio()).and_then(|params| params.sample_rate);
    let by_frames = track.num_frames.zip(rate).filter(|(_, rate)| *rate > 0);
    let by_frames = by_frames.map(|(frames, rate)| frames as f64 / f64::from(rate));
    let by_ticks = track.time_base.zip(track.duration).and_then(|(base, ticks)| base.calc_duration(ticks));
    by_frames.or(by_ticks.map(|time| time.as_secs_f64())).filter(|seconds| seconds.is_finite() && *seconds > 0.0)
}

/// Length of the whole file in seconds, for containers that do not say it of each track.
fn media_duration(format: &dyn FormatReader) -> Option<f64> {
    let info = format.media_info();
    let time = info.time_base.zip(info.duration).and_then(|(base, ticks)| base.calc_duration(ticks))?;
    Some(time.as_secs_f64()).filter(|seconds| *seconds > 0.0)
}

/// Why symphonia found nothing to read, in words.
fn refused(path: &Path, beginning: &[u8], error: &Error) -> AudioError {
    let path = path.to_owned();
    let known: [&[u8]; 7] = [b"RIFF", b"fLaC", b"OggS", b"ID3", b"FORM", b"caff", b"\x1a\x45\xdf\xa3"];
    let container = known.iter().any(|magic| beginning.starts_with(magic)) || beginning.get(4..8) == Some(b"ftyp");
    if !container && let Some(codec) = contents::without_header(&path) {
        return AudioError::UnsupportedCodec { path, codec };
    }
    match error {
        Error::IoError(_) | Error::Unsupported(_) if container => {
            AudioError::Damaged { path, reason: "its header breaks off or is damaged".to_owned() }
        }
        Error::IoError(_) | Error::Unsupported(_) => AudioError::UnknownFormat { path, reason: looks_like(beginning) },
        error => AudioError::Damaged { path, reason: error.to_string() },
    }
}

/// What a file's first bytes look like to a person.
fn looks_like(beginning: &[u8]) -> String {
    let text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..);
    let head = &beginning[..beginning.len().min(12)];
    if beginning.iter().all(text) {
        format!("it looks like text: {:?}", String::from_utf8_lossy(head))
    } else {
        format!("it begins with bytes {head:02x?}")
    }
}
