//! How long and how large a call may be, and how long it may wait for its place.

use std::time::Duration;

/// Limits of every call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CallLimits {
    /// A call whose caller sends no message for this long is closed; zero is never.
    pub idle_timeout: Duration,
    /// Longest call; zero is no limit.
    pub max_duration: Duration,
    /// How often the server pings.
    pub ping_interval: Duration,
    /// A caller that answers no ping for this long does not read, and is closed.
    pub pong_timeout: Duration,
    /// Largest message that is accepted, in bytes.
    pub max_message_bytes: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30),
            max_duration: Duration::ZERO,
            ping_interval: Duration::from_secs(5),
            pong_timeout: Duration::from_secs(20),
            max_message_bytes: 64 * 1024,
        }
    }
}

/// The waiting line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// How many callers may wait for a place; zero is no waiting line.
    pub room: usize,
    /// Who has waited this long is sent away; zero is no limit.
    pub longest: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { room: 0, longest: Duration::from_secs(120) }
    }
}
