//! Safetensors files: header, shapes and the numbers behind them.
#![no_main]

mod tensors;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tensors::read_all(bytes));
