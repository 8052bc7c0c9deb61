//! `/api/chat`: the WebSocket that published Moshi clients speak. docs/protocol.md describes it.
//!
//! A call is refused before it becomes a WebSocket, with a status and a reason in JSON, or it has a row of its own.

mod call;
mod codec;
mod limits;
mod listener;
mod request;
mod speaker;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use moshi_engine::EngineError;
use moshi_protocol::{CloseReason, Refusal};

use crate::app::App;
use crate::engine_thread::AdmitError;
use call::Call;
use request::CallRequest;

/// Seconds after which a caller who was refused for lack of a place may try again.
const RETRY_FULL: u32 = 5;
/// Likewise when too many asked at the same moment.
const RETRY_BUSY: u32 = 1;

/// A message is read up to this many times the size limit, only to be refused with a reason.
const READ_OUT: usize = 16;

/// Answers a request for a call.
pub(crate) async fn handler(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return not_a_websocket(&rejection),
    };
    match admit(&app, peer, query.as_deref().unwrap_or_default(), &headers).await {
        Ok(call) => {
            // A message over the limit is read to its end before the call is closed, if it is not absurd: closing a
            // connection with unread bytes resets it, and the caller might never see why.
            let limit = app.config.calls.max_message_bytes.saturating_mul(READ_OUT);
            upgrade.max_message_size(limit).max_frame_size(limit).on_upgrade(move |socket| call.run(socket))
        }
        Err((status, refusal)) => {
            tracing::info!(%peer, reason = refusal.reason, "call refused");
            refuse(status, &refusal)
        }
    }
}

async fn admit(
    app: &Arc<App>,
    peer: SocketAddr,
    query: &str,
    headers: &HeaderMap,
) -> Result<Call, (StatusCode, Refusal)> {
    if !request::origin_allowed(headers, &app.config.allowed_origins) {
        app.metrics.refused("origin");
        let mut refusal = Refusal::new(CloseReason::NotAllowed, None);
        refusal.reason =
            "this page's origin may not call this server; see allowed_origins or --allow-origin".to_owned();
        return Err((StatusCode::FORBIDDEN, refusal));
    }
    let request = CallRequest::parse(query, &app.defaults).map_err(|refusal| {
        app.metrics.refused("parameter");
        (StatusCode::BAD_REQUEST, refusal)
    })?;
    let Some(guard) = app.shutdown.enter() else {
        app.metrics.refused("shutting_down");
        let refusal = Refusal::new(CloseReason::ShuttingDown, Some(RETRY_FULL));
        return Err((StatusCode::SERVICE_UNAVAILABLE, refusal));
    };
    let session = app.engine.admit(request.params).await.map_err(|error| not_admitted(&error))?;
    Ok(Call { app: Arc::clone(app), peer, request, session, guard })
}

fn not_admitted(error: &AdmitError) -> (StatusCode, Refusal) {
    let refusal = |error_name: &str, retry_after| Refusal {
        error: error_name.to_owned(),
        reason: error.to_string(),
        retry_after,
    };
    match error {
        AdmitError::Full { .. } => (StatusCode::SERVICE_UNAVAILABLE, refusal("full", Some(RETRY_FULL))),
        AdmitError::Busy => (StatusCode::SERVICE_UNAVAILABLE, refusal("busy", Some(RETRY_BUSY))),
        AdmitError::Engine(EngineError::Full { .. }) => {
            (StatusCode::SERVICE_UNAVAILABLE, refusal("full", Some(RETRY_FULL)))
        }
        AdmitError::Engine(EngineError::Parameter { .. }) => (StatusCode::BAD_REQUEST, refusal("parameter", None)),
        AdmitError::Engine(_) | AdmitError::Stopped => {
            (StatusCode::SERVICE_UNAVAILABLE, refusal("internal", Some(RETRY_FULL)))
        }
    }
}

fn refuse(status: StatusCode, refusal: &Refusal) -> Response {
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], refusal.to_json()).into_response();
    if let Some(seconds) = refusal.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn not_a_websocket(rejection: &WebSocketUpgradeRejection) -> Response {
    let reason = format!("/api/chat is a WebSocket: {}", rejection.body_text());
    refuse(rejection.status(), &Refusal { error: "not_a_websocket".to_owned(), reason, retry_after: None })
}
