//! How many calls a server takes at once.

use std::str::FromStr;

/// Most calls at once, each a row of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MaxSessions {
    /// As many as a calibration at start-up finds to fit into a step.
    #[default]
    Auto,
    /// So many, at least 1.
    Fixed(usize),
}

/// Most that may be configured.
pub(super) const MOST: u64 = 4_096;

impl From<usize> for MaxSessions {
    fn from(count: usize) -> Self {
        Self::Fixed(count.max(1))
    }
}

impl FromStr for MaxSessions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let count = text.parse::<u64>().ok().filter(|n| (1..=MOST).contains(n));
        let count = count.and_then(|n| usize::try_from(n).ok());
        count.map(Self::Fixed).ok_or_else(|| format!("expected auto or a whole number from 1 to {MOST}"))
    }
}

impl std::fmt::Display for MaxSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("as many as a measurement at start-up finds to fit"),
            Self::Fixed(count) => write!(f, "at most {count}"),
        }
    }
}
