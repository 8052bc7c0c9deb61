//! How much one caller may take.

use super::ConfigError;
use super::reader::{Reader, to_usize};

/// Most that may be configured.
const MOST: u64 = 1_000_000;

/// Quotas of callers and a bound on connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaConfig {
    /// Calls, open or waiting, of one address; zero is no quota.
    pub per_address: usize,
    /// Calls, open or waiting, with one key; zero is no quota.
    pub per_key: usize,
    /// Connections open at once; zero is as many as there are places and turns in the waiting line, and a thousand more.
    pub connections: usize,
}

impl QuotaConfig {
    /// Reads the keys of the configuration file.
    pub(super) fn read(r: &mut Reader) -> Result<Self, ConfigError> {
        let mut number = |key| Ok::<_, ConfigError>(r.whole(key, 0, MOST)?.map_or(0, to_usize));
        Ok(Self {
            per_address: number("max_sessions_per_address")?,
            per_key: number("max_sessions_per_key")?,
            connections: number("max_connections")?,
        })
    }
}
