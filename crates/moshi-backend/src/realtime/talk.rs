//! The talk itself: events of the caller to the model, on its clock, and the model's voice and words to the caller.

mod hearing;

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::ws::Message as Frame;
use futures_util::StreamExt;
use moshi_audio::AudioError;
use moshi_engine::SessionEvent;
use moshi_protocol::{CloseReason, MessageError, Notice};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::client::{Cancel, ClientEvent, Problem, Request};
use super::ear::Ear;
use super::events::{Outcome, Teller};
use super::format::{AudioFormat, VoiceIn, VoiceOut};
use super::items::NewItem;
use super::mouth::{Mouth, Utterance};
use super::outbox::Outbox;
use super::settings::{About, Settings};
use crate::app::App;
use crate::chat::{CallRequest, Ending, LostAudio, Pulse, Source, broken, off_worker};
use crate::engine_thread::SessionInput;
use crate::limits::RateLimits;
use crate::pacer::{Pace, Pacer};
use crate::recording::Recorder;

/// What the caller is told at once, or what it did wrong.
type Answer = Result<Vec<String>, Problem>;

/// One caller's talk with the model.
pub(super) struct Talk<'a> {
    app: &'a App,
    input: &'a SessionInput,
    pulse: &'a Pulse,
    teller: &'a mut Teller,
    outbox: Outbox,
    /// Takes both voices and the words, where calls are recorded.
    pub(super) recorder: Option<Recorder>,
    /// Longest message, in bytes.
    pub(super) limit: usize,
    about: About,
    settings: Settings,
    limits: RateLimits,
    /// Away while it decodes.
    voice_in: Option<VoiceIn>,
    /// Away while it encodes.
    voice_out: Option<VoiceOut>,
    pacer: Pacer,
    ear: Ear,
    mouth: Mouth,
    /// The item of the caller's turn that is being spoken.
    item: Option<String>,
    /// Samples since the last turn.
    uncommitted: usize,
    /// What the caller was told of its audio.
    lost: LostAudio,
    /// Frames of reply that may still come.
    steps: Option<u32>,
}

impl<'a> Talk<'a> {
    /// At its beginning.
    pub(super) fn new(
        app: &'a App,
        input: &'a SessionInput,
        pulse: &'a Pulse,
        teller: &'a mut Teller,
        request: &CallRequest<AudioFormat>,
        outbox: Outbox,
    ) -> Self {
        let about = About {
            id: teller.id("sess"),
            model: app.model_name.clone(),
            temperature: request.params.temperature,
            notices: request.notices.clone(),
        };
        Self {
            app,
            input,
            pulse,
            teller,
            outbox,
            recorder: None,
            limit: usize::MAX,
            about,
            settings: Settings { input: request.format, output: request.format, ..Settings::default() },
            limits: RateLimits::new(),
            voice_in: None,
            voice_out: None,
            pacer: Pacer::new(Pace::turns()),
            ear: Ear::default(),
            mouth: Mouth::new(),
            item: None,
            uncommitted: 0,
            lost: LostAudio::default(),
            steps: request.max_steps,
        }
    }

    /// Talks until the call must end.
    pub(super) async fn run(&mut self, source: &mut Source, events: mpsc::Receiver<SessionEvent>) -> Ending {
        match self.talk(source, events).await {
            Ok(never) => match never {},
            Err(ending) => ending,
        }
    }

    async fn talk(
        &mut self,
        source: &mut Source,
        mut events: mpsc::Receiver<SessionEvent>,
    ) -> Result<Infallible, Ending> {
        self.outbox.tell([self.teller.session("session.created", &self.settings, &self.about)])?;
        let mut check = tokio::time::interval(self.app.config.calls.ping_interval);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wake = self.pacer.wake();
            let asleep = wake.unwrap_or_default().saturating_sub(self.now());
            let told = tokio::select! {
                heard = source.next() => self.heard(heard).await?,
                event = events.recv() => self.model(event).await?,
                () = tokio::time::sleep(asleep), if wake.is_some() => self.feed().await?,
                _ = check.tick() => {
                    self.check()?;
                    Vec::new()
                }
            };
            self.outbox.tell(told)?;
        }
    }

    fn now(&self) -> Duration {
        self.pulse.start.elapsed()
    }

    /// A frame of the WebSocket.
    async fn heard(&mut self, heard: Option<Result<Frame, axum::Error>>) -> Result<Vec<String>, Ending> {
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
            Ok(event) => self.asked(event).await?,
            Err(problem) => Err(problem),
        };
        Ok(answer.unwrap_or_else(|problem| {
            self.app.metrics.bad_input("realtime");
            vec![self.teller.problem(&problem, request.event_id.as_deref())]
        }))
    }

    /// An event of the caller. The inner error is the caller's mistake.
    async fn asked(&mut self, event: ClientEvent) -> Result<Answer, Ending> {
        Ok(match event {
            ClientEvent::Update(session) => self.update(&session),
            ClientEvent::Append(bytes) => return self.append(bytes).await,
            ClientEvent::Commit => self.commit(),
            ClientEvent::Clear => {
                self.pacer.clear();
                self.uncommitted = 0;
                Ok(vec![self.teller.plain("input_audio_buffer.cleared")])
            }
            ClientEvent::Create(metadata) => return self.create(metadata).await,
            ClientEvent::Cancel(what) => self.cancel(&what),
            ClientEvent::CreateItem(item) => return self.create_item(item).await,
            ClientEvent::Retrieve(id) => self.teller.item_retrieved(&id),
            ClientEvent::Delete(id) => self.teller.item_deleted(&id),
            ClientEvent::Truncate(cut) => {
                Ok(vec![self.teller.truncated(&cut.item_id, cut.content_index, cut.audio_end_ms)])
            }
        })
    }

    fn update(&mut self, session: &Map<String, Value>) -> Answer {
        let new = self.settings.updated(session)?;
        if new.input != self.settings.input {
            self.voice_in = None;
        }
        if new.output != self.settings.output {
            self.voice_out = None;
        }
        self.settings = new;
        Ok(vec![self.teller.session("session.updated", &self.settings, &self.about)])
    }

    /// Begins the response that the caller asks for. One that came unasked gives way: its caller could not know of it.
    async fn create(&mut self, metadata: Value) -> Result<Answer, Ending> {
        self.pacer.start(self.now());
        if self.teller.is_asked() {
            let why = "a response is in progress; it ends by itself or with response.cancel";
            return Ok(Err(Problem::new("conversation_already_has_active_response", why)));
        }
        let mut said = Vec::new();
        self.mouth.close(&mut said);
        self.teller.ask(metadata);
        self.mouth.create(&mut said);
        self.uttered(said).await.map(Ok)
    }

    /// Clients pass over errors that begin with these words: a cancel that comes too late is part of a normal call.
    fn cancel(&mut self, what: &Cancel) -> Answer {
        let why = match what {
            Cancel::Response(id) if !self.teller.is_open(id) => "the response of this id is not in progress",
            _ if self.mouth.cancel() => return Ok(self.teller.end(Outcome::Cancelled)),
            Cancel::Player => return Ok(Vec::new()),
            Cancel::Any | Cancel::Response(_) => "no response is in progress",
        };
        Err(Problem::new("response_cancel_not_active", format!("Cancellation failed: {why}")))
    }

    async fn create_item(&mut self, mut item: NewItem) -> Result<Answer, Ending> {
        let audio = std::mem::take(&mut item.audio);
        let told = match self.teller.item_created(item) {
            Ok(told) if !audio.is_empty() => told,
            told => return Ok(told),
        };
        self.outbox.tell(told)?;
        self.append(audio).await
    }

    /// The session as it is, with something new that the caller should know: clients understand this event at any time.
    fn notify(&mut self, notice: Notice) -> String {
        let usual = std::mem::replace(&mut self.about.notices, vec![notice]);
        let told = self.teller.session("session.updated", &self.settings, &self.about);
        self.about.notices = usual;
        told
    }

    /// An event of the model.
    async fn model(&mut self, event: Option<SessionEvent>) -> Result<Vec<String>, Ending> {
        let mut said = Vec::new();
        match event {
            Some(SessionEvent::Audio { pcm, .. }) => {
                if let Some(recorder) = &self.recorder {
                    recorder.agent(&pcm);
                }
                self.mouth.voice(pcm, &mut said);
                self.steps = self.steps.map(|steps| steps.saturating_sub(1));
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
                let notice = self.lost.slow_server(frames);
                return Ok(notice.map(|notice| self.notify(notice)).into_iter().collect());
            }
            Some(SessionEvent::Ended) => return Err(Ending::because(CloseReason::Finished)),
            Some(SessionEvent::Failed(why)) => return Err(Ending::model_failed(&why)),
            None => {
                let running = self.app.engine.status().healthy();
                return Err(Ending::because(if running { CloseReason::NotReading } else { CloseReason::Internal }));
            }
        }
        let told = self.uttered(said).await?;
        if self.steps != Some(0) {
            return Ok(told);
        }
        self.outbox.tell(told)?;
        Err(Ending::because(CloseReason::Finished))
    }

    /// What the model says, as events.
    async fn uttered(&mut self, said: Vec<Utterance>) -> Result<Vec<String>, Ending> {
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
                    let encoded = off_worker(voice, move |voice| voice.encode(&pcm)).await;
                    let (voice, bytes) = encoded.ok_or_else(|| Ending::because(CloseReason::Internal))?;
                    self.voice_out = Some(voice);
                    told.extend(self.teller.voice(&bytes.map_err(|error| internal(&error))?));
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

fn internal(error: &AudioError) -> Ending {
    Ending::failed("the server cannot convert this audio", error)
}
