//! What every request handler can reach.

use std::sync::Arc;
use std::time::Instant;

use moshi_engine::SessionParams;

use crate::config::ServerConfig;
use crate::engine_thread::EngineHandle;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// The state of one server.
pub struct App {
    /// How it was configured.
    pub config: ServerConfig,
    /// Admits calls.
    pub engine: EngineHandle,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Whether it is ending.
    pub shutdown: Shutdown,
    /// The model's name.
    pub model_name: String,
    /// What a caller must know about the model.
    pub notice: Option<String>,
    /// Parameters of callers who choose nothing.
    pub defaults: SessionParams,
    /// When it started.
    pub started: Instant,
}
