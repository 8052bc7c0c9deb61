//! Sessions as rows of one batch: the frame loop, admission, backlog and lag policy.
//!
//! The engine is sans-IO: input is pushed, time is an argument, output is collected. See [`Engine`].

mod builtin;
mod codec;
mod engine;
mod load;
mod loopback;
mod model;
mod moshi;
mod params;
mod session;
mod sessions;
mod shared_rows;
mod speech;

pub use builtin::{builtin, builtin_repository};
pub use engine::{Engine, EngineConfig, EngineMetrics, Input, Output, SessionEvent, SessionId, TickReport};
pub use load::{Device, Dtype, LoadOptions, Loaded, load_codec, load_model};
pub use loopback::Loopback;
pub use model::{FRAME_SAMPLES, FrameModel, RowOutput, RowStep};
pub use params::{EngineError, SessionParams};
pub use session::StreamingSession;
pub use sessions::Sessions;
pub use shared_rows::SharedRows;
pub use speech::{Codec, CodecInfo, CodecStream, ForwardLogits, GoOn, ModelInfo, SpeechModel};
