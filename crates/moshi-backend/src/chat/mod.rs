//! `/api/chat`: the WebSocket that published Moshi clients speak. docs/protocol.md describes it.
//!
//! A call is refused before it becomes a WebSocket, with a status and a reason in JSON, or it has a row of its own, or,
//! where that is configured, it waits for one in line.

mod backlog;
mod call;
mod codec;
mod feeder;
mod listener;
mod lost;
mod request;
mod speaker;
mod waiting;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use crate::admission::{self, Admitted, Refused, Turn};
use crate::app::App;
use crate::peer::Peer;
use crate::quota::Share;
use call::Call;
pub(crate) use call::{Ending, Pulse, Sink, Source, out_of_time, record, say_goodbye};
pub(crate) use codec::{from_s16, off_worker, to_s16};
pub(crate) use listener::broken;
pub(crate) use lost::LostAudio;
pub(crate) use request::{CallRequest, NamedFormat};
pub(crate) use speaker::send_frame;
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
    ("text_temperature" = Option<f32>, Query, description = "0 (greedy) to 10"),
    ("audio_temperature" = Option<f32>, Query, description = "0 (greedy) to 10"),
    ("seed" = Option<i64>, Query, description = "whole number; -1 is any"),
    ("max_steps" = Option<u32>, Query, description = "the call ends after so many frames of reply"),
), responses(
    (status = 101, description = "The call has a place, or one in the waiting line"),
    (status = 400, description = "A parameter is out of range, or a key is in the query", body = crate::openapi::RefusalBody),
    (status = 401, description = "A key is needed, or it is wrong", body = crate::openapi::RefusalBody),
    (status = 403, description = "The page's origin may not call", body = crate::openapi::RefusalBody),
    (status = 429, description = "This address or key has as many calls as one may have", body = crate::openapi::RefusalBody),
    (status = 503, description = "No place; `Retry-After` says when to try again", body = crate::openapi::RefusalBody),
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
        Err(rejection) => return admission::not_a_websocket("/api/chat", &rejection).into_response(),
    };
    // A message over the limit is read to its end before the call is closed, if it is not absurd: closing a
    // connection with unread bytes resets it, and the caller might never see why.
    let limit = app.config.calls.max_message_bytes.saturating_mul(READ_OUT);
    let upgrade = upgrade.max_message_size(limit).max_frame_size(limit).protocols([SUBPROTOCOL]);
    let peer = Peer::of(socket, &headers, &app.config.trusted_proxies);
    match admit(&app, peer, query.as_deref().unwrap_or_default(), &headers).await {
        Ok((request, share, Admitted { guard, turn: Turn::Now(session) })) => {
            let call = Call { app, peer, share, request, session, guard };
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
) -> Result<(CallRequest, Share, Admitted), Refused> {
    let share = admission::check_caller(app, peer, headers, query)?;
    let request = CallRequest::parse(query, &app.defaults).map_err(|refusal| Refused::parameter(app, refusal))?;
    let admitted = admission::admit(app, request.params, true).await?;
    Ok((request, share, admitted))
}
