//! Measures a whole model on this machine, beside the machine's own memory bandwidth and arithmetic.
//!
//! [`of_model`] measures a model that was loaded, [`of_shape`] one of a published size with random weights.

mod machine;
mod measure;
mod memory;
mod model;
mod parts;
mod percentiles;
mod report;
mod shape;
mod shape_model;
mod shape_run;

pub use machine::{Machine, MachineProbe};
pub use memory::{available_bytes, resident_bytes};
pub use model::of_model;
pub use parts::PartTimes;
pub use percentiles::Percentiles;
pub use report::{ArithmeticReport, BenchReport};
pub use shape::{Plan, Shape};
pub use shape_run::{ShapeRun, of_shape};
