//! What every call goes through before it becomes a WebSocket: origin, key, the server's end, and a place.

use std::sync::Arc;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use moshi_engine::{EngineError, SessionParams};
use moshi_protocol::{CloseReason, Refusal};

use crate::app::App;
use crate::auth::{self, Access, KeyId};
use crate::engine_loop::MODEL_FAILED;
use crate::engine_thread::{AdmitError, Session};
use crate::peer::Peer;
use crate::queue::Ticket;
use crate::quota::{OverQuota, Share};
use crate::shutdown::CallGuard;

/// Seconds after which a caller who was refused for lack of a place may try again.
const RETRY_FULL: u32 = 5;
/// Likewise when too many asked at the same moment.
const RETRY_BUSY: u32 = 1;

/// A call that does not come about.
pub(crate) struct Refused {
    status: StatusCode,
    refusal: Refusal,
}

/// A caller who may stay.
pub(crate) struct Admitted {
    /// Keeps the server from ending unnoticed.
    pub(crate) guard: CallGuard,
    /// Its place, or its place in the line for one.
    pub(crate) turn: Turn,
}

/// When a caller gets its place.
pub(crate) enum Turn {
    /// It has one.
    Now(Session),
    /// It waits.
    Later(Ticket),
}

impl Refused {
    /// A refusal with a short name and a reason for a person.
    pub(crate) fn new(status: StatusCode, error: &str, reason: impl Into<String>) -> Self {
        Self { status, refusal: Refusal { error: error.to_owned(), reason: reason.into(), retry_after: None } }
    }

    /// A query parameter that makes no sense.
    pub(crate) fn parameter(app: &App, refusal: Refusal) -> Self {
        app.metrics.refused("parameter");
        Self { status: StatusCode::BAD_REQUEST, refusal }
    }

    fn later(refusal: Refusal) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, refusal }
    }

    /// Why, for the log: no reason holds a key, a word or a sample.
    pub(crate) fn reason(&self) -> &str {
        &self.refusal.reason
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let kind = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status, kind, self.refusal.to_json()).into_response();
        if let Some(seconds) = self.refusal.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// A request for a WebSocket that is none.
pub(crate) fn not_a_websocket(path: &str, rejection: &WebSocketUpgradeRejection) -> Refused {
    Refused::new(rejection.status(), "not_a_websocket", format!("{path} is a WebSocket: {}", rejection.body_text()))
}

/// Whether a page of this origin, with this key, may call at all, and whether this caller may have another call: its
/// share counts until it is dropped.
pub(crate) fn check_caller(app: &App, peer: Peer, headers: &HeaderMap, query: &str) -> Result<Share, Refused> {
    let key = check_access(app, headers, query)?;
    app.quotas.enter(peer, key).map_err(|over| over_quota(app, &over))
}

/// Whether a page of this origin, with this key, may ask for anything: with which key, where keys are needed.
pub(crate) fn check_access(app: &App, headers: &HeaderMap, query: &str) -> Result<Option<KeyId>, Refused> {
    if let Err(stranger) = app.welcome.check(headers) {
        app.metrics.refused("origin");
        return Err(Refused::new(StatusCode::FORBIDDEN, CloseReason::NotAllowed.name(), stranger.to_string()));
    }
    if let Some(name) = auth::key_in_query(query) {
        app.metrics.refused("key");
        let reason = format!(
            "query parameter {name} seems to hold a key, and query strings end in logs: take this key out of use, and \
             send the next as \"Authorization: Bearer KEY\" or as the subprotocol \"rustymoshi-key.KEY\""
        );
        return Err(Refused::new(StatusCode::BAD_REQUEST, "key_in_query", reason));
    }
    let reason = match app.keys.check(headers) {
        Access::Granted(key) => return Ok(key),
        Access::Missing => {
            "this server wants a key: send \"Authorization: Bearer KEY\", or from a browser the subprotocols \
             \"rustymoshi\" and \"rustymoshi-key.KEY\""
        }
        Access::Wrong => "the key is not one of this server's",
    };
    app.metrics.refused("key");
    Err(Refused::new(StatusCode::UNAUTHORIZED, "unauthorized", reason))
}

fn over_quota(app: &App, over: &OverQuota) -> Refused {
    app.metrics.refused("quota");
    let refusal = Refusal { error: "quota".to_owned(), reason: over.to_string(), retry_after: Some(RETRY_FULL) };
    Refused { status: StatusCode::TOO_MANY_REQUESTS, refusal }
}

/// Finds a place, or a place in the waiting line for those who understand it.
pub(crate) async fn admit(app: &Arc<App>, params: SessionParams, may_wait: bool) -> Result<Admitted, Refused> {
    let Some(guard) = app.shutdown.enter() else {
        app.metrics.refused("shutting_down");
        return Err(Refused::later(Refusal::new(CloseReason::ShuttingDown, Some(RETRY_FULL))));
    };
    // Nobody overtakes those who wait already.
    let overtaking = app.line.len() > 0;
    if overtaking && may_wait {
        let ticket = app.line.join().ok_or_else(|| full(app))?;
        return Ok(Admitted { guard, turn: Turn::Later(ticket) });
    }
    if overtaking {
        return Err(full(app));
    }
    match app.engine.admit(params).await {
        Ok(session) => Ok(Admitted { guard, turn: Turn::Now(session) }),
        Err(error @ (AdmitError::Full { .. } | AdmitError::Overloaded)) if may_wait => match app.line.join() {
            Some(ticket) => Ok(Admitted { guard, turn: Turn::Later(ticket) }),
            None => Err(not_admitted(app, &error)),
        },
        Err(error) => Err(not_admitted(app, &error)),
    }
}

fn full(app: &App) -> Refused {
    not_admitted(app, &AdmitError::Full { capacity: app.engine.capacity() })
}

fn not_admitted(app: &App, error: &AdmitError) -> Refused {
    app.metrics.refused(error.name());
    let refusal = |name: &str, reason: String, retry_after| Refusal { error: name.to_owned(), reason, retry_after };
    let name = error.name();
    match error {
        AdmitError::Full { .. } | AdmitError::Overloaded | AdmitError::Engine(EngineError::Full { .. }) => {
            Refused::later(refusal(name, error.to_string(), Some(RETRY_FULL)))
        }
        AdmitError::Busy => Refused::later(refusal(name, error.to_string(), Some(RETRY_BUSY))),
        AdmitError::Engine(EngineError::Parameter { .. }) => {
            Refused { status: StatusCode::BAD_REQUEST, refusal: refusal(name, error.to_string(), None) }
        }
        AdmitError::Stopped => Refused::later(refusal("internal", error.to_string(), Some(RETRY_FULL))),
        AdmitError::Engine(_) => {
            tracing::error!(%error, "the model could not open a call");
            Refused::later(refusal("internal", MODEL_FAILED.to_owned(), Some(RETRY_FULL)))
        }
    }
}

/// Why a caller who waited and whose turn had come is not admitted.
pub(crate) fn turned_away(error: &AdmitError) -> (CloseReason, Option<String>) {
    match error {
        AdmitError::Full { .. }
        | AdmitError::Overloaded
        | AdmitError::Busy
        | AdmitError::Engine(EngineError::Full { .. }) => (CloseReason::Full, Some(error.to_string())),
        AdmitError::Stopped => (CloseReason::Internal, Some(error.to_string())),
        AdmitError::Engine(_) => {
            tracing::error!(%error, "the model could not open a call");
            (CloseReason::Internal, Some(MODEL_FAILED.to_owned()))
        }
    }
}
