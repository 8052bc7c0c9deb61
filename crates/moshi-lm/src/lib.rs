//! The language model: temporal and depth transformers, delays, sampling, text.

pub mod delay;
