//! The laboratory beside the server: how fast a model is on this machine ([`speed`]), what a number format costs
//! ([`quality`]), and checkpoints of random weights to run, test and measure on ([`random`]).
//!
//! The binary's commands `bench`, `quality` and `make-random` are thin shells around these.

mod error;
pub mod quality;
pub mod random;
pub mod speed;

pub use error::{Error, Result};
