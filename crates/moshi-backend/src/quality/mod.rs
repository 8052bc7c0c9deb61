//! What a number format costs: a checkpoint as its files hold it beside itself in single precision, on the same audio.

mod report;
mod run;

pub use report::{Likeness, QualityReport};
pub use run::{Trace, codes_of_audio, conversation, trace};
