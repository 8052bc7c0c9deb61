//! A call on disk: both voices as a stereo wav file (the caller left, the agent right), the words as JSON lines.
//!
//! Written by a thread of its own, so that a slow disk delays nobody. The wav header is brought up to date at every
//! flush: whenever the process dies, the file is whole but for the last second. A server that ends in order waits for
//! the thread. A wav file holds 4 GiB: a call of half a day goes on in a second one.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use moshi_audio::{FRAME_SAMPLES, SAMPLE_RATE};

use super::s16::to_s16;
use crate::metrics::Metrics;
use crate::shutdown::{CallGuard, Witness};

/// How often files are brought up to date.
const FLUSH: Duration = Duration::from_millis(400);
/// Samples of one voice that wait for the other before silence takes its place: together with [`FLUSH`] under a second.
const HOLD: usize = 9_600;
/// Pieces that may wait for the disk: about ten seconds of a call.
const PIECES: usize = 512;
/// Samples per voice in one wav file: eleven hours, 3.8 GB.
const LONGEST: u64 = 11 * 3_600 * SAMPLE_RATE as u64;

/// Takes what is said in a call; the files are completed when the last clone is gone.
#[derive(Clone)]
pub(crate) struct Recorder(SyncSender<Piece>);

enum Piece {
    Caller(Vec<f32>),
    Agent(Vec<f32>),
    Silence(usize),
    Words(String),
}

impl Recorder {
    /// Begins a recording in `folder`, where calls are recorded; `guard` keeps the server from ending before it is on
    /// disk. A call that cannot be recorded goes on without.
    pub(crate) fn of_call(folder: Option<&Path>, metrics: &Arc<Metrics>, guard: &CallGuard) -> Option<Self> {
        let started = Self::start(folder?, Arc::clone(metrics), guard.witness());
        started
            .inspect_err(|error| {
                metrics.lost_recordings.increment(1);
                tracing::error!(%error, "a call is not recorded");
            })
            .ok()
    }

    /// Begins two files in `folder`; `witness` is held until they are complete.
    ///
    /// # Errors
    /// When they cannot be created.
    fn start(folder: &Path, metrics: Arc<Metrics>, witness: Witness) -> std::io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let name = format!("call-{}-{}", since.as_millis(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut files = RecordingFiles::new(folder.join(name), LONGEST)?;
        files.flush()?;
        let (pieces, inbox) = sync_channel(PIECES);
        std::thread::Builder::new().name("recording".to_owned()).spawn(move || {
            if let Err(error) = files.run(&inbox) {
                metrics.lost_recordings.increment(1);
                tracing::error!(%error, "a recording ends before its call");
            }
            drop(witness);
        })?;
        Ok(Self(pieces))
    }

    /// The caller's voice.
    pub(crate) fn caller(&self, pcm: &[f32]) {
        self.take(Piece::Caller(pcm.to_vec()));
    }

    /// The agent's voice.
    pub(crate) fn agent(&self, pcm: &[f32]) {
        self.take(Piece::Agent(pcm.to_vec()));
    }

    /// Frames of the caller that got no answer.
    pub(crate) fn dropped(&self, frames: usize) {
        self.take(Piece::Silence(frames.saturating_mul(FRAME_SAMPLES)));
    }

    /// The agent's words.
    pub(crate) fn words(&self, text: &str) {
        self.take(Piece::Words(text.to_owned()));
    }

    fn take(&self, piece: Piece) {
        // A disk that does not keep up loses pieces of a recording; no call waits for it.
        let _ = self.0.try_send(piece);
    }
}

/// The files of one call, and the samples that are not in them yet.
struct RecordingFiles {
    /// Folder and name without ending.
    name: PathBuf,
    wav: hound::WavWriter<BufWriter<File>>,
    words: BufWriter<File>,
    caller: VecDeque<f32>,
    agent: VecDeque<f32>,
    /// Samples per voice in all files.
    written: u64,
    /// Samples per voice in one file.
    longest: u64,
    /// Whether the agent has begun.
    answered: bool,
}

impl RecordingFiles {
    fn new(name: PathBuf, longest: u64) -> std::io::Result<Self> {
        Ok(Self {
            wav: wav(&name, "")?,
            words: BufWriter::new(create(&with_ending(&name, ".jsonl"))?),
            name,
            caller: VecDeque::new(),
            agent: VecDeque::new(),
            written: 0,
            longest,
            answered: false,
        })
    }

    fn run(mut self, inbox: &Receiver<Piece>) -> std::io::Result<()> {
        let mut next = Instant::now() + FLUSH;
        loop {
            match inbox.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(piece) => self.take(piece)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.finish(),
            }
            if Instant::now() >= next {
                self.write(self.settled())?;
                self.flush()?;
                next = Instant::now() + FLUSH;
            }
        }
    }

    fn take(&mut self, piece: Piece) -> std::io::Result<()> {
        match piece {
            Piece::Caller(pcm) => self.caller.extend(pcm),
            Piece::Agent(pcm) => {
                if !self.answered {
                    // From here on there is a frame of answer for every frame heard.
                    let begin = self.caller.len().saturating_sub(pcm.len());
                    self.agent.resize(begin.max(self.agent.len()), 0.0);
                    self.answered = true;
                }
                self.agent.extend(pcm);
            }
            Piece::Silence(samples) if self.answered => {
                // More than is heard of the caller would only be silence at the end.
                let end = (self.agent.len() + samples).min(self.caller.len().max(self.agent.len()));
                self.agent.resize(end, 0.0);
            }
            Piece::Silence(_) => {}
            Piece::Words(text) => {
                let at_ms = (self.written + self.agent.len() as u64) * 1_000 / u64::from(SAMPLE_RATE);
                serde_json::to_writer(&mut self.words, &serde_json::json!({ "at_ms": at_ms, "text": text }))?;
                self.words.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    /// Samples that both voices have, or that have waited long enough for the other.
    fn settled(&self) -> usize {
        let (a, b) = (self.caller.len(), self.agent.len());
        a.min(b).max(a.max(b).saturating_sub(HOLD))
    }

    fn write(&mut self, samples: usize) -> std::io::Result<()> {
        for _ in 0..samples {
            if self.written > 0 && self.written.is_multiple_of(self.longest) {
                self.turn_over()?;
            }
            for voice in [&mut self.caller, &mut self.agent] {
                let sample = to_s16(voice.pop_front().unwrap_or(0.0));
                self.wav.write_sample(sample).map_err(std::io::Error::other)?;
            }
            self.written += 1;
        }
        Ok(())
    }

    /// Goes on in another wav file.
    fn turn_over(&mut self) -> std::io::Result<()> {
        self.wav.flush().map_err(std::io::Error::other)?;
        let part = self.written / self.longest + 1;
        tracing::info!(part, "a recording goes on in another file");
        self.wav = wav(&self.name, &format!("-{part}"))?;
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.words.flush()?;
        self.wav.flush().map_err(std::io::Error::other)
    }

    /// Writes all that is left.
    fn finish(mut self) -> std::io::Result<()> {
        self.write(self.caller.len().max(self.agent.len()))?;
        self.flush()
    }
}

/// A new stereo file `name` + `part` + `.wav`.
fn wav(name: &Path, part: &str) -> std::io::Result<hound::WavWriter<BufWriter<File>>> {
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: SAMPLE_RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let file = create(&with_ending(name, &format!("{part}.wav")))?;
    hound::WavWriter::new(BufWriter::new(file), spec).map_err(std::io::Error::other)
}

fn with_ending(name: &Path, ending: &str) -> PathBuf {
    let mut whole = name.as_os_str().to_owned();
    whole.push(ending);
    whole.into()
}

/// A new file that only its owner may read.
fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(path: &Path) -> Vec<i16> {
        hound::WavReader::open(path).unwrap().into_samples::<i16>().map(Result::unwrap).collect()
    }

    #[test]
    fn a_call_that_is_longer_than_a_file_goes_on_in_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("call");
        let mut files = RecordingFiles::new(name.clone(), 1_000).unwrap();
        let voice: Vec<f32> = (0..2_500u16).map(|i| f32::from(i) / 32_768.0).collect();
        for piece in voice.chunks(300) {
            files.take(Piece::Caller(piece.to_vec())).unwrap();
            files.write(files.settled()).unwrap();
        }
        files.take(Piece::Words("at the end".to_owned())).unwrap();
        files.finish().unwrap();
        let parts = ["", "-2", "-3"].map(|part| samples(&with_ending(&name, &format!("{part}.wav"))));
        assert_eq!(parts.each_ref().map(Vec::len), [2_000, 2_000, 1_000]);
        let left: Vec<i16> = parts.concat().into_iter().step_by(2).collect();
        assert_eq!(left, (0..2_500).collect::<Vec<i16>>(), "nothing is lost between two files");
        let words = std::fs::read_to_string(with_ending(&name, ".jsonl")).unwrap();
        assert!(words.contains("at the end"), "{words}");
    }
}
