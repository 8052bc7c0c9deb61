//! What every request handler can reach.

use std::sync::Arc;
use std::time::Instant;

use moshi_engine::{ModelMemory, SessionParams};

use crate::auth::Keys;
use crate::calibrate::Calibration;
use crate::call::{Admission, Cast, Quotas, WaitingLine};
use crate::config::ServerConfig;
use crate::engine_thread::EngineHandle;
use crate::metrics::Metrics;
use crate::origin::Welcome;
use crate::recognition::Recognition;
use crate::shutdown::Shutdown;

/// The state of one server.
pub(crate) struct App {
    /// How it was configured.
    pub(crate) config: ServerConfig,
    /// The model at work.
    pub(crate) engine: EngineHandle,
    /// Finds places for calls.
    pub(crate) admission: Admission,
    /// Which web pages may call.
    pub(crate) welcome: Welcome,
    /// Who may call.
    pub(crate) keys: Keys,
    /// How much each caller takes.
    pub(crate) quotas: Arc<Quotas>,
    /// Those who wait for a place.
    pub(crate) line: Arc<WaitingLine>,
    /// How the number of places was found, if it was not configured.
    pub(crate) calibration: Option<Calibration>,
    /// Counters.
    pub(crate) metrics: Arc<Metrics>,
    /// Whether it is ending.
    pub(crate) shutdown: Shutdown,
    /// The model's name.
    pub(crate) model_name: String,
    /// What a caller must know about the model.
    pub(crate) notice: Option<String>,
    /// What makes the model play roles, where it can.
    pub(crate) cast: Option<Cast>,
    /// What the model and its calls take.
    pub(crate) memory: Option<ModelMemory>,
    /// What writes recordings down, where the model is for that.
    pub(crate) recognition: Option<Recognition>,
    /// Parameters of callers who choose nothing.
    pub(crate) defaults: SessionParams,
    /// When it started.
    pub(crate) started: Instant,
}
