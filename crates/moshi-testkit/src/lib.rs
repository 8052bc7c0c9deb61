//! Test support: golden data, random weights, and the conformance suite that every streaming layer passes.
//!
//! The readers here are independent of `moshi-checkpoint`, so that a test of a model does not lean on the loader it
//! might want to blame.

pub mod compare;
pub mod conformance;
pub mod damage;
pub mod golden;
pub mod noise;
pub mod random;
pub mod tensors;

pub use compare::assert_close;
pub use damage::{DamagedLine, damage_file};
pub use golden::Golden;
pub use random::RandomWeights;
pub use tensors::FileTensors;
