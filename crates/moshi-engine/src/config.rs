//! Limits of the engine.

/// Limits of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// Most frames a live session may have waiting before the oldest are dropped; at least 1.
    pub backlog_limit: usize,
    /// How many waiting frames are kept when the limit is exceeded; at most `backlog_limit`.
    pub backlog_target: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { backlog_limit: 8, backlog_target: 2 }
    }
}

impl EngineConfig {
    /// With limits that make sense.
    pub(crate) fn checked(self) -> Self {
        let backlog_limit = self.backlog_limit.max(1);
        Self { backlog_limit, backlog_target: self.backlog_target.clamp(1, backlog_limit) }
    }
}
