//! The executors: `candle` is the plain reference that defines every result.

pub mod candle;

pub use candle::Candle;
