//! `/v1/realtime`: the WebSocket of OpenAI's Realtime API, for the clients that speak it. docs/protocol.md describes it.
//!
//! That API knows turns and this model does not. It hears all the time, silence too, and speaks when it likes; what it
//! says is cut into responses where it pauses, and the caller's turns are reported, but decide nothing.

mod call;
mod client;
mod event_writer;
mod format;
mod g711;
mod items;
pub(crate) mod models;
mod outbox;
mod problem;
mod response_segmenter;
pub(crate) mod secrets;
mod settings;
mod talk;
mod voice_activity;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::access;
use crate::app::App;
use crate::call::{Admitted, Turn};
use crate::peer::Peer;
use crate::refusal::{RefusalBody, Refused};
use call::RealtimeCall;
use format::RealtimeRequest;
use settings::Dialect;

/// A message may be this many times as long as one of `/api/chat`: base64 in JSON, and often seconds at once.
const LONGER: usize = 16;
/// A message is read up to this many times its limit, only to be refused with a reason.
const READ_OUT: usize = 2;
/// The subprotocol of clients in browsers.
const SUBPROTOCOL: &str = "realtime";
/// What such a client names among its subprotocols for the spelling of the beta.
const BETA_PROTOCOL: &str = "openai-beta.realtime-v1";

/// Talk to the model as OpenAI's Realtime clients do.
///
/// A WebSocket of JSON events: PCM of 24 kHz or G.711 both ways, and the agent's words.
#[utoipa::path(get, path = "/v1/realtime", tag = "calls", params(
    ("model" = Option<String>, Query, description = "accepted and ignored: there is one model"),
    ("OpenAI-Beta" = Option<String>, Header, description = "`realtime=v1` for the beta's names of events"),
    ("seed" = Option<i64>, Query, description = "whole number; -1 is any"),
    ("voice_prompt" = Option<String>, Query, description = "one of the voices that `/status` names, where the model plays roles"),
    ("text_prompt" = Option<String>, Query, description = "the role that the model plays, likewise"),
    ("format" = Option<String>, Query, description = "audio of both directions until session.update says otherwise: `pcm16`, `g711_ulaw` or `g711_alaw`"),
    ("max_steps" = Option<u32>, Query, description = "the call ends after so many frames of reply"),
), responses(
    (status = 101, description = "The session begins"),
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
        Err(rejection) => return Refused::not_a_websocket("/v1/realtime", &rejection).into_response(),
    };
    let limit = app.config.calls.max_message_bytes.saturating_mul(LONGER);
    let read = limit.saturating_mul(READ_OUT);
    let upgrade = upgrade.max_message_size(read).max_frame_size(read).protocols([SUBPROTOCOL]);
    let peer = Peer::of(socket, &headers, &app.config.trusted_proxies);
    match admit(app, peer, query.as_deref().unwrap_or_default(), &headers).await {
        Ok(call) => upgrade.on_upgrade(move |socket| call.run(socket, limit)),
        Err(refused) => {
            tracing::info!(%peer, reason = refused.reason(), "call refused");
            refused.into_response()
        }
    }
}

async fn admit(app: Arc<App>, peer: Peer, query: &str, headers: &HeaderMap) -> Result<RealtimeCall, Refused> {
    let share = access::check_caller(&app, peer, headers, query)?;
    let request: RealtimeRequest = access::read_request(&app, query).await?;
    // This protocol has no words for a place in line.
    let Admitted { guard, turn } = app.admission.admit(request.spec(), false).await?;
    let Turn::Now(session) = turn else {
        return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "full", "there is no place"));
    };
    Ok(RealtimeCall { app, peer, share, request, session, guard, dialect: dialect(headers) })
}

fn dialect(headers: &HeaderMap) -> Dialect {
    let texts = |name| headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let beta = texts(header::HeaderName::from_static("openai-beta")).any(|value| value.contains("realtime=v1"));
    let protocol = texts(header::SEC_WEBSOCKET_PROTOCOL).any(|value| value.contains(BETA_PROTOCOL));
    if beta || protocol { Dialect::Beta } else { Dialect::General }
}
