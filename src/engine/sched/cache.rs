//! What lblc and lblcr remember of each destination address.
//!
//! Every 60 seconds a check runs. While there are at most 16384 addresses every thirtieth check forgets
//! those that were not asked for within the expiry time of the scheduler (a day by default). Beyond
//! 16384 each check forgets some that were not asked for in six minutes.
//!
//! Addresses are found by a keyed hash, so that clients of a transparent cache, who choose the
//! addresses, cannot choose ones that collide. Which ones go under pressure follows the 1024 buckets
//! that the kernel keeps them in, so that the same ones go. The kernel sets no other limit than its
//! memory; here an address is no longer taken in when there are 262144.

use std::collections::HashMap;
use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

use crate::base::hash::{HashKey, hash_32};
use crate::base::random::Random;
use crate::base::{Address, Tick};

const CHECK_INTERVAL: u64 = 60 * 1000;
/// So many checks without pressure make one that looks at the expiry time.
const CHECKS_TO_EXPIRY: u32 = 30;
/// More addresses than this are pressure.
const COMFORTABLE: usize = 16 * BUCKETS as usize;
/// Under pressure an address must have been idle so long to go.
const IDLE_UNDER_PRESSURE: u64 = 6 * 60 * 1000;
const LIMIT: usize = 16 * COMFORTABLE;

const BUCKET_BITS: u32 = 10;
const BUCKETS: u32 = 1 << BUCKET_BITS;

#[derive(Debug)]
pub struct Cache<T> {
    entries: HashMap<Address, Entry<T>, Keyed>,
    next_check: Option<Tick>,
    /// Checks since the last look at the expiry time, and one.
    count: u32,
    /// The bucket that the last check under pressure ended with.
    rover: u32,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    last_use: Tick,
}

impl<T> Cache<T> {
    pub fn new(seed: u64) -> Cache<T> {
        let mut random = Random::new(seed);
        let keyed = Keyed(HashKey(random.draw(), random.draw()));
        Cache { entries: HashMap::with_hasher(keyed), next_check: None, count: 1, rover: 0 }
    }

    /// What is remembered of `address`, which counts as asked for now.
    pub fn touch(&mut self, now: Tick, address: Address) -> Option<&mut T> {
        let entry = self.entries.get_mut(&address)?;
        entry.last_use = now;
        Some(&mut entry.value)
    }

    /// Remembers `value` of a new address.
    ///
    /// # Errors
    /// Gives `value` back when the cache is full.
    pub fn insert(&mut self, now: Tick, address: Address, value: T) -> Result<(), T> {
        if self.entries.len() >= LIMIT {
            return Err(value);
        }
        self.entries.insert(address, Entry { value, last_use: now });
        Ok(())
    }

    /// Forgets everything.
    pub fn clear(&mut self, mut forget: impl FnMut(T)) {
        self.entries.drain().for_each(|(_, entry)| forget(entry.value));
    }

    /// Runs the checks that are due; `forget` takes what they throw out.
    pub fn tick(&mut self, now: Tick, expiry: u64, mut forget: impl FnMut(T)) {
        let mut due = *self.next_check.get_or_insert(now + CHECK_INTERVAL);
        while due <= now {
            self.check(due, expiry, &mut forget);
            due = due + CHECK_INTERVAL;
        }
        self.next_check = Some(due);
    }

    fn check(&mut self, now: Tick, expiry: u64, forget: &mut impl FnMut(T)) {
        if self.count >= CHECKS_TO_EXPIRY {
            self.count = 1;
            self.entries
                .extract_if(|_, entry| now.since(entry.last_use) >= expiry)
                .for_each(|(_, entry)| forget(entry.value));
        } else if self.entries.len() <= COMFORTABLE {
            self.count += 1;
        } else {
            self.relieve(now, forget);
        }
    }

    /// Throws out idle addresses, bucket by bucket from the rover on, until there are enough.
    fn relieve(&mut self, now: Tick, forget: &mut impl FnMut(T)) {
        let goal = ((self.entries.len() - COMFORTABLE) * 4 / 3).min(COMFORTABLE / 2);
        let first = self.rover + 1;
        let mut idle: Vec<(u32, Address)> = self
            .entries
            .iter()
            .filter(|(_, entry)| now.since(entry.last_use) >= IDLE_UNDER_PRESSURE)
            .map(|(&address, _)| (hash_32(address.fold(), BUCKET_BITS).wrapping_sub(first) % BUCKETS, address))
            .collect();
        idle.sort_unstable_by_key(|(distance, _)| *distance);
        let enough = idle.get(goal - 1).map(|(distance, _)| *distance);
        for (_, address) in idle.iter().take_while(|(distance, _)| enough.is_none_or(|enough| *distance <= enough)) {
            if let Some(entry) = self.entries.remove(address) {
                forget(entry.value);
            }
        }
        if let Some(enough) = enough {
            self.rover = (first + enough) % BUCKETS;
        }
    }
}

/// SipHash-1-3 with a key of our own.
#[derive(Clone, Debug)]
struct Keyed(HashKey);

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0.0, self.0.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> Address {
        Address::v4(number.to_be_bytes())
    }

    fn forgotten(cache: &mut Cache<u32>, minute: u64) -> Vec<u32> {
        let mut values = Vec::new();
        cache.tick(Tick::from_seconds(minute * 60), 3600 * 1000, |value| values.push(value));
        values
    }

    #[test]
    fn idle_addresses_go_at_every_thirtieth_check() {
        let mut cache = Cache::new(1);
        assert!(forgotten(&mut cache, 0).is_empty());
        cache.insert(Tick::ZERO, address(1), 1).unwrap();
        cache.insert(Tick::ZERO, address(2), 2).unwrap();
        cache.touch(Tick(1), address(2)).unwrap();
        assert!(forgotten(&mut cache, 59).is_empty());
        assert_eq!(forgotten(&mut cache, 60), [1]);
        assert!(forgotten(&mut cache, 89).is_empty());
        assert_eq!(forgotten(&mut cache, 90), [2]);
    }

    #[test]
    fn under_pressure_addresses_go_bucket_by_bucket() {
        let mut cache = Cache::new(1);
        forgotten(&mut cache, 0);
        let surplus = 3000;
        for number in 0..COMFORTABLE as u32 + surplus {
            cache.insert(Tick::ZERO, address(number), number).unwrap();
        }
        assert!(forgotten(&mut cache, 5).is_empty());
        let gone = forgotten(&mut cache, 6);
        let goal = surplus as usize * 4 / 3;
        let bucket = |number: &u32| hash_32(*number, BUCKET_BITS);
        let last = gone.iter().map(bucket).max().unwrap();
        assert_eq!(cache.rover, last);
        assert!(gone.len() >= goal && gone.iter().filter(|&number| bucket(number) != last).count() < goal);
        // The buckets from 1 on are empty now, the others as they were.
        assert!(cache.entries.values().all(|entry| bucket(&entry.value) == 0 || bucket(&entry.value) > last));
        assert!(forgotten(&mut cache, 7).is_empty());
    }

    #[test]
    fn a_full_cache_takes_no_more() {
        let mut cache = Cache::new(1);
        for number in 0..LIMIT as u32 {
            cache.insert(Tick::ZERO, address(number), number).unwrap();
        }
        assert_eq!(cache.insert(Tick::ZERO, address(u32::MAX), 7), Err(7));
    }
}
