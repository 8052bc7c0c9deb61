//! Test support: golden data, random weights, the conformance suites of streaming layers and executors, and an executor
//! that records.
//!
//! The readers here are independent of `moshi-checkpoint`, so that a test of a model does not lean on the loader it
//! might want to blame.

pub mod compare;
pub mod conformance;
pub mod damage;
pub mod executor;
pub mod golden;
pub mod noise;
pub mod random;
pub mod recorder;
pub mod tensors;

pub use compare::assert_close;
pub use damage::{DamagedLine, damage_file};
pub use golden::Golden;
pub use random::RandomWeights;
pub use recorder::{Counts, Recorder};
pub use tensors::FileTensors;
