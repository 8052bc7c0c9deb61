//! The talk itself: events of the caller to the model, on its clock, and the model's voice and words to the caller.

mod hearing;

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::ws::Message as Frame;
use futures_util::StreamExt;
use moshi_audio::AudioError;
use moshi_engine::SessionSpec;
use moshi_protocol::{CloseReason, MessageError, Notice, SayWhen, Steer};
use serde_json::{Map, Value};
use tokio::time::MissedTickBehavior;

use super::client::{Cancel, ClientEvent, NewResponse, Request};
use super::event_writer::{EventWriter, Outcome};
use super::format::{RealtimeRequest, VoiceIn, VoiceOut};
use super::items::NewItem;
use super::outbox::Outbox;
use super::problem::Problem;
use super::response_segmenter::{ResponseSegmenter, Utterance};
use super::settings::{About, Settings};
use super::voice_activity::VoiceActivity;
use crate::app::App;
use crate::call::{CallEvents, CallInput, Ending, LostAudio, Pace, Pacer, Pulse, RateLimits, Said, off_worker};
use crate::config::Part;
use crate::websocket::{Source, broken, size};

/// What the caller is told at once, or what it did wrong.
type Answer = Result<Vec<String>, Problem>;

/// One caller's talk with the model.
pub(super) struct Talk<'a> {
    app: &'a App,
    input: &'a CallInput<'a>,
    pulse: &'a Pulse,
    events: &'a mut EventWriter,
    outbox: Outbox,
    /// Longest message, in bytes.
    pub(super) limit: usize,
    about: About,
    settings: Settings,
    /// The session as it was opened.
    spec: SessionSpec,
    limits: RateLimits,
    /// Away while it decodes.
    voice_in: Option<VoiceIn>,
    /// Away while it encodes.
    voice_out: Option<VoiceOut>,
    pacer: Pacer,
    activity: VoiceActivity,
    responses: ResponseSegmenter,
    /// The item of the caller's turn that is being spoken.
    item: Option<String>,
    /// Samples since the last turn.
    uncommitted: usize,
    /// The assistant's message that was put in last, if nothing came after it.
    written: Option<String>,
    /// What the caller was told of its audio.
    lost: LostAudio,
}

impl<'a> Talk<'a> {
    /// At its beginning.
    pub(super) fn new(
        app: &'a App,
        input: &'a CallInput<'a>,
        pulse: &'a Pulse,
        events: &'a mut EventWriter,
        request: &RealtimeRequest,
        outbox: Outbox,
    ) -> Self {
        let about = About {
            id: events.id("sess"),
            model: app.model_name.clone(),
            temperature: request.params.temperature,
            notices: request.notices.clone(),
        };
        Self {
            app,
            input,
            pulse,
            events,
            outbox,
            limit: usize::MAX,
            about,
            settings: Settings {
                input: request.format,
                output: request.format,
                part: if app.cast.is_some() { request.part.clone() } else { Part::default() },
                ..Settings::default()
            },
            spec: request.spec(),
            limits: RateLimits::new(),
            voice_in: None,
            voice_out: None,
            pacer: Pacer::new(Pace::turns()),
            activity: VoiceActivity::default(),
            responses: ResponseSegmenter::new(),
            item: None,
            uncommitted: 0,
            written: None,
            lost: LostAudio::default(),
        }
    }

    /// Talks until the call must end.
    pub(super) async fn run(&mut self, source: &mut Source, said: &mut CallEvents<'_>) -> Ending {
        match self.talk(source, said).await {
            Ok(never) => match never {},
            Err(ending) => ending,
        }
    }

    async fn talk(&mut self, source: &mut Source, said: &mut CallEvents<'_>) -> Result<Infallible, Ending> {
        self.outbox.tell([self.events.session("session.created", &self.settings, &self.about)])?;
        self.pulse.greet();
        let mut check = tokio::time::interval(self.app.config.calls.ping_interval);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wake = self.pacer.wake();
            let asleep = wake.unwrap_or_default().saturating_sub(self.now());
            let told = tokio::select! {
                heard = source.next() => self.heard(heard).await?,
                said = said.next() => self.said(said?).await?,
                () = tokio::time::sleep(asleep), if wake.is_some() => self.feed().await?,
                _ = check.tick() => {
                    self.pulse.check(&self.app.config.calls)?;
                    Vec::new()
                }
            };
            self.outbox.tell(told)?;
        }
    }

    fn now(&self) -> Duration {
        self.pulse.elapsed()
    }

    /// A frame of the WebSocket.
    async fn heard(&mut self, heard: Option<Result<Frame, axum::Error>>) -> Result<Vec<String>, Ending> {
        let frame = match heard {
            None | Some(Ok(Frame::Close(_))) => return Err(Ending::Left),
            Some(Err(error)) => return Err(broken(&self.app.metrics, &error)),
            Some(Ok(frame)) => frame,
        };
        if matches!(frame, Frame::Pong(_)) {
            self.pulse.pong();
            return Ok(Vec::new());
        }
        let size = size(&frame);
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
            vec![self.events.problem(&problem, request.event_id.as_deref())]
        }))
    }

    /// An event of the caller. The inner error is the caller's mistake.
    async fn asked(&mut self, event: ClientEvent) -> Result<Answer, Ending> {
        Ok(match event {
            ClientEvent::Update(session) => return self.update(&session).await,
            ClientEvent::Append(bytes) => return self.append(bytes).await,
            ClientEvent::Commit => self.commit(),
            ClientEvent::Clear => {
                self.pacer.clear();
                self.uncommitted = 0;
                Ok(vec![self.events.plain("input_audio_buffer.cleared")])
            }
            ClientEvent::Create(response) => return self.create(response).await,
            ClientEvent::Steer(steer) => self.steer(&steer).map(|()| Vec::new()),
            ClientEvent::Cancel(what) => self.cancel(&what),
            ClientEvent::CreateItem(item) => return self.create_item(item).await,
            ClientEvent::Retrieve(id) => self.events.item_retrieved(&id),
            ClientEvent::Delete(id) => self.events.item_deleted(&id),
            ClientEvent::Truncate(cut) => {
                Ok(vec![self.events.truncated(&cut.item_id, cut.content_index, cut.audio_end_ms)])
            }
        })
    }

    async fn update(&mut self, session: &Map<String, Value>) -> Result<Answer, Ending> {
        let mut new = match self.settings.updated(session) {
            Ok(new) => new,
            Err(problem) => return Ok(Err(problem)),
        };
        let notice = match self.recast(&mut new.part).await? {
            Ok(notice) => notice,
            Err(problem) => return Ok(Err(problem)),
        };
        if new.input != self.settings.input {
            self.voice_in = None;
        }
        if new.output != self.settings.output {
            self.voice_out = None;
        }
        self.settings = new;
        Ok(Ok(vec![match notice {
            Some(notice) => self.notify(notice),
            None => self.events.session("session.updated", &self.settings, &self.about),
        }]))
    }

    /// Makes the model who it is to be from now on, if it plays roles and has heard nothing yet; else `part` becomes what it
    /// was, and the notice says why.
    async fn recast(&mut self, part: &mut Part) -> Result<Result<Option<Notice>, Problem>, Ending> {
        if *part == self.settings.part {
            return Ok(Ok(None));
        }
        let Some(cast) = &self.app.cast else {
            part.clone_from(&self.settings.part);
            return Ok(Ok(None));
        };
        if self.pacer.has_begun() {
            part.clone_from(&self.settings.part);
            return Ok(Ok(Some(Notice::part_kept())));
        }
        let prompt = match cast.prompt(part).await {
            Ok(prompt) => prompt,
            Err(error) => return Ok(Err(Problem::of("invalid_value", "session", error.to_string()))),
        };
        self.input.begin_as(SessionSpec { prompt, ..self.spec.clone() }).await?;
        Ok(Ok(None))
    }

    /// Begins the response that the caller asks for. One that came unasked gives way: its caller could not know of it.
    async fn create(&mut self, new: NewResponse) -> Result<Answer, Ending> {
        let NewResponse { metadata, words } = new;
        self.pacer.start(self.now());
        if self.events.is_asked() {
            let why = "a response is in progress; it ends by itself or with response.cancel";
            return Ok(Err(Problem::new("conversation_already_has_active_response", why)));
        }
        // An answer that was put in last is what the caller wants to hear.
        let written = self.written.take();
        if let Some(text) = words.or(written)
            && let Err(problem) = self.steer(&Steer::Say { text, when: SayWhen::Now })
        {
            return Ok(Err(problem));
        }
        let mut said = Vec::new();
        self.responses.close(&mut said);
        self.events.ask(metadata);
        self.responses.create(&mut said);
        self.uttered(said).await.map(Ok)
    }

    /// Clients pass over errors that begin with these words: a cancel that comes too late is part of a normal call.
    fn cancel(&mut self, what: &Cancel) -> Answer {
        let why = match what {
            Cancel::Response(id) if !self.events.is_open(id) => "the response of this id is not in progress",
            _ if self.responses.cancel() => return Ok(self.events.end(Outcome::Cancelled)),
            Cancel::Player => return Ok(Vec::new()),
            Cancel::Any | Cancel::Response(_) => "no response is in progress",
        };
        Err(Problem::new("response_cancel_not_active", format!("Cancellation failed: {why}")))
    }

    /// Gives the model what the caller steers it with.
    fn steer(&mut self, steer: &Steer) -> Result<(), Problem> {
        self.pacer.start(self.now());
        self.input.steer(steer).map_err(|why| Problem::of("invalid_value", "steer", why))
    }

    async fn create_item(&mut self, mut item: NewItem) -> Result<Answer, Ending> {
        let (audio, words) = (std::mem::take(&mut item.audio), item.words.take());
        let created = self.events.item_created(item);
        if created.is_ok() {
            self.written = words;
        }
        let told = match created {
            Ok(told) if !audio.is_empty() => told,
            told => return Ok(told),
        };
        self.outbox.tell(told)?;
        self.append(audio).await
    }

    /// The session as it is, with something new that the caller should know: clients understand this event at any time.
    fn notify(&mut self, notice: Notice) -> String {
        let usual = std::mem::replace(&mut self.about.notices, vec![notice]);
        let told = self.events.session("session.updated", &self.settings, &self.about);
        self.about.notices = usual;
        told
    }

    /// Something that the model says.
    async fn said(&mut self, said: Said) -> Result<Vec<String>, Ending> {
        let mut utterances = Vec::new();
        match said {
            Said::Primed => {}
            Said::Voice(pcm) => self.responses.voice(pcm, &mut utterances),
            Said::Words(text) => self.responses.say(text, &mut utterances),
            Said::Token { token, step } => return Ok(vec![self.events.token(token, step)]),
            Said::Lost { notice, .. } => return Ok(notice.map(|notice| self.notify(notice)).into_iter().collect()),
        }
        self.uttered(utterances).await
    }

    /// What the model says, as events.
    async fn uttered(&mut self, said: Vec<Utterance>) -> Result<Vec<String>, Ending> {
        let mut told = Vec::new();
        for utterance in said {
            match utterance {
                Utterance::Begin => {
                    // A fresh one: what it kept back belongs to the utterance before.
                    self.voice_out = None;
                    told.extend(self.events.begin());
                }
                Utterance::Voice(pcm) => {
                    let voice = match self.voice_out.take() {
                        Some(voice) => voice,
                        None => VoiceOut::new(self.settings.output).map_err(|error| internal(&error))?,
                    };
                    let encoded = off_worker(voice, move |voice| voice.encode(&pcm)).await;
                    let (voice, bytes) = encoded.ok_or_else(|| Ending::because(CloseReason::Internal))?;
                    self.voice_out = Some(voice);
                    told.extend(self.events.voice(&bytes.map_err(|error| internal(&error))?));
                }
                Utterance::Words(words) => told.extend(self.events.words(&words)),
                Utterance::End => told.extend(self.events.end(Outcome::Completed)),
            }
        }
        Ok(told)
    }
}

fn internal(error: &AudioError) -> Ending {
    Ending::failed("the server cannot convert this audio", error)
}
