//! What a load balancer, a dashboard and a curious person ask over plain HTTP.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::calibrate::CalibrationPoint;
use crate::call::CallNumbers;
use crate::engine_status::EngineHealth;

/// The answer of `/status`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Status {
    /// `ready`, `draining`, `restarting`, `failed` or `stuck`.
    state: &'static str,
    /// The configured name.
    instance_name: String,
    /// The model.
    model: String,
    /// What a caller must know about the model.
    notice: Option<String>,
    /// Version of the server.
    version: &'static str,
    /// The last commit of its sources after its nearest tag.
    build: &'static str,
    /// Calls open.
    sessions: usize,
    /// Calls that fit.
    capacity: usize,
    /// What the model and its calls take; null for a model that has no memory to speak of.
    memory: Option<Memory>,
    /// What callers may choose where the model plays roles; null where it plays none.
    roles: Option<RoleChoices>,
    /// How the capacity was found by measuring; null when it was configured.
    calibration: Option<Vec<CalibrationPoint>>,
    /// Callers in the waiting line.
    waiting: usize,
    /// How many may wait.
    queue: usize,
    /// Whether calls need a key.
    needs_key: bool,
    /// Whether calls are recorded.
    recorded: bool,
    /// Frames waiting.
    backlog_frames: u64,
    /// Duration of the last tick.
    last_step_ms: f64,
    /// The latest ticks; null before the first.
    tick_ms: Option<TickPercentiles>,
    /// How each open call fares.
    calls: Vec<CallNumbers>,
    /// Seconds since the start.
    uptime_s: u64,
}

/// The parts that a model can play.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct RoleChoices {
    /// The names of its voices.
    voices: Vec<String>,
    /// The voice of callers who choose none; null is the model's own.
    voice: Option<String>,
    /// The role of callers who choose none; null is none.
    role: Option<String>,
}

/// What the model and its calls take of the machine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
struct Memory {
    /// Bytes of weights.
    weights: u64,
    /// Bytes of each call.
    session: u64,
    /// How many calls the memory that was free after loading holds; null where the system does not tell.
    sessions_that_fit: Option<u64>,
}

/// How long the latest ticks took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
struct TickPercentiles {
    p50: f64,
    p95: f64,
    p99: f64,
}

/// The answer of the health endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ready`, `draining`, `restarting`, `failed` or `stuck`.
    status: &'static str,
}

impl Status {
    fn of(app: &App) -> Self {
        let (engine, status) = (&app.engine, app.engine.status());
        let millis = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        Self {
            state: state(app),
            instance_name: app.config.instance_name.clone(),
            model: app.model_name.clone(),
            notice: app.notice.clone(),
            version: env!("CARGO_PKG_VERSION"),
            build: env!("MOSHI_GIT_DESCRIBE"),
            sessions: engine.open(),
            capacity: engine.capacity(),
            memory: app.memory.map(|memory| Memory {
                weights: memory.weights,
                session: memory.session,
                sessions_that_fit: memory.sessions(),
            }),
            roles: app.cast.as_ref().map(|cast| RoleChoices {
                voices: cast.voices(),
                voice: cast.usual().voice.clone(),
                role: cast.usual().role.clone(),
            }),
            calibration: app.calibration.as_ref().map(|found| found.points.clone()),
            waiting: app.line.len(),
            queue: app.config.queue.room,
            needs_key: app.keys.needed(),
            recorded: app.config.record_dir.is_some(),
            backlog_frames: status.backlog(),
            last_step_ms: status.last_tick_ms(),
            tick_ms: status.tick_percentiles().map(|p| TickPercentiles {
                p50: millis(p.p50),
                p95: millis(p.p95),
                p99: millis(p.p99),
            }),
            calls: status.slots().open(status.started()),
            uptime_s: app.started.elapsed().as_secs(),
        }
    }
}

fn state(app: &App) -> &'static str {
    let status = app.engine.status();
    match (status.stuck(), app.shutdown.is_draining(), status.health()) {
        (true, _, _) => "stuck",
        (_, true, _) => "draining",
        (_, false, EngineHealth::Well) => "ready",
        (_, false, EngineHealth::Restarting) => "restarting",
        (_, false, EngineHealth::Lost) => "failed",
    }
}

/// Whether the process should be left alone.
///
/// Red when its model is stuck or lost for good: it should be started again. A model that is being made again after a
/// failure is no reason to.
#[utoipa::path(get, path = "/health/live", tag = "operations", responses(
    (status = 200, description = "Leave it alone", body = Health),
    (status = 503, description = "Start it again", body = Health),
))]
pub(crate) async fn live(State(app): State<Arc<App>>) -> Response {
    let state = state(&app);
    answer(matches!(state, "ready" | "draining" | "restarting"), state)
}

/// Whether new calls are welcome.
///
/// A full house is ready: it refuses in its own words.
#[utoipa::path(get, path = "/health/ready", tag = "operations", responses(
    (status = 200, description = "New calls are welcome", body = Health),
    (status = 503, description = "It is draining, or its model is lost or being made again", body = Health),
))]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    let state = state(&app);
    answer(state == "ready", state)
}

/// As `/health/ready`.
#[utoipa::path(get, path = "/health", tag = "operations", responses(
    (status = 200, description = "New calls are welcome", body = Health),
    (status = 503, description = "It is draining, or its model is lost or being made again", body = Health),
))]
pub(crate) async fn health(state: State<Arc<App>>) -> Response {
    ready(state).await
}

fn answer(good: bool, state: &'static str) -> Response {
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Health { status: state })).into_response()
}

/// How the server is doing, for people and dashboards.
#[utoipa::path(get, path = "/status", tag = "operations", responses(
    (status = 200, description = "How it is doing", body = Status),
))]
pub(crate) async fn status(State(app): State<Arc<App>>) -> Json<Status> {
    Json(Status::of(&app))
}

/// Counters, gauges and histograms for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses(
    (status = 200, description = "The text format, version 0.0.4", body = String, content_type = "text/plain"),
))]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let status = app.engine.status();
    app.metrics.show_calls(status.slots(), status.started());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render()).into_response()
}

/// What the binary was built from.
#[utoipa::path(get, path = "/api/build_info", tag = "operations", responses(
    (status = 200, description = "An object of texts"),
))]
pub(crate) async fn build_info() -> Json<moshi_protocol::BuildInfo> {
    Json(crate::build_info::build_info())
}
