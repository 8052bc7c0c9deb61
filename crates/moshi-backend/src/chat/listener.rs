//! The half of a call that listens: messages from the caller, checked, decoded and given to the model.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::Message as Frame;
use futures_util::StreamExt;
use moshi_protocol::{CloseReason, Control, Message, MessageError, Steer};
use tokio::sync::mpsc;

use super::backlog::Backlog;
use super::codec::{VoiceDecoder, VoiceError};
use super::format::WireFormat;
use crate::app::App;
use crate::call::{CallInput, Ending, Pulse, RateLimits, off_worker};
use crate::websocket::{Source, broken};

/// Unusable messages after which a call is given up.
const PATIENCE: usize = 32;
/// Bytes decoded in one go; the rate is checked between two goes. A page header claims little and may hold much.
const DECODE_BYTES: usize = 4_096;

/// Hears one caller.
pub(super) struct Listener<'a> {
    app: &'a App,
    input: &'a CallInput<'a>,
    backlog: &'a Backlog,
    pulse: &'a Pulse,
    complain: mpsc::Sender<String>,
    complaints: usize,
    limits: RateLimits,
    /// Away while it decodes.
    decoder: Option<VoiceDecoder>,
    /// Paused by the caller: its audio is decoded, because the stream goes on, but the model does not hear it.
    paused: bool,
}

impl<'a> Listener<'a> {
    /// A listener at the beginning of a call. What it hears goes into the backlog; complaints about unusable messages go to `complain`.
    pub(super) fn new(
        app: &'a App,
        (input, backlog): (&'a CallInput<'a>, &'a Backlog),
        format: WireFormat,
        pulse: &'a Pulse,
        complain: mpsc::Sender<String>,
    ) -> Self {
        let (limits, decoder) = (RateLimits::new(), Some(VoiceDecoder::new(format)));
        Self { app, input, backlog, pulse, complain, complaints: 0, limits, decoder, paused: false }
    }

    /// Listens until the call must end.
    pub(super) async fn run(mut self, source: &mut Source) -> Ending {
        loop {
            let heard = match source.next().await {
                None | Some(Ok(Frame::Close(_))) => return Ending::Left,
                Some(Err(error)) => return broken(&self.app.metrics, &error),
                Some(Ok(Frame::Pong(_))) => {
                    self.pulse.pong();
                    Ok(())
                }
                // The library has answered it.
                Some(Ok(Frame::Ping(_))) => self.count(0),
                Some(Ok(Frame::Text(text))) => self.text_frame(text.len()),
                Some(Ok(Frame::Binary(bytes))) => self.message(bytes).await,
            };
            if let Err(ending) = heard {
                return ending;
            }
        }
    }

    fn count(&mut self, bytes: usize) -> Result<(), Ending> {
        if self.limits.message(self.pulse.elapsed(), bytes) {
            return Ok(());
        }
        self.app.metrics.bad_input("too_fast");
        Err(Ending::because(CloseReason::TooFast))
    }

    fn size(&self, found: usize) -> Result<(), Ending> {
        let limit = self.app.config.calls.max_message_bytes;
        if found <= limit {
            return Ok(());
        }
        self.app.metrics.bad_input("too_long");
        let why = MessageError::TooLong { found, limit }.to_string();
        Err(Ending::Close(CloseReason::TooLong, Some(why)))
    }

    fn text_frame(&mut self, bytes: usize) -> Result<(), Ending> {
        self.size(bytes)?;
        self.count(bytes)?;
        self.complain("text_frame", CloseReason::TextFrame, CloseReason::TextFrame.text().to_owned())
    }

    async fn message(&mut self, bytes: Bytes) -> Result<(), Ending> {
        self.size(bytes.len())?;
        self.count(bytes.len())?;
        match Message::decode(&bytes, self.app.config.calls.max_message_bytes) {
            Ok(message) => {
                self.pulse.beat();
                match message {
                    Message::Audio(_) => self.audio(bytes.slice(1..)).await,
                    Message::Control(control) => self.control(control).await,
                    Message::Metadata(json) => self.steer(json),
                    // A ping needs no answer: it has proved that the caller lives. The other types are the server's
                    // to send, and harmless.
                    _ => Ok(()),
                }
            }
            Err(error) => {
                let kind = match error {
                    MessageError::Empty => "empty",
                    MessageError::UnknownType { .. } => "unknown_type",
                    _ => "malformed",
                };
                self.complain(kind, CloseReason::BadMessage, error.to_string())
            }
        }
    }

    async fn audio(&mut self, payload: Bytes) -> Result<(), Ending> {
        // Decoding is part of what a caller waits for.
        let at = self.pulse.elapsed();
        let mut rest = payload;
        while !rest.is_empty() {
            // An even number of bytes, so that no sample is cut; an odd one at the end is the message's own.
            let piece = rest.split_to(rest.len().min(DECODE_BYTES));
            let internal = || Ending::because(CloseReason::Internal);
            let decoder = self.decoder.take().ok_or_else(internal)?;
            let decode = move |decoder: &mut VoiceDecoder| {
                let mut pcm = Vec::new();
                decoder.decode(&piece, &mut pcm).map(|()| pcm)
            };
            let (decoder, decoded) = off_worker(decoder, decode).await.ok_or_else(internal)?;
            self.decoder = Some(decoder);
            match decoded {
                Ok(pcm) => self.hear(at, &pcm)?,
                Err(VoiceError::Piece(why)) => self.complain("audio", CloseReason::BadMessage, why)?,
                Err(hopeless @ VoiceError::Hopeless(_)) => {
                    self.app.metrics.bad_input("not_ogg_opus");
                    return Err(Ending::Close(CloseReason::BadMessage, Some(hopeless.to_string())));
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, at: Duration, pcm: &[f32]) -> Result<(), Ending> {
        if !self.limits.audio(self.pulse.elapsed(), pcm.len()) {
            self.app.metrics.bad_input("too_fast");
            return Err(Ending::because(CloseReason::TooFast));
        }
        if !pcm.is_empty() && !self.paused {
            self.backlog.push(at, pcm);
        }
        Ok(())
    }

    async fn control(&mut self, control: Control) -> Result<(), Ending> {
        match control {
            Control::Start => self.paused = false,
            Control::Pause => self.paused = true,
            // The conversation is full-duplex: nobody has turns.
            Control::EndTurn => {}
            Control::Restart => {
                self.paused = false;
                self.backlog.clear();
                self.input.restart().await?;
            }
        }
        Ok(())
    }

    /// What a caller writes that does not steer is as harmless as what only a server tells.
    fn steer(&mut self, json: &str) -> Result<(), Ending> {
        match Steer::parse(json).map(|steer| steer.and_then(|steer| self.input.steer(&steer))) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(why)) => self.complain("steer", CloseReason::BadMessage, why),
        }
    }

    /// Tells the caller about a message that is of no use; ends the call for `reason` once there are too many.
    fn complain(&mut self, kind: &'static str, reason: CloseReason, words: String) -> Result<(), Ending> {
        self.app.metrics.bad_input(kind);
        self.complaints += 1;
        if self.complaints > PATIENCE {
            return Err(Ending::Close(reason, Some(words)));
        }
        // A caller that does not read its complaints does not get more of them.
        let _ = self.complain.try_send(words);
        Ok(())
    }
}
