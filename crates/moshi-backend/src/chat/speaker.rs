//! The half of a call that speaks: handshake, metadata, the agent's voice and words, pings.

use std::time::Duration;

use axum::extract::ws::Message as Frame;
use futures_util::SinkExt;
use moshi_engine::{SessionEvent, SessionParams};
use moshi_protocol::{CloseReason, Message, ModelVersions, Notice, SessionMetadata};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::call::{Ending, Pulse, Sink};
use super::codec::{VoiceEncoder, off_worker};
use super::lost::LostAudio;
use super::request::CallRequest;
use crate::app::App;
use crate::recording::Recorder;

/// A caller whose socket takes nothing for this long does not read.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Speaks to one caller.
pub(super) struct Speaker<'a> {
    /// The server.
    pub(super) app: &'a App,
    /// What was asked for.
    pub(super) request: &'a CallRequest,
    /// The caller's signs of life.
    pub(super) pulse: &'a Pulse,
    /// What the model says.
    pub(super) events: mpsc::Receiver<SessionEvent>,
    /// What the listener has to complain about.
    pub(super) complaints: mpsc::Receiver<String>,
    /// Frames that the caller sent too late to be heard in time.
    pub(super) lost: mpsc::Receiver<usize>,
    /// Takes what is said, where calls are recorded.
    pub(super) recorder: Option<Recorder>,
}

impl Speaker<'_> {
    /// Speaks until the call must end.
    pub(super) async fn run(self, sink: &mut Sink) -> Ending {
        match self.speak(sink).await {
            Ok(never) => match never {},
            Err(ending) => ending,
        }
    }

    async fn speak(mut self, sink: &mut Sink) -> Result<std::convert::Infallible, Ending> {
        let mut encoder = self.greet(sink).await?;
        let mut ping = tokio::time::interval(self.app.config.calls.ping_interval);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut steps, mut lost) = (0, LostAudio::default());
        loop {
            tokio::select! {
                event = self.events.recv() => match self.recorded(event) {
                    Some(SessionEvent::Audio { pcm, .. }) => {
                        encoder = say(encoder, pcm, sink).await?;
                        steps += 1;
                        if self.request.max_steps.is_some_and(|most| steps >= most) {
                            return Err(Ending::because(CloseReason::Finished));
                        }
                    }
                    Some(SessionEvent::Text(text)) => send(sink, &Message::Text(&text)).await?,
                    Some(SessionEvent::Dropped { frames }) => {
                        encoder.skip(frames);
                        self.notify(sink, lost.slow_server(frames)).await?;
                    }
                    Some(SessionEvent::Ended) => return Err(Ending::because(CloseReason::Finished)),
                    Some(SessionEvent::Failed(why)) => return Err(Ending::model_failed(&why)),
                    None => return Err(self.cut_off()),
                },
                Some(frames) = self.lost.recv() => self.notify(sink, lost.late_arrival(frames)).await?,
                Some(words) = self.complaints.recv() => send(sink, &Message::Error(&words)).await?,
                _ = ping.tick() => self.check(sink).await?,
            }
        }
    }

    /// An event of the model, with a copy for the recording.
    fn recorded(&self, event: Option<SessionEvent>) -> Option<SessionEvent> {
        match (&self.recorder, &event) {
            (Some(recorder), Some(SessionEvent::Audio { pcm, .. })) => recorder.agent(pcm),
            (Some(recorder), Some(SessionEvent::Text(text))) => recorder.words(text),
            (Some(recorder), Some(SessionEvent::Dropped { frames })) => recorder.dropped(*frames),
            _ => {}
        }
        event
    }

    /// Handshake, metadata, and what a decoder needs before the first audio.
    async fn greet(&self, sink: &mut Sink) -> Result<VoiceEncoder, Ending> {
        // Any number serves as the stream's name; this one differs between calls.
        let serial = u32::try_from(self.request.params.seed & 0x7fff_ffff).unwrap_or(0);
        let mut encoder = VoiceEncoder::new(self.request.format, serial).map_err(|error| no_encoder(&error))?;
        send(sink, &Message::Handshake(Some(ModelVersions::default()))).await?;
        self.tell(sink, self.request.notices.clone()).await?;
        if let Some(headers) = encoder.headers() {
            send(sink, &Message::Audio(&headers)).await?;
        }
        Ok(encoder)
    }

    /// The metadata, with what the caller should know.
    async fn tell(&self, sink: &mut Sink, notices: Vec<Notice>) -> Result<(), Ending> {
        let metadata = SessionMetadata { notices, ..metadata(self.app, &self.request.params) };
        send(sink, &Message::Metadata(&metadata.to_json())).await
    }

    /// The metadata again, if there is something new to know.
    async fn notify(&self, sink: &mut Sink, notice: Option<Notice>) -> Result<(), Ending> {
        match notice {
            Some(notice) => self.tell(sink, vec![notice]).await,
            None => Ok(()),
        }
    }

    /// Ends the call if the caller is silent or deaf; pings otherwise.
    async fn check(&self, sink: &mut Sink) -> Result<(), Ending> {
        let limits = &self.app.config.calls;
        if !limits.idle_timeout.is_zero() && self.pulse.since_message() > limits.idle_timeout {
            return Err(Ending::because(CloseReason::Idle));
        }
        if self.pulse.since_pong() > limits.pong_timeout {
            return Err(Ending::because(CloseReason::NotReading));
        }
        send_frame(sink, Frame::Ping(Default::default())).await
    }

    /// Why the model says nothing more.
    fn cut_off(&self) -> Ending {
        let running = self.app.engine.status().healthy();
        Ending::because(if running { CloseReason::NotReading } else { CloseReason::Internal })
    }
}

async fn say(encoder: VoiceEncoder, pcm: Vec<f32>, sink: &mut Sink) -> Result<VoiceEncoder, Ending> {
    let encoded = off_worker(encoder, move |encoder| encoder.encode(&pcm)).await;
    match encoded {
        Some((encoder, Ok(payload))) => {
            send(sink, &Message::Audio(&payload)).await?;
            Ok(encoder)
        }
        Some((_, Err(error))) => Err(no_encoder(&error)),
        None => Err(Ending::because(CloseReason::Internal)),
    }
}

fn no_encoder(error: &moshi_audio::AudioError) -> Ending {
    Ending::failed("the server cannot encode its voice", error)
}

async fn send(sink: &mut Sink, message: &Message<'_>) -> Result<(), Ending> {
    send_frame(sink, Frame::Binary(message.to_bytes().into())).await
}

/// Sends one frame to a caller that must take it in good time.
pub(crate) async fn send_frame(sink: &mut Sink, frame: Frame) -> Result<(), Ending> {
    match tokio::time::timeout(SEND_TIMEOUT, sink.send(frame)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Ending::Left),
        Err(_) => Err(Ending::because(CloseReason::NotReading)),
    }
}

fn metadata(app: &App, params: &SessionParams) -> SessionMetadata {
    let whole = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    SessionMetadata {
        text_temperature: f64::from(params.text_temperature),
        text_topk: whole(params.text_top_k),
        audio_temperature: f64::from(params.temperature),
        audio_topk: whole(params.top_k),
        pad_mult: f64::from(params.pad_mult),
        repetition_penalty_context: whole(params.repetition_context),
        repetition_penalty: f64::from(params.repetition_penalty),
        lm_model_file: app.model_name.clone(),
        instance_name: app.config.instance_name.clone(),
        build_info: crate::build_info::build_info(),
        notices: Vec::new(),
    }
}
