//! `/api/chat`: the WebSocket that published Moshi clients speak. docs/protocol.md describes it.
//!
//! A call is refused before it becomes a WebSocket, with a status and a reason in JSON, or it has a row of its own, or,
//! where that is configured, it waits for one in line.

mod backlog;
mod call;
mod codec;
mod feeder;
mod format;
mod listener;
mod message;
mod speaker;
mod waiting;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use crate::access;
use crate::app::App;
use crate::call::{Admitted, Share, Turn};
use crate::peer::Peer;
use crate::refusal::{RefusalBody, Refused};
use call::ChatCall;
use format::ChatRequest;
use waiting::WaitingCall;

/// A message is read up to this many times the size limit, only to be refused with a reason.
const READ_OUT: usize = 16;
/// The subprotocol of a page that sends its key as another one.
const SUBPROTOCOL: &str = "rustymoshi";

/// Talk to the model.
///
/// A WebSocket of binary messages: Ogg Opus or raw samples both ways, and the agent's words.
#[utoipa::path(get, path = "/api/chat", tag = "calls", params(
    ("format" = Option<String>, Query, description = "`opus` (Ogg Opus, the default) or `pcm` (s16le, 24 kHz)"),
    ("seed" = Option<i64>, Query, description = "whole number; -1 is any"),
    ("voice_prompt" = Option<String>, Query, description = "one of the voices that `/status` names, where the model plays roles"),
    ("text_prompt" = Option<String>, Query, description = "the role that the model plays, likewise"),
    ("max_steps" = Option<u32>, Query, description = "the call ends after so many frames of reply"),
), responses(
    (status = 101, description = "The call has a place, or one in the waiting line"),
    (status = 400, description = "A parameter is out of range, or a key is in the query", body = RefusalBody),
    (status = 401, description = "A key is needed, or it is wrong", body = RefusalBody),
    (status = 403, description = "The page's origin may not call", body = RefusalBody),
    (status = 429, description = "This address or key has as many calls as one may have", body = RefusalBody),
    (status = 503, description = "No place; `Retry-After` says when to try again", body = RefusalBody),
), security((), ("bearer" = [])))]
pub(crate) async fn handler(
    State(app): State<Arc<App>>,
    ConnectInfo(socket): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return Refused::not_a_websocket("/api/chat", &rejection).into_response(),
    };
    // A message over the limit is read to its end before the call is closed, if it is not absurd: closing a
    // connection with unread bytes resets it, and the caller might never see why.
    let limit = app.config.calls.max_message_bytes.saturating_mul(READ_OUT);
    let upgrade = upgrade.max_message_size(limit).max_frame_size(limit).protocols([SUBPROTOCOL]);
    let peer = Peer::of(socket, &headers, &app.config.trusted_proxies);
    match admit(&app, peer, query.as_deref().unwrap_or_default(), &headers).await {
        Ok((request, share, Admitted { guard, turn: Turn::Now(session) })) => {
            let call = ChatCall { app, peer, share, request, session, guard };
            upgrade.on_upgrade(move |socket| call.run(socket))
        }
        Ok((request, share, Admitted { guard, turn: Turn::Later(ticket) })) => {
            let call = WaitingCall { app, peer, share, request, ticket, guard };
            upgrade.on_upgrade(move |socket| call.run(socket))
        }
        Err(refused) => {
            tracing::info!(%peer, reason = refused.reason(), "call refused");
            refused.into_response()
        }
    }
}

async fn admit(
    app: &Arc<App>,
    peer: Peer,
    query: &str,
    headers: &HeaderMap,
) -> Result<(ChatRequest, Share, Admitted), Refused> {
    let share = access::check_caller(app, peer, headers, query)?;
    let request: ChatRequest = access::read_request(app, query).await?;
    let admitted = app.admission.admit(request.spec(), true).await?;
    Ok((request, share, admitted))
}
