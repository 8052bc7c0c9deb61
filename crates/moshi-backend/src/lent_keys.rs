//! Keys that last a minute: each was lent by a real one, counts as that one, and is good for nothing once it is gone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::key_id::KeyId;

/// What such a key begins with, as clients expect it.
const PREFIX: &str = "ek_";
/// Random bytes of a key.
const BYTES: usize = 24;
/// Keys that may be lent at once.
const MOST: usize = 10_000;

/// The keys that are lent, by digest.
#[derive(Debug, Default)]
pub(crate) struct LentKeys(Mutex<HashMap<KeyId, Lent>>);

#[derive(Debug, Clone, Copy)]
struct Lent {
    by: Option<KeyId>,
    until: Instant,
}

impl LentKeys {
    /// A new key that lasts from `now` for this long; `by` is the real one, where keys are needed. None when there are too
    /// many, or the machine has no randomness.
    pub(crate) fn lend(&self, by: Option<KeyId>, now: Instant, lifetime: Duration) -> Option<String> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).ok()?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = format!("{PREFIX}{hex}");
        let mut lent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lent.retain(|_, lent| lent.until > now);
        if lent.len() >= MOST {
            return None;
        }
        lent.insert(KeyId::of(&key), Lent { by, until: now + lifetime });
        Some(key)
    }

    /// The real key behind this one, if it is lent at `now`.
    pub(crate) fn lender(&self, key: KeyId, now: Instant) -> Option<KeyId> {
        let lent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lent.get(&key).filter(|lent| lent.until > now)?.by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_lent_for_a_while_and_no_two_are_the_same() {
        let (keys, now, real) = (LentKeys::default(), Instant::now(), Some(KeyId::of("a real key")));
        let minute = Duration::from_secs(60);
        let (one, two) = (keys.lend(real, now, minute).unwrap(), keys.lend(real, now, minute).unwrap());
        assert!(one != two && one.starts_with("ek_") && one.len() == 51);
        assert_eq!(keys.lender(KeyId::of(&one), now + minute / 2), real);
        assert_eq!(keys.lender(KeyId::of(&one), now + minute), None);
        assert_eq!(keys.lender(KeyId::of("ek_of_nobody"), now), None);
        let many = (2..MOST).all(|_| keys.lend(real, now, minute).is_some());
        assert!(many && keys.lend(real, now, minute).is_none(), "bounded");
        assert!(keys.lend(real, now + minute, minute).is_some(), "and those that ended make room");
    }
}
