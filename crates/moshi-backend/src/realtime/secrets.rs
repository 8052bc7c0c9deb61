//! Short-lived keys for pages: a server that holds a real key asks for one, and its page calls with it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::settings::{About, Dialect, Settings};
use crate::access;
use crate::app::App;
use crate::refusal::{RefusalBody, Refused};

/// How long a key lasts unless asked otherwise.
const LIFETIME: u64 = 60;
/// How long it may be asked to last, in seconds.
const LIFETIMES: std::ops::RangeInclusive<u64> = 10..=7_200;

/// A key of a minute.
///
/// It opens a call to whoever has it, counts as the key that it was asked for with, and ends with that one at the latest.
#[utoipa::path(post, path = "/v1/realtime/client_secrets", tag = "calls", responses(
    (status = 200, description = "`value`, `expires_at` and the `session`"),
    (status = 400, description = "`expires_after` makes no sense", body = RefusalBody),
    (status = 401, description = "A key is needed, or it is wrong, or short-lived itself", body = RefusalBody),
), security((), ("bearer" = [])))]
pub(crate) async fn client_secrets(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: String,
) -> Response {
    let made = make(&app, query.as_deref(), &headers, &body, Dialect::General);
    answer(
        made.map(
            |(value, expires_at, session)| json!({ "value": value, "expires_at": expires_at, "session": session }),
        ),
    )
}

/// A key of a minute, as clients of the beta ask for it.
#[utoipa::path(post, path = "/v1/realtime/sessions", tag = "calls", responses(
    (status = 200, description = "The session, with `client_secret`: `value` and `expires_at`"),
    (status = 400, description = "`expires_after` makes no sense", body = RefusalBody),
    (status = 401, description = "A key is needed, or it is wrong, or short-lived itself", body = RefusalBody),
), security((), ("bearer" = [])))]
pub(crate) async fn sessions(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: String,
) -> Response {
    let made = make(&app, query.as_deref(), &headers, &body, Dialect::Beta);
    answer(made.map(|(value, expires_at, mut session)| {
        session["client_secret"] = json!({ "value": value, "expires_at": expires_at });
        session
    }))
}

/// A key, when it ends in seconds since 1970, and the session that it will open.
fn make(
    app: &App,
    query: Option<&str>,
    headers: &HeaderMap,
    body: &str,
    dialect: Dialect,
) -> Result<(String, u64, Value), Refused> {
    // Whoever lends keys makes no call: quotas count the calls that are made with them.
    access::check_access(app, headers, query.unwrap_or_default())?;
    let seconds = lifetime(body)?;
    let key = app.keys.lend(headers, Duration::from_secs(seconds)).ok_or_else(|| {
        let reason = "this key cannot lend another: it is short-lived itself, or too many are lent at this moment";
        Refused::new(StatusCode::UNAUTHORIZED, "unauthorized", reason)
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let about = About {
        id: "sess_of_the_call".to_owned(),
        model: app.model_name.clone(),
        temperature: app.defaults.temperature,
        notices: Vec::new(),
    };
    Ok((key, now + seconds, Settings::default().describe(dialect, &about)))
}

/// What `expires_after` says.
fn lifetime(body: &str) -> Result<u64, Refused> {
    let wrong = |reason: String| Refused::new(StatusCode::BAD_REQUEST, "parameter", reason);
    if body.trim().is_empty() {
        return Ok(LIFETIME);
    }
    let body: Value = serde_json::from_str(body).map_err(|error| wrong(format!("the body is no JSON: {error}")))?;
    match body.pointer("/expires_after/seconds").filter(|seconds| !seconds.is_null()) {
        None => Ok(LIFETIME),
        Some(found) => found.as_u64().filter(|seconds| LIFETIMES.contains(seconds)).ok_or_else(|| {
            let (least, most) = (LIFETIMES.start(), LIFETIMES.end());
            wrong(format!("expires_after.seconds is not a whole number from {least} to {most}"))
        }),
    }
}

fn answer(made: Result<Value, Refused>) -> Response {
    match made {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response(),
        Err(refused) => refused.into_response(),
    }
}
