//! Sessions as rows of one batch: the frame loop, admission, backlog and lag policy.
//!
//! The engine is sans-IO: input is pushed, time is an argument, output is collected. See [`Engine`].

mod engine;
mod loopback;
mod model;
mod params;
mod session;
mod sessions;
mod shared_rows;
mod speech;

pub use engine::{
    Engine, EngineConfig, EngineMetrics, Input, Output, SessionEvent, SessionId, TickReport, check_finite,
};
pub use loopback::Loopback;
pub use model::{FRAME_SAMPLES, FrameModel, RowOutput, RowStep};
pub use params::{EngineError, SessionParams};
pub use session::StreamingSession;
pub use sessions::{SHARED_ABOVE_BYTES, Sessions};
pub use shared_rows::SharedRows;
pub use speech::{ForwardLogits, GoOn, ModelInfo, ModelMemory, SpeechModel};
