//! All datagrams that wait for fragments: found by key, and given up in order of age.

use crate::base::hash::HashKey;
use crate::base::{Family, Port, Protocol, Tick};

use super::arrival::Key;
use super::datagram::Datagram;

/// A place in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotId(u32);

impl SlotId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
struct Slot {
    datagram: Datagram,
    opened: Tick,
    deadline: Tick,
    /// The next one in the same bucket.
    chain: Option<SlotId>,
    older: Option<SlotId>,
    newer: Option<SlotId>,
}

/// The datagrams of one family in order of age, which is the order of their deadlines.
#[derive(Clone, Copy, Debug, Default)]
struct Ages {
    oldest: Option<SlotId>,
    newest: Option<SlotId>,
}

#[derive(Debug)]
pub(super) struct Store {
    slots: Vec<Slot>,
    free: Vec<SlotId>,
    buckets: Vec<Option<SlotId>>,
    ages: [Ages; 2],
    key: HashKey,
}

impl Store {
    /// A store with buckets for about `expected` datagrams.
    pub(super) fn new(expected: usize, key: HashKey) -> Store {
        let buckets = vec![None; expected.next_power_of_two()];
        Store { slots: Vec::new(), free: Vec::new(), buckets, ages: [Ages::default(); 2], key }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn datagram(&self, id: SlotId) -> &Datagram {
        &self.slots[id.index()].datagram
    }

    pub(super) fn datagram_mut(&mut self, id: SlotId) -> &mut Datagram {
        &mut self.slots[id.index()].datagram
    }

    pub(super) fn find(&self, key: &Key) -> Option<SlotId> {
        let mut next = self.buckets[self.bucket(key)];
        while let Some(id) = next {
            let slot = &self.slots[id.index()];
            if slot.datagram.key == *key {
                return Some(id);
            }
            next = slot.chain;
        }
        None
    }

    /// Opens an empty datagram; one with the same key is not there yet.
    pub(super) fn open(&mut self, key: Key, now: Tick, deadline: Tick) -> SlotId {
        debug_assert_eq!(self.find(&key), None);
        let bucket = self.bucket(&key);
        let chain = self.buckets[bucket];
        let older = self.ages[age_list(key.family)].newest;
        let id = match self.free.pop() {
            Some(id) => {
                let slot = &mut self.slots[id.index()];
                slot.datagram.key = key;
                (slot.opened, slot.deadline) = (now, deadline);
                (slot.chain, slot.older, slot.newer) = (chain, older, None);
                id
            }
            None => {
                let datagram = Datagram::new(key);
                self.slots.push(Slot { datagram, opened: now, deadline, chain, older, newer: None });
                SlotId(self.slots.len() as u32 - 1)
            }
        };
        self.buckets[bucket] = Some(id);
        match older {
            Some(older) => self.slots[older.index()].newer = Some(id),
            None => self.ages[age_list(key.family)].oldest = Some(id),
        }
        self.ages[age_list(key.family)].newest = Some(id);
        id
    }

    /// Closes a datagram; it has been cleared.
    pub(super) fn close(&mut self, id: SlotId) {
        let Slot { datagram: Datagram { key, .. }, chain, older, newer, .. } = self.slots[id.index()];
        let bucket = self.bucket(&key);
        if self.buckets[bucket] == Some(id) {
            self.buckets[bucket] = chain;
        } else {
            let mut next = self.buckets[bucket];
            while let Some(before) = next {
                let before = &mut self.slots[before.index()];
                if before.chain == Some(id) {
                    before.chain = chain;
                    break;
                }
                next = before.chain;
            }
        }
        let ages = &mut self.ages[age_list(key.family)];
        match older {
            Some(older) => self.slots[older.index()].newer = newer,
            None => ages.oldest = newer,
        }
        match newer {
            Some(newer) => self.slots[newer.index()].older = older,
            None => ages.newest = older,
        }
        self.free.push(id);
    }

    /// The datagram that was opened first.
    pub(super) fn oldest(&self) -> Option<SlotId> {
        self.first_by(|slot| slot.opened).map(|(_, id)| id)
    }

    /// The datagram whose time is over first.
    pub(super) fn first_deadline(&self) -> Option<(Tick, SlotId)> {
        self.first_by(|slot| slot.deadline)
    }

    fn first_by(&self, moment: fn(&Slot) -> Tick) -> Option<(Tick, SlotId)> {
        let oldest = self.ages.iter().filter_map(|ages| ages.oldest);
        oldest.map(|id| (moment(&self.slots[id.index()]), id)).min_by_key(|&(moment, _)| moment)
    }

    fn bucket(&self, key: &Key) -> usize {
        let [high, low] = [(key.identification >> 16) as u16, key.identification as u16];
        let protocol = key.protocol.unwrap_or(Protocol::IPV6);
        let first = self.key.client(protocol, key.source, Port(low));
        let second = HashKey(self.key.0 ^ u64::from(first), self.key.1);
        second.client(protocol, key.destination, Port(high)) as usize & (self.buckets.len() - 1)
    }
}

fn age_list(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}
