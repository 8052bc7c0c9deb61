//! The half of a call that speaks: handshake, metadata, the agent's voice and words, pings.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::ws::Message as Frame;
use moshi_engine::SessionParams;
use moshi_protocol::{CloseReason, Message, ModelVersions, Notice, SessionMetadata};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::codec::VoiceEncoder;
use super::format::ChatRequest;
use super::message;
use crate::app::App;
use crate::call::{CallEvents, Ending, LostAudio, Pulse, Said, off_worker};
use crate::websocket::{Sink, send_frame};

/// How often a caller whose model takes in its part is told so: clients in browsers see no pings, and the published one
/// hangs up after ten seconds without a message.
const REMINDER: Duration = Duration::from_secs(4);
/// What it is told.
const PRIMING: &str = "{\"priming\":true}";

/// Speaks to one caller.
pub(super) struct Speaker<'a> {
    /// The server.
    pub(super) app: &'a App,
    /// What was asked for.
    pub(super) request: &'a ChatRequest,
    /// The caller's signs of life.
    pub(super) pulse: &'a Pulse,
    /// What the model says.
    pub(super) events: CallEvents<'a>,
    /// What the listener has to complain about.
    pub(super) complaints: mpsc::Receiver<String>,
    /// Frames that the caller sent too late to be heard in time.
    pub(super) lost: mpsc::Receiver<usize>,
}

impl Speaker<'_> {
    /// Speaks until the call must end.
    pub(super) async fn run(self, sink: &mut Sink) -> Ending {
        match self.speak(sink).await {
            Ok(never) => match never {},
            Err(ending) => ending,
        }
    }

    async fn speak(mut self, sink: &mut Sink) -> Result<Infallible, Ending> {
        let mut ping = tokio::time::interval(self.app.config.calls.ping_interval);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut notices = self.request.notices.clone();
        notices.extend(self.prime(sink, &mut ping).await?);
        let mut encoder = self.greet(sink, notices).await?;
        let mut lost = LostAudio::default();
        loop {
            tokio::select! {
                said = self.events.next() => match said? {
                    // Again, when the call was begun again.
                    Said::Primed => {}
                    Said::Voice(pcm) => encoder = say(encoder, pcm, sink).await?,
                    Said::Words(text) => send(sink, &Message::Text(&text)).await?,
                    Said::Token { token, step } => {
                        let told = format!("{{\"token\":{token},\"step\":{step}}}");
                        send(sink, &Message::Metadata(&told)).await?;
                    }
                    Said::Lost { frames, notice } => {
                        encoder.skip(frames);
                        self.notify(sink, notice).await?;
                    }
                },
                Some(frames) = self.lost.recv() => self.notify(sink, lost.late_arrival(frames)).await?,
                Some(words) = self.complaints.recv() => send(sink, &Message::Error(&words)).await?,
                _ = ping.tick() => {
                    self.pulse.check(&self.app.config.calls)?;
                    send_frame(sink, Frame::Ping(Default::default())).await?;
                }
            }
        }
    }

    /// Waits until the model is who it was asked to be. A caller takes the handshake for "speak now".
    /// What there is to know by then is told with it.
    async fn prime(&mut self, sink: &mut Sink, ping: &mut Interval) -> Result<Vec<Notice>, Ending> {
        let mut notices = Vec::new();
        let mut reminder = tokio::time::interval_at(Instant::now() + REMINDER, REMINDER);
        while self.request.prompt.is_some() {
            tokio::select! {
                said = self.events.next() => match said? {
                    Said::Primed => break,
                    Said::Lost { notice, .. } => notices.extend(notice),
                    Said::Voice(_) | Said::Words(_) | Said::Token { .. } => {}
                },
                _ = reminder.tick() => send(sink, &Message::Metadata(PRIMING)).await?,
                _ = ping.tick() => {
                    self.pulse.check_waiting(&self.app.config.calls)?;
                    send_frame(sink, Frame::Ping(Default::default())).await?;
                }
            }
        }
        Ok(notices)
    }

    /// Handshake, metadata, and what a decoder needs before the first audio.
    async fn greet(&self, sink: &mut Sink, notices: Vec<Notice>) -> Result<VoiceEncoder, Ending> {
        // Any number serves as the stream's name; this one differs between calls.
        let serial = u32::try_from(self.request.params.seed & 0x7fff_ffff).unwrap_or(0);
        let mut encoder = VoiceEncoder::new(self.request.format, serial).map_err(|error| no_encoder(&error))?;
        send(sink, &Message::Handshake(Some(ModelVersions::default()))).await?;
        self.pulse.greet();
        self.tell(sink, notices).await?;
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
    send_frame(sink, message::frame(message)).await
}

fn metadata(app: &App, params: &SessionParams) -> SessionMetadata {
    SessionMetadata {
        lm_model_file: app.model_name.clone(),
        instance_name: app.config.instance_name.clone(),
        build_info: crate::build_info::build_info(),
        ..SessionMetadata::from(params)
    }
}
