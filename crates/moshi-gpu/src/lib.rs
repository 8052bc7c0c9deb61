//! What an executor for graphics cards stands on: kernels in CUDA C++ (`kernels/*.cu`), and the machines that run them.
//!
//! The kernels' results do not depend on the number of rows, on neighbours or on the order of threads. The machine `host`
//! (feature `host`) compiles the same text for the processor, so that they are proved without a card.

#[cfg(feature = "host")]
pub mod host;
pub mod kernels;
pub mod machine;
pub mod sampling;
