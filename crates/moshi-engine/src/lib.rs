//! Sessions as rows of one batch: the frame loop, admission, backlog and lag policy.
//!
//! The engine is sans-IO: input is pushed, time is an argument, output is collected. See [`Engine`].

mod engine;
mod loopback;
mod model;
mod params;
mod session;
mod shared_rows;

pub use engine::{Engine, EngineConfig, EngineMetrics, Input, Output, SessionEvent, SessionId, TickReport};
pub use loopback::Loopback;
pub use model::{FRAME_SAMPLES, FrameModel, RowOutput, RowStep};
pub use params::{EngineError, SessionParams};
pub use session::StreamingSession;
pub use shared_rows::SharedRows;
