//! The half of a talk that hears: audio of the caller to the model when it is due, and the turns that are found in it.

use moshi_audio::SAMPLE_RATE;
use moshi_protocol::CloseReason;

use super::{Answer, Talk, internal};
use crate::call::{Ending, off_worker};
use crate::realtime::format::{AudioFormat, VoiceIn};
use crate::realtime::problem::Problem;
use crate::realtime::voice_activity::Change;

/// Fewer samples than these are no turn: 100 ms.
const SHORTEST_TURN: usize = SAMPLE_RATE as usize / 10;

impl Talk<'_> {
    /// Takes a piece of the caller's voice.
    pub(super) async fn append(&mut self, bytes: Vec<u8>) -> Result<Answer, Ending> {
        let format = self.settings.input;
        if format == AudioFormat::Pcm16 && !bytes.len().is_multiple_of(2) {
            let why = format!("audio of {} bytes; expected whole samples of 2 bytes (s16le)", bytes.len());
            return Ok(Err(Problem::of("invalid_value", "audio", why)));
        }
        if !self.pacer.has_room(format.samples(bytes.len())) {
            let why = "more than 30 s of audio wait to be heard; this piece was not taken. Send in real time";
            return Ok(Err(Problem::of("input_audio_buffer_full", "audio", why)));
        }
        let voice = match self.voice_in.take() {
            Some(voice) => voice,
            None => VoiceIn::new(format).map_err(|error| internal(&error))?,
        };
        let decoded = off_worker(voice, move |voice| voice.decode(&bytes)).await;
        let (voice, pcm) = decoded.ok_or_else(|| Ending::because(CloseReason::Internal))?;
        self.voice_in = Some(voice);
        let pcm = pcm.map_err(|error| internal(&error))?;
        self.uncommitted = self.uncommitted.saturating_add(pcm.len());
        // There is room: it was looked for above, and a resampler gives out what it kept back only once.
        self.pacer.push(self.now(), &pcm);
        Ok(Ok(Vec::new()))
    }

    /// What was heard is a turn.
    pub(super) fn commit(&mut self) -> Answer {
        if self.uncommitted < SHORTEST_TURN {
            let held = self.uncommitted * 1_000 / SAMPLE_RATE as usize;
            let why =
                format!("Error committing input audio buffer: it holds {held} ms of audio; expected 100 ms or more");
            return Err(Problem::new("input_audio_buffer_commit_empty", why));
        }
        Ok(self.turn_ends())
    }

    fn turn_ends(&mut self) -> Vec<String> {
        self.uncommitted = 0;
        let item = self.item.take().unwrap_or_else(|| self.events.id("item"));
        self.events.committed(&item)
    }

    /// Gives the model the frame that is due.
    pub(super) async fn feed(&mut self) -> Result<Vec<String>, Ending> {
        let due = self.pacer.take(self.now());
        let lost = self.pacer.take_lost();
        let mut told = Vec::new();
        if lost > 0 {
            self.input.lost(lost);
            let notice = self.lost.late_arrival(lost);
            told.extend(notice.map(|notice| self.notify(notice)));
        }
        if let Some(frame) = due {
            told.extend(self.turn(&frame.pcm));
            self.input.hear(frame).await?;
        }
        Ok(told)
    }

    /// What a frame of the caller's changes about its turns.
    fn turn(&mut self, frame: &[f32]) -> Vec<String> {
        match self.activity.hear(frame, self.settings.turns.detection()) {
            Some(Change::Started { at_ms }) => {
                let item = self.item.take().unwrap_or_else(|| self.events.id("item"));
                let told = vec![self.events.speech_started(&item, at_ms)];
                self.item = Some(item);
                told
            }
            Some(Change::Stopped { at_ms }) => {
                let item = self.item.take().unwrap_or_else(|| self.events.id("item"));
                let mut told = vec![self.events.speech_stopped(&item, at_ms)];
                self.item = Some(item);
                told.extend(self.turn_ends());
                told
            }
            None => Vec::new(),
        }
    }
}
