//! How many places one caller may have: calls and turns in the waiting line, by address and by key.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::key_id::KeyId;

/// Counts the calls of each address and of each key. A limit of zero is none.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    per_address: usize,
    per_key: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    addresses: HashMap<IpAddr, usize>,
    keys: HashMap<KeyId, usize>,
}

/// A call that is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    quotas: Arc<Quotas>,
    address: IpAddr,
    key: Option<KeyId>,
}

/// Why a call is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OverQuota {
    /// Of this address.
    #[error("your address has {0} calls open or waiting, as many as one may have")]
    Address(usize),
    /// Of this key.
    #[error("your key has {0} calls open or waiting, as many as one may have")]
    Key(usize),
}

impl Quotas {
    /// So many calls for each address and for each key; zero is as many as there are places.
    pub(crate) fn new(per_address: usize, per_key: usize) -> Arc<Self> {
        Arc::new(Self { per_address, per_key, taken: Mutex::default() })
    }

    /// Counts a call from this address and with this key, if they may have another one.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, key: Option<KeyId>) -> Result<Share, OverQuota> {
        let mut taken = self.taken();
        if is_full(&taken.addresses, &address, self.per_address) {
            return Err(OverQuota::Address(self.per_address));
        }
        if key.is_some_and(|key| is_full(&taken.keys, &key, self.per_key)) {
            return Err(OverQuota::Key(self.per_key));
        }
        *taken.addresses.entry(address).or_default() += 1;
        if let Some(key) = key {
            *taken.keys.entry(key).or_default() += 1;
        }
        Ok(Share { quotas: Arc::clone(self), address, key })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.quotas.taken();
        leave(&mut taken.addresses, &self.address);
        if let Some(key) = &self.key {
            leave(&mut taken.keys, key);
        }
    }
}

fn is_full<K: Eq + Hash>(taken: &HashMap<K, usize>, who: &K, most: usize) -> bool {
    most > 0 && taken.get(who).is_some_and(|count| *count >= most)
}

/// One less; who has none is forgotten.
fn leave<K: Eq + Hash>(taken: &mut HashMap<K, usize>, who: &K) {
    if let Some(count) = taken.get_mut(who) {
        *count -= 1;
        if *count == 0 {
            taken.remove(who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_keys_are_counted_and_forgotten() {
        let quotas = Quotas::new(2, 3);
        let (here, there, key) = ([1, 2, 3, 4].into(), [1, 2, 3, 5].into(), Some(KeyId::of("a key")));
        let first = quotas.enter(here, key).unwrap();
        let second = quotas.enter(here, None).unwrap();
        assert_eq!(quotas.enter(here, None).unwrap_err(), OverQuota::Address(2));
        let _third = quotas.enter(there, key).unwrap();
        let fourth = quotas.enter(there, key).unwrap();
        drop(second);
        assert_eq!(quotas.enter(here, key).unwrap_err(), OverQuota::Key(3));
        let _other_key = quotas.enter(here, Some(KeyId::of("another"))).unwrap();
        drop((first, fourth));
        assert!(quotas.enter(here, key).is_ok());
        let open = Quotas::new(0, 0);
        let many: Vec<Share> = (0..100).map(|_| open.enter(here, key).unwrap()).collect();
        drop(many);
        assert!(open.taken().addresses.is_empty() && open.taken().keys.is_empty());
    }
}
