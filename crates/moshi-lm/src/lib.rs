//! The language model: temporal and depth transformers, delays, sampling, text.
//!
//! [`Lm`] is the weights, [`LmState`] the memory of some rows (conversations). A step hears the user's codes of one frame
//! and gives the agent's next frame: a text token and its codes. Dialogue, forced text and forced audio are settings of the
//! same step ([`RowInput`]).

mod adapters;
pub mod conditions;
mod decide;
pub mod delay;
mod depth;
mod drawn;
mod error;
mod forward;
pub mod guidance;
mod model;
mod prefill;
pub mod prompt;
mod replay;
pub mod script;
mod settings;
mod shape;
mod speech;
pub mod spelling;
mod state;
pub mod text;
pub mod text_rule;
mod tokens;
pub mod translation;
mod watch;
pub mod words;

pub use adapters::NamedAdapter;
pub use error::{LmError, Result};
pub use forward::{FORWARD_CHUNK, Forward};
pub use model::{Lm, RowInput};
pub use moshi_checkpoint::config::{DepformerConfig, LmConfig};
pub use moshi_nn::backend::{RowSampling, SamplingParams};
pub use prefill::PromptInput;
pub use speech::Speech;
pub use state::LmState;
pub use watch::{Place, Watcher};
