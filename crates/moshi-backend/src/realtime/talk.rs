//! The talk itself: events of the caller to the model, on its clock, and the model's voice and words to the caller.

use std::time::{Duration, Instant};

use axum::extract::ws::Message as Frame;
use futures_util::StreamExt;
use moshi_audio::{AudioError, SAMPLE_RATE};
use moshi_engine::{SessionEvent, SessionParams};
use moshi_protocol::{CloseReason, MessageError};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::client::{ClientEvent, Problem, Request};
use super::ear::{Change, Ear};
use super::events::{Outcome, Teller};
use super::format::{AudioFormat, VoiceIn, VoiceOut};
use super::mouth::{Mouth, Utterance};
use super::pacer::Pacer;
use super::settings::{About, Settings};
use crate::app::App;
use crate::chat::{Ending, Pulse, Sink, Source, broken, off_worker, send_frame};
use crate::engine_thread::SessionInput;
use crate::limits::RateLimits;
use crate::recording::Recorder;

/// Fewer samples than these are no turn: 100 ms.
const SHORTEST_TURN: usize = SAMPLE_RATE as usize / 10;

/// One caller's talk with the model.
pub(super) struct Talk<'a> {
    app: &'a App,
    input: &'a SessionInput,
    pulse: &'a Pulse,
    teller: &'a mut Teller,
    recorder: Option<Recorder>,
    /// Longest message, in bytes.
    pub(super) limit: usize,
    settings: Settings,
    limits: RateLimits,
    /// Away while it decodes.
    voice_in: Option<VoiceIn>,
    voice_out: Option<VoiceOut>,
    pacer: Pacer,
    ear: Ear,
    mouth: Mouth,
    /// The item of the caller's turn that is being spoken.
    item: Option<String>,
    /// Samples since the last turn.
    uncommitted: usize,
}

impl<'a> Talk<'a> {
    /// At its beginning.
    pub(super) fn new(
        app: &'a App,
        input: &'a SessionInput,
        pulse: &'a Pulse,
        teller: &'a mut Teller,
        recorder: Option<Recorder>,
    ) -> Self {
        Self {
            app,
            input,
            pulse,
            teller,
            recorder,
            limit: usize::MAX,
            settings: Settings::default(),
            limits: RateLimits::new(),
            voice_in: None,
            voice_out: None,
            pacer: Pacer::default(),
            ear: Ear::default(),
            mouth: Mouth::new(),
            item: None,
            uncommitted: 0,
        }
    }

    /// Talks until the call must end.
    pub(super) async fn run(
        &mut self,
        sink: &mut Sink,
        source: &mut Source,
        events: mpsc::Receiver<SessionEvent>,
        params: &SessionParams,
    ) -> Ending {
        match self.talk(sink, source, events, params).await {
            Ok(never) => match never {},
            Err(ending) => ending,
        }
    }

    async fn talk(
        &mut self,
        sink: &mut Sink,
        source: &mut Source,
        mut events: mpsc::Receiver<SessionEvent>,
        params: &SessionParams,
    ) -> Result<std::convert::Infallible, Ending> {
        let id = self.teller.id("sess");
        let about = About { id, model: self.app.model_name.clone(), temperature: params.temperature };
        tell(sink, [self.teller.session("session.created", &self.settings, &about)]).await?;
        let mut ping = tokio::time::interval(self.app.config.calls.ping_interval);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wake = self.pacer.wake();
            let asleep = wake.unwrap_or_default().saturating_sub(self.now());
            let told = tokio::select! {
                heard = source.next() => self.heard(heard, &about).await?,
                event = events.recv() => self.model(event)?,
                () = tokio::time::sleep(asleep), if wake.is_some() => self.feed().await?,
                _ = ping.tick() => {
                    self.check()?;
                    send_frame(sink, Frame::Ping(Default::default())).await?;
                    Vec::new()
                }
            };
            tell(sink, told).await?;
        }
    }

    fn now(&self) -> Duration {
        self.pulse.start.elapsed()
    }

    /// A frame of the WebSocket.
    async fn heard(&mut self, heard: Option<Result<Frame, axum::Error>>, about: &About) -> Result<Vec<String>, Ending> {
        let frame = match heard {
            None | Some(Ok(Frame::Close(_))) => return Err(Ending::Left),
            Some(Err(error)) => return Err(broken(self.app, &error)),
            Some(Ok(frame)) => frame,
        };
        let size = match &frame {
            Frame::Binary(bytes) | Frame::Ping(bytes) => bytes.len(),
            Frame::Text(text) => text.len(),
            Frame::Pong(_) | Frame::Close(_) => {
                self.pulse.pong();
                return Ok(Vec::new());
            }
        };
        if size > self.limit {
            self.app.metrics.bad_input("too_long");
            let why = MessageError::TooLong { found: size, limit: self.limit }.to_string();
            return Err(Ending::Close(CloseReason::TooLong, Some(why)));
        }
        if !self.limits.message(self.now(), size) {
            self.app.metrics.bad_input("too_fast");
            return Err(Ending::because(CloseReason::TooFast));
        }
        let request = match &frame {
            Frame::Text(text) => Request::parse(text),
            Frame::Binary(_) => {
                let problem = Problem::new("binary_frame", "events are JSON in text frames; this was a binary frame");
                Request { event_id: None, event: Err(problem) }
            }
            _ => return Ok(Vec::new()),
        };
        self.pulse.beat();
        let answer = match request.event {
            Ok(event) => self.asked(event, about).await?,
            Err(problem) => Err(problem),
        };
        Ok(answer.unwrap_or_else(|problem| {
            self.app.metrics.bad_input("realtime");
            vec![self.teller.problem(&problem, request.event_id.as_deref())]
        }))
    }

    /// An event of the caller. The inner error is the caller's mistake.
    async fn asked(&mut self, event: ClientEvent, about: &About) -> Result<Result<Vec<String>, Problem>, Ending> {
        Ok(match event {
            ClientEvent::Update(session) => self.update(&session, about),
            ClientEvent::Append(bytes) => return self.append(bytes).await,
            ClientEvent::Commit => self.commit(),
            ClientEvent::Clear => {
                self.pacer.clear();
                self.uncommitted = 0;
                Ok(vec![self.teller.plain("input_audio_buffer.cleared")])
            }
            ClientEvent::Create => {
                self.pacer.start(self.now());
                let mut said = Vec::new();
                if self.mouth.create(&mut said) {
                    return self.uttered(said).map(Ok);
                }
                let why = "a response is in progress; it ends by itself or with response.cancel";
                Err(Problem::new("conversation_already_has_active_response", why))
            }
            ClientEvent::Cancel if self.mouth.cancel() => Ok(self.teller.end(Outcome::Cancelled)),
            ClientEvent::Cancel => Err(Problem::new("response_cancel_not_active", "no response is in progress")),
            ClientEvent::Truncate(cut) => {
                Ok(vec![self.teller.truncated(&cut.item_id, cut.content_index, cut.audio_end_ms)])
            }
        })
    }

    fn update(&mut self, session: &Map<String, Value>, about: &About) -> Result<Vec<String>, Problem> {
        let new = self.settings.updated(session)?;
        if new.input != self.settings.input {
            self.voice_in = None;
        }
        if new.output != self.settings.output {
            self.voice_out = None;
        }
        self.settings = new;
        Ok(vec![self.teller.session("session.updated", &self.settings, about)])
    }

    async fn append(&mut self, bytes: Vec<u8>) -> Result<Result<Vec<String>, Problem>, Ending> {
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

    fn commit(&mut self) -> Result<Vec<String>, Problem> {
        if self.uncommitted < SHORTEST_TURN {
            let held = self.uncommitted * 1_000 / SAMPLE_RATE as usize;
            let why = format!("the buffer holds {held} ms of audio; expected 100 ms or more");
            return Err(Problem::new("input_audio_buffer_commit_empty", why));
        }
        Ok(self.turn_ends())
    }

    fn turn_ends(&mut self) -> Vec<String> {
        self.uncommitted = 0;
        let item = self.item.take().unwrap_or_else(|| self.teller.id("item"));
        self.teller.committed(&item)
    }

    /// Gives the model the frame that is due.
    async fn feed(&mut self) -> Result<Vec<String>, Ending> {
        let Some(frame) = self.pacer.take(self.now()) else { return Ok(Vec::new()) };
        if let Some(recorder) = &self.recorder {
            recorder.caller(&frame);
        }
        let told = match self.ear.hear(&frame, self.settings.turns.detection()) {
            Some(Change::Started { at_ms }) => {
                let item = self.item.take().unwrap_or_else(|| self.teller.id("item"));
                let told = vec![self.teller.speech_started(&item, at_ms)];
                self.item = Some(item);
                told
            }
            Some(Change::Stopped { at_ms }) => {
                let item = self.item.take().unwrap_or_else(|| self.teller.id("item"));
                let mut told = vec![self.teller.speech_stopped(&item, at_ms)];
                self.item = Some(item);
                told.extend(self.turn_ends());
                told
            }
            None => Vec::new(),
        };
        let heard = self.input.push(Instant::now(), frame).await;
        if heard { Ok(told) } else { Err(Ending::because(CloseReason::Internal)) }
    }

    /// An event of the model.
    fn model(&mut self, event: Option<SessionEvent>) -> Result<Vec<String>, Ending> {
        let mut said = Vec::new();
        match event {
            Some(SessionEvent::Audio { pcm, .. }) => {
                if let Some(recorder) = &self.recorder {
                    recorder.agent(&pcm);
                }
                self.mouth.voice(pcm, &mut said);
            }
            Some(SessionEvent::Text(text)) => {
                if let Some(recorder) = &self.recorder {
                    recorder.words(&text);
                }
                self.mouth.say(text, &mut said);
            }
            Some(SessionEvent::Dropped { frames }) => {
                if let Some(recorder) = &self.recorder {
                    recorder.dropped(frames);
                }
            }
            Some(SessionEvent::Ended) => return Err(Ending::because(CloseReason::Finished)),
            Some(SessionEvent::Failed(why)) => return Err(Ending::Close(CloseReason::Internal, Some(why))),
            None => {
                let running = self.app.engine.status().healthy();
                return Err(Ending::because(if running { CloseReason::NotReading } else { CloseReason::Internal }));
            }
        }
        self.uttered(said)
    }

    /// What the model says, as events.
    fn uttered(&mut self, said: Vec<Utterance>) -> Result<Vec<String>, Ending> {
        let mut told = Vec::new();
        for utterance in said {
            match utterance {
                Utterance::Begin => {
                    // A fresh one: what it kept back belongs to the utterance before.
                    self.voice_out = None;
                    told.extend(self.teller.begin());
                }
                Utterance::Voice(pcm) => {
                    let voice = match self.voice_out.take() {
                        Some(voice) => voice,
                        None => VoiceOut::new(self.settings.output).map_err(|error| internal(&error))?,
                    };
                    let bytes = self.voice_out.insert(voice).encode(&pcm).map_err(|error| internal(&error))?;
                    told.extend(self.teller.voice(&bytes));
                }
                Utterance::Words(words) => told.extend(self.teller.words(&words)),
                Utterance::End => told.extend(self.teller.end(Outcome::Completed)),
            }
        }
        Ok(told)
    }

    /// Ends the call if the caller is silent or deaf.
    fn check(&self) -> Result<(), Ending> {
        let limits = &self.app.config.calls;
        if !limits.idle_timeout.is_zero() && self.pulse.since_message() > limits.idle_timeout {
            return Err(Ending::because(CloseReason::Idle));
        }
        if self.pulse.since_pong() > limits.pong_timeout {
            return Err(Ending::because(CloseReason::NotReading));
        }
        Ok(())
    }
}

async fn tell(sink: &mut Sink, events: impl IntoIterator<Item = String>) -> Result<(), Ending> {
    for event in events {
        send_frame(sink, Frame::Text(event.into())).await?;
    }
    Ok(())
}

fn internal(error: &AudioError) -> Ending {
    Ending::Close(CloseReason::Internal, Some(error.to_string()))
}
