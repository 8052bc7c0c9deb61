//! What a number format costs: a checkpoint as its files hold it beside itself in single precision, on the same audio.

mod compare;
mod report;
mod trace;
mod weights;

pub use compare::{Comparison, compare};
pub use report::{Likeness, QualityReport, StreamQuality};
