//! The executors: `candle` is the plain reference that defines every result, `cpu` is the fast one.

pub mod candle;
pub mod cpu;

pub use candle::Candle;
pub use cpu::{Arithmetic, Cpu};
