//! `POST /v1/audio/transcriptions`: a whole recording is written down, as OpenAI's API has it.
//!
//! The recording is kept in a temporary file while it is heard, piece by piece, on a thread of its own: memory does not grow
//! with its length. Recordings that are heard at the same moment share the model's steps. A client that vanishes ends its
//! own.

mod answer;
mod form;
mod hearing;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::multipart::MultipartRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Multipart, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{MethodRouter, post};

use self::form::Form;
use self::hearing::Hearing;
use crate::access::check_caller;
use crate::app::App;
use crate::call::NotAdmitted;
use crate::engine_thread::AdmitError;
use crate::peer::Peer;
use crate::recognition::AT_ONCE;
use crate::refusal::Refused;

/// Largest request, in bytes: hours of compressed speech.
const LARGEST: usize = 256 << 20;
/// The route of the endpoint.
pub(crate) fn route() -> MethodRouter<Arc<App>> {
    post(handler).layer(DefaultBodyLimit::max(LARGEST))
}

/// Write a recording down.
///
/// A form as OpenAI's API takes it: `file`, `model`, `response_format` (`json`, `text`, `verbose_json`, `srt`, `vtt`),
/// `timestamp_granularities[]` (`word`, `segment`), `stream`. `language`, `prompt` and `temperature` are passed over: the
/// model hears what it knows, and always takes the likeliest.
#[utoipa::path(post, path = "/v1/audio/transcriptions", tag = "recordings", responses(
    (status = 200, description = "The text, or server-sent events `transcript.text.delta` and `transcript.text.done`"),
    (status = 400, description = "The form or the recording makes no sense, or the model does not write down"),
    (status = 401, description = "A key is needed, or it is wrong"),
    (status = 413, description = "The recording is too large"),
    (status = 503, description = "Too many recordings at once; `Retry-After` says when to try again"),
), security((), ("bearer" = [])))]
pub(crate) async fn handler(
    State(app): State<Arc<App>>,
    ConnectInfo(socket): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    form: Result<Multipart, MultipartRejection>,
) -> Response {
    match transcribe(&app, socket, &headers, form).await {
        Ok(response) => response,
        Err(refused) => refused.into_openai(),
    }
}

async fn transcribe(
    app: &Arc<App>,
    socket: SocketAddr,
    headers: &HeaderMap,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Response, Refused> {
    let share = check_caller(app, Peer::of(socket, headers, &app.config.trusted_proxies), headers, "")?;
    let Some(recognition) = &app.recognition else {
        let why = format!(
            "{} does not write down what it hears; serve a model for recognition, such as kyutai/stt-1b-en_fr",
            app.model_name
        );
        return Err(Refused::new(StatusCode::BAD_REQUEST, "parameter", why));
    };
    let place = Arc::clone(&recognition.places).try_acquire_owned();
    let place = place.map_err(|_| NotAdmitted::NoPlace(AdmitError::Full { capacity: AT_ONCE }))?;
    let form = form.map_err(|rejection| Refused::new(rejection.status(), "form", rejection.body_text()))?;
    let Form { file, format, words, stream } = Form::read(form).await?;
    let hearing = Hearing::begin(app, file, (place, share));
    if stream {
        return Ok(answer::events(hearing));
    }
    answer::whole(hearing, format, words).await
}
