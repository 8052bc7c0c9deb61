//! Measures a whole model on this machine, beside the machine's own memory bandwidth.

mod bandwidth;
mod measure;
mod memory;
mod parts;
mod report;
mod shape;

pub use bandwidth::BandwidthProbe;
pub use measure::{Measured, measure};
pub use memory::{available_bytes, resident_bytes};
pub use parts::PartTimes;
pub use report::{BenchReport, Percentiles};
pub use shape::{Plan, Shape, ShapeModel};
