//! Measures a whole model on this machine, beside the machine's own memory bandwidth and arithmetic.

mod machine;
mod measure;
mod memory;
mod parts;
mod report;
mod shape;

pub use machine::{Machine, MachineProbe};
pub use measure::{Measured, measure};
pub use memory::{available_bytes, resident_bytes};
pub use parts::PartTimes;
pub use report::{ArithmeticReport, BenchReport, Percentiles};
pub use shape::{Plan, Shape, ShapeModel};
