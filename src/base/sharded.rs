//! A map that never moves much at once.
//!
//! A hash map that is full moves all its entries to a larger one. With a hundred thousand of them
//! that takes milliseconds, for which a worker would handle no frame; so this is many small maps,
//! each of which grows by itself.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hash};

use super::hash::FixedHash;

/// How many maps there are.
const SHARDS: usize = 128;

/// A map for keys that only the operator chooses, as [`FixedHash`] is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharded<K: Eq + Hash, V> {
    shards: Box<[HashMap<K, V, FixedHash>]>,
    count: usize,
}

impl<K: Eq + Hash, V> Default for Sharded<K, V> {
    fn default() -> Sharded<K, V> {
        Sharded { shards: (0..SHARDS).map(|_| HashMap::default()).collect(), count: 0 }
    }
}

impl<K: Eq + Hash, V> Sharded<K, V> {
    pub fn len(&self) -> usize {
        self.count
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[inline]
    pub fn get(&self, key: &K) -> Option<&V> {
        if self.is_empty() {
            return None;
        }
        self.shards[shard(key)].get(key)
    }

    #[inline]
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Sets the value of `key`; the one it had before is given back.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.shards[shard(&key)].insert(key, value);
        self.count += usize::from(before.is_none());
        before
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let removed = self.shards[shard(key)].remove(key);
        self.count -= usize::from(removed.is_some());
        removed
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flatten()
    }
}

impl<K: Eq + Hash> Sharded<K, u32> {
    /// Counts one more of `key`.
    pub fn count(&mut self, key: K) {
        let count = self.shards[shard(&key)].entry(key).or_default();
        self.count += usize::from(*count == 0);
        *count += 1;
    }

    /// Takes one from the count of `key`; the last takes the entry along.
    pub fn release(&mut self, key: K) {
        if let Entry::Occupied(mut entry) = self.shards[shard(&key)].entry(key) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
                self.count -= 1;
            }
        }
    }
}

/// The map that a key is in: by other bits than the map itself goes by.
#[inline]
fn shard<K: Hash>(key: &K) -> usize {
    (FixedHash::default().hash_one(key) >> 32) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map() {
        let mut map = Sharded::default();
        for key in 0..10_000u32 {
            assert_eq!(map.insert(key, key), None);
        }
        assert_eq!(map.insert(7, 8), Some(7));
        assert_eq!((map.len(), map.get(&7), map.get(&10_000)), (10_000, Some(&8), None));
        assert_eq!(map.iter().count(), 10_000);
        assert!((0..10_000).all(|key| map.remove(&key).is_some()) && map.is_empty());
    }

    #[test]
    fn counts_go_with_the_last() {
        let mut map = Sharded::default();
        map.count("a");
        map.count("a");
        map.release("b");
        map.release("a");
        assert_eq!((map.len(), map.get(&"a")), (1, Some(&1)));
        map.release("a");
        assert!(map.is_empty() && !map.contains_key(&"a"));
    }

    #[test]
    fn keys_are_spread_evenly() {
        let mut map = Sharded::default();
        for key in 0..128_000u64 {
            map.insert(key, ());
        }
        let sizes = map.shards.iter().map(HashMap::len);
        assert!(sizes.clone().max() < Some(1200) && sizes.min() > Some(800));
    }
}
