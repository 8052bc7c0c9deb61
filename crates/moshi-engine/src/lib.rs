//! Sessions as rows of one batch: the frame loop, admission, backlog and lag policy.
//!
//! [`Engine`] is the only session loop. It is sans-IO: input is pushed, time is an argument, output is collected. Threads and
//! servers drive it through [`SharedEngine`]: a [`StreamingSession`] waits for each step, and a [`Sink`] is sent its events.

mod alone;
mod aside;
mod blocking;
mod condition;
mod config;
mod engine;
mod event;
mod fork;
mod heard;
mod job;
mod loopback;
mod model;
mod parameters;
mod params;
mod prompt;
mod reading_session;
mod row;
mod script;
mod session;
mod sessions;
mod settle;
mod shared_engine;
mod spec;
mod speech;
mod waiting;

pub use aside::{Aside, NO_ASIDE};
pub use condition::{Condition, Vectors};
pub use config::EngineConfig;
pub use engine::{Engine, EngineMetrics, JobReport};
pub use event::{Input, Output, SessionEvent, SessionId};
pub use heard::{Heard, WordEvent};
pub use job::Job;
pub use loopback::Loopback;
pub use model::{FRAME_SAMPLES, FrameInput, FrameModel, HeardCodes, RowOutput, RowStep};
pub use parameters::{PARAMETERS, Parameter, Range, Slider};
pub use params::{EngineError, SessionParams};
pub use prompt::{Forced, Prompt, PromptFrame};
pub use reading_session::{ReadStep, ReadingSession};
pub use script::{Entry, Script, Steering, When, Words};
pub use session::StreamingSession;
pub use sessions::{SHARED_ABOVE_BYTES, Sessions};
pub use shared_engine::{SharedEngine, Sink, Turn};
pub use spec::{EarlyAudio, OnFailure, Pace, ReadingSpec, SessionSpec, SpokenPrefix};
pub use speech::{ConditionInfo, ForwardLogits, GoOn, ModelInfo, ModelKind, ModelMemory, SpeechModel, VoiceInfo};
pub use waiting::check_finite;
