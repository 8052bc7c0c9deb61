//! How a request is refused: a status, and a reason in JSON.

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use moshi_engine::EngineError;
use moshi_protocol::{CloseReason, Refusal};
use serde_json::json;
use utoipa::ToSchema;

use crate::call::{NotAdmitted, OverQuota};
use crate::call_sink::MODEL_FAILED;
use crate::engine_thread::AdmitError;

/// Seconds after which a caller who was refused for lack of a place may try again.
const RETRY_FULL: u32 = 5;
/// Likewise when too many asked at the same moment.
const RETRY_BUSY: u32 = 1;

/// A request that is refused.
pub(crate) struct Refused {
    status: StatusCode,
    refusal: Refusal,
}

/// The body of an answer that refuses a call.
#[derive(ToSchema)]
#[schema(as = Refusal)]
#[expect(dead_code, reason = "only its description is used; the answers are made from moshi_protocol::Refusal")]
pub(crate) struct RefusalBody {
    /// Short name of the kind of refusal, such as `full` or `parameter`.
    error: String,
    /// For a person to read: what was found, what is allowed.
    reason: String,
    /// Seconds after which another attempt makes sense, if any does.
    retry_after: Option<u32>,
}

impl Refused {
    /// A refusal with a short name and a reason for a person.
    pub(crate) fn new(status: StatusCode, error: &str, reason: impl Into<String>) -> Self {
        Self { status, refusal: Refusal { error: error.to_owned(), reason: reason.into(), retry_after: None } }
    }

    /// A request for a WebSocket that is none.
    pub(crate) fn not_a_websocket(path: &str, rejection: &WebSocketUpgradeRejection) -> Self {
        let reason = format!("{path} is a WebSocket: {}", rejection.body_text());
        Self::new(rejection.status(), "not_a_websocket", reason)
    }

    /// A query parameter that makes no sense.
    pub(crate) fn parameter(refusal: Refusal) -> Self {
        Self { status: StatusCode::BAD_REQUEST, refusal }
    }

    /// Why, for the log: no reason holds a key, a word or a sample.
    pub(crate) fn reason(&self) -> &str {
        &self.refusal.reason
    }

    /// The answer in the form that clients of OpenAI's API read.
    pub(crate) fn into_openai(self) -> Response {
        let Refusal { error, reason, .. } = &self.refusal;
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        let told = json!({ "error": { "message": reason, "type": kind, "code": error, "param": null } }).to_string();
        self.answer(told)
    }

    fn answer(self, body: String) -> Response {
        let kind = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status, kind, body).into_response();
        if let Some(seconds) = self.refusal.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }

    /// One who may try again.
    fn later(status: StatusCode, error: &str, reason: String, seconds: u32) -> Self {
        Self { status, refusal: Refusal { error: error.to_owned(), reason, retry_after: Some(seconds) } }
    }

    fn of(error: &AdmitError) -> Self {
        let later =
            |name: &str, reason: String, seconds| Self::later(StatusCode::SERVICE_UNAVAILABLE, name, reason, seconds);
        let name = error.name();
        match error {
            AdmitError::Full { .. } | AdmitError::Overloaded | AdmitError::Engine(EngineError::Full { .. }) => {
                later(name, error.to_string(), RETRY_FULL)
            }
            AdmitError::Busy => later(name, error.to_string(), RETRY_BUSY),
            AdmitError::Engine(EngineError::Parameter { .. }) => {
                Self::new(StatusCode::BAD_REQUEST, name, error.to_string())
            }
            AdmitError::Stopped => later("internal", error.to_string(), RETRY_FULL),
            AdmitError::Engine(_) => {
                tracing::error!(%error, "the model could not open a call");
                later("internal", MODEL_FAILED.to_owned(), RETRY_FULL)
            }
        }
    }
}

impl From<NotAdmitted> for Refused {
    fn from(error: NotAdmitted) -> Self {
        match error {
            NotAdmitted::ShuttingDown => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                refusal: Refusal::new(CloseReason::ShuttingDown, Some(RETRY_FULL)),
            },
            NotAdmitted::NoPlace(error) => Self::of(&error),
        }
    }
}

impl From<OverQuota> for Refused {
    fn from(over: OverQuota) -> Self {
        Self::later(StatusCode::TOO_MANY_REQUESTS, "quota", over.to_string(), RETRY_FULL)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = self.refusal.to_json();
        self.answer(body)
    }
}
