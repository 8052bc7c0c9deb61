//! Measures a whole model on this machine, beside the machine's own memory bandwidth.

mod bandwidth;
mod memory;
mod report;

pub use bandwidth::BandwidthProbe;
pub use memory::resident_bytes;
pub use report::{BenchReport, Percentiles};
