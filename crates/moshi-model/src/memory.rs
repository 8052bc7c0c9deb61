//! What a model and its sessions take, measured before the first frame.

use moshi_engine::ModelMemory;
use moshi_nn::Backend;

use crate::error::ModelError;
use crate::moshi::{Moshi, MoshiRows};

/// Measures a model: its weights by what its executors were asked for, a session by what one more of them asks.
pub(crate) fn measure<B: Backend>(model: &std::sync::Arc<Moshi<B>>) -> Result<ModelMemory, ModelError> {
    let taken = || model.executor().taken();
    let rows = |count: usize| -> Result<u64, ModelError> {
        let before = taken().memory;
        MoshiRows::new(model.clone(), count)?;
        Ok(taken().memory - before)
    };
    let session = rows(2)? - rows(1)?;
    Ok(ModelMemory { weights: taken().weights, session, free: free_bytes() })
}

/// Bytes that programs can have without swapping, or `None` where the system does not tell.
fn free_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}
