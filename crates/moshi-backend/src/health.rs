//! What a load balancer, a dashboard and a curious person ask over plain HTTP.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::app::App;

/// The answer of `/status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Status {
    /// `ready`, `draining` or `failed`.
    pub(crate) state: &'static str,
    /// The configured name.
    pub(crate) instance_name: String,
    /// The model.
    pub(crate) model: String,
    /// What a caller must know about the model.
    pub(crate) notice: Option<String>,
    /// Version of the server.
    pub(crate) version: &'static str,
    /// Calls open.
    pub(crate) sessions: usize,
    /// Calls that fit.
    pub(crate) capacity: usize,
    /// Frames waiting.
    pub(crate) backlog_frames: u64,
    /// Duration of the last step.
    pub(crate) last_step_ms: f64,
    /// Seconds since the start.
    pub(crate) uptime_s: u64,
}

impl Status {
    fn of(app: &App) -> Self {
        let engine = &app.engine;
        Self {
            state: state(app),
            instance_name: app.config.instance_name.clone(),
            model: app.model_name.clone(),
            notice: app.notice.clone(),
            version: env!("CARGO_PKG_VERSION"),
            sessions: engine.open(),
            capacity: engine.capacity(),
            backlog_frames: engine.status().backlog(),
            last_step_ms: engine.status().last_step_ms(),
            uptime_s: app.started.elapsed().as_secs(),
        }
    }
}

fn state(app: &App) -> &'static str {
    match (app.shutdown.is_draining(), app.engine.status().healthy()) {
        (true, _) => "draining",
        (false, true) => "ready",
        (false, false) => "failed",
    }
}

/// `/health/live`: the process answers; a process whose model is lost for good should be restarted.
pub(crate) async fn live(State(app): State<Arc<App>>) -> Response {
    answer(app.engine.status().healthy() || app.shutdown.is_draining(), state(&app))
}

/// `/health/ready` and `/health`: whether new calls are welcome. A full house is ready: it refuses in its own words.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    answer(state(&app) == "ready", state(&app))
}

fn answer(good: bool, state: &'static str) -> Response {
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(serde_json::json!({ "status": state }))).into_response()
}

/// `/status`.
pub(crate) async fn status(State(app): State<Arc<App>>) -> Json<Status> {
    Json(Status::of(&app))
}

/// `/metrics`.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render()).into_response()
}

/// `/api/build_info`.
pub(crate) async fn build_info() -> Json<moshi_protocol::BuildInfo> {
    Json(crate::build_info::build_info())
}
