//! When a caller's player runs dry.

use std::time::Duration;

/// A player that holds this much in reserve runs dry when a reply comes later than the replies before it by more.
const RESERVE: Duration = Duration::from_millis(80);
/// By how much, each frame, a player trims the reserve that an earlier delay made it build up.
const TRIM: Duration = Duration::from_millis(1);

/// A caller's player as the server imagines it: it begins with [`RESERVE`] of audio in hand, grows its reserve when it
/// runs dry, and trims it slowly while all is well.
#[derive(Debug, Default)]
pub(crate) struct Playout {
    /// The lag up to which the player does not run dry; none before the first reply.
    allowed: Option<Duration>,
}

impl Playout {
    /// A reply with this lag; true when the player had run dry before it.
    pub(crate) fn reply(&mut self, lag: Duration) -> bool {
        let dry = self.allowed.is_some_and(|allowed| lag > allowed);
        let wanted = lag + RESERVE;
        self.allowed = Some(match self.allowed {
            Some(allowed) if !dry && allowed > wanted => allowed.saturating_sub(TRIM),
            Some(allowed) if !dry => allowed,
            _ => wanted,
        });
        dry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_player_runs_dry_once_for_each_jump_of_the_lag() {
        let mut playout = Playout::default();
        let lags = [20, 60, 100, 101, 181, 182, 20, 20, 222];
        let dry: Vec<bool> = lags.map(|lag| playout.reply(ms(lag))).to_vec();
        assert_eq!(dry, [false, false, false, true, false, true, false, false, false]);
    }
}
