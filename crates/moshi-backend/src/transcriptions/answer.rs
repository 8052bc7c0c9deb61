//! What was understood, in the forms of OpenAI's API.

use std::convert::Infallible;

use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use moshi_engine::EngineError;
use moshi_model::Transcript;
use moshi_model::captions::{cues, srt, vtt};
use serde_json::{Value, json};

use super::form::Format;
use super::hearing::{Hearing, Piece};
use crate::refusal::Refused;

/// The whole text, once everything was heard.
pub(super) async fn whole(mut hearing: Hearing, format: Format, words: bool) -> Result<Response, Refused> {
    let (mut transcript, mut duration) = (Transcript::default(), 0.0);
    while let Some(piece) = hearing.next().await {
        let Piece { understood, position } = piece.map_err(|error| unheard(&error))?;
        transcript.add(understood);
        duration = position;
    }
    let plain = |text: String| ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response();
    let json = |value: Value| ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response();
    Ok(match format {
        Format::Json => json(json!({ "text": transcript.text })),
        Format::VerboseJson => json(verbose(&transcript, duration, words)),
        Format::Text => plain(format!("{}\n", transcript.text)),
        Format::Srt => plain(srt(&transcript.words)),
        Format::Vtt => ([(header::CONTENT_TYPE, "text/vtt; charset=utf-8")], vtt(&transcript.words)).into_response(),
    })
}

fn verbose(transcript: &Transcript, duration: f64, words: bool) -> Value {
    let segments = cues(&transcript.words).into_iter().enumerate().map(|(id, cue)| {
        json!({ "id": id, "start": rounded(cue.start), "end": rounded(cue.stop), "text": cue.lines.join(" ") })
    });
    let mut value = json!({
        "task": "transcribe",
        "language": "",
        "duration": rounded(duration),
        "text": transcript.text,
        "segments": segments.collect::<Vec<_>>(),
    });
    if words {
        let word = |word: &moshi_model::TranscriptWord| json!({ "word": word.text, "start": rounded(word.start), "end": rounded(word.stop) });
        value["words"] = transcript.words.iter().map(word).collect();
    }
    value
}

/// Milliseconds are enough.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1_000.0).round() / 1_000.0
}

/// The text as it is understood, as server-sent events.
pub(super) fn events(hearing: Hearing) -> Response {
    let begun = Telling { hearing, transcript: Transcript::default(), over: false };
    let events = stream::unfold(begun, |telling| async { telling.next().await });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

struct Telling {
    hearing: Hearing,
    transcript: Transcript,
    over: bool,
}

impl Telling {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        if self.over {
            return None;
        }
        let told = loop {
            match self.hearing.next().await {
                Some(Ok(Piece { understood, .. })) if understood.text.is_empty() => self.transcript.add(understood),
                Some(Ok(Piece { understood, .. })) => {
                    let before = self.transcript.text.len();
                    self.transcript.add(understood);
                    break json!({ "type": "transcript.text.delta", "delta": self.transcript.text[before..] });
                }
                Some(Err(error)) => {
                    self.over = true;
                    break json!({ "type": "error", "error": { "message": in_words(&error), "type": kind(&error) } });
                }
                None => {
                    self.over = true;
                    break json!({ "type": "transcript.text.done", "text": self.transcript.text });
                }
            }
        };
        Some((Ok(Event::default().data(told.to_string())), self))
    }
}

/// Why a recording cannot be heard, as an answer.
fn unheard(error: &EngineError) -> Refused {
    let status =
        if kind(error) == "server_error" { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::BAD_REQUEST };
    Refused::new(status, if status.is_server_error() { "internal" } else { "recording" }, in_words(error))
}

fn kind(error: &EngineError) -> &'static str {
    match error {
        EngineError::Load(_) | EngineError::Input(_) | EngineError::Parameter { .. } => "invalid_request_error",
        _ => "server_error",
    }
}

/// What a client is told.
fn in_words(error: &EngineError) -> String {
    match error {
        EngineError::Load(why) => format!("the recording cannot be read: {why}"),
        EngineError::Input(_) | EngineError::Parameter { .. } => error.to_string(),
        other => {
            tracing::error!(error = %other, "a recording could not be heard");
            "the model failed; try again".to_owned()
        }
    }
}
