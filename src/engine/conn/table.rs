//! The table itself: a slab of entries, hash chains through them, and the timer wheel.
//!
//! Memory for the largest number of connections is reserved at the start (the machine hands out
//! pages only as they are touched), so that no packet ever waits for an allocation or a rehash.

use std::hint::black_box;
use std::ops::Range;

use crate::base::hash::HashKey;
use crate::base::{Address, ConnectionId, Family, Port, Protocol, Tick};
use crate::table::ForwardingMethod;

use super::entry::{ConnFlags, Connection, Sent, TupleKey};
use super::timer::{Budget, TimerWheel};

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

/// The table holds as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection table is full")]
pub struct TableFull;

/// A chain that will be needed soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain(u32);

/// What is left to do when an entry has gone: its destination and controller are told.
#[derive(Clone, Debug)]
pub struct Removed {
    pub connection: Connection,
}

#[derive(Debug)]
pub struct ConnectionTable {
    entries: Vec<Connection>,
    /// The first free place below the end, which leads to the others: nothing is allocated as
    /// connections go.
    free: u32,
    /// The first entry of each chain, counted from one: zeroed memory, which the machine hands out
    /// as it is touched, is a table of empty chains.
    heads: Box<[u32]>,
    mask: u32,
    key: HashKey,
    timers: TimerWheel,
    maximum: usize,
    count: usize,
    /// Entries whose client port is not known yet; while there are none, one lookup suffices.
    without_client_port: usize,
}

impl ConnectionTable {
    /// A table for at most `maximum` connections (at least one).
    pub fn new(maximum: usize, key: HashKey) -> ConnectionTable {
        let maximum = maximum.clamp(1, NONE as usize - 1);
        let buckets = maximum.next_power_of_two();
        ConnectionTable {
            entries: Vec::with_capacity(maximum),
            free: NONE,
            heads: vec![0; buckets].into_boxed_slice(),
            mask: buckets as u32 - 1,
            key,
            timers: TimerWheel::new(),
            maximum,
            count: 0,
            without_client_port: 0,
        }
    }

    /// Bytes that one connection takes at the most, its share of the hash table included.
    pub const BYTES_PER_CONNECTION: usize = size_of::<Connection>() + 2 * size_of::<u32>();

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn maximum(&self) -> usize {
        self.maximum
    }

    #[inline]
    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.entries.get(id.index()).filter(|entry| entry.in_use)
    }

    #[inline]
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.entries.get_mut(id.index()).filter(|entry| entry.in_use)
    }

    /// Where the table lies in memory: places for entries, and chains.
    pub fn memory(&self) -> [Range<usize>; 2] {
        let range = |start: usize, length: usize| start..start + length;
        [
            range(self.entries.as_ptr() as usize, self.entries.capacity() * size_of::<Connection>()),
            range(self.heads.as_ptr() as usize, size_of_val(&*self.heads)),
        ]
    }

    /// How many bytes of the places for entries have ever been used; they are used from the front.
    #[inline]
    pub fn used(&self) -> usize {
        self.entries.len() * size_of::<Connection>()
    }

    /// The chain that packets of this client are looked for in.
    #[inline]
    pub fn chain_of(&self, protocol: Protocol, client: Address, port: Port) -> Chain {
        Chain(self.bucket(protocol, client, port) as u32)
    }

    /// Reads the heads of some chains, their newest entries, and those that come next where the newest
    /// is not of the client's port that is looked for, so that they are in the cache when they are
    /// needed. The reads of each pass do not depend on each other: the memory works on many at once.
    #[inline]
    pub fn fetch(&self, wanted: impl Iterator<Item = (Chain, Port)> + Clone) {
        // One field of each cache line.
        let lines = |entry: &Connection| entry.next ^ entry.timeout;
        let newest = |chain: Chain| self.entries.get(self.head(chain.0 as usize) as usize);
        black_box(wanted.clone().fold(0, |read, (chain, _)| read ^ self.head(chain.0 as usize)));
        black_box(wanted.clone().fold(0, |read, (chain, _)| read ^ newest(chain).map_or(0, lines)));
        black_box(wanted.fold(0, |read, (chain, port)| {
            let other = newest(chain).filter(|entry| entry.client_port != port);
            read ^ other.and_then(|entry| self.entries.get(entry.next as usize)).map_or(0, lines)
        }));
    }

    /// Finds the connection a client's packet belongs to.
    #[inline]
    pub fn find(&self, key: &TupleKey) -> Option<ConnectionId> {
        let found = self.find_with_port(key);
        if found.is_none() && self.without_client_port > 0 { self.find_open(key) } else { found }
    }

    /// Finds a connection of the client whose port is not known yet.
    fn find_open(&self, key: &TupleKey) -> Option<ConnectionId> {
        let wanted = TupleKey { client_port: Port::ANY, ..*key };
        self.apart(key.protocol, key.client).find(|&id| {
            let entry = &self.entries[id.index()];
            entry.flags.has(ConnFlags::NO_CLIENT_PORT) && !entry.is_template() && entry.key() == wanted
        })
    }

    /// The chain of what is looked for without a client's port: templates, and connections whose
    /// client's port is not known yet. It is not that of port 0, which clients choose: each datagram
    /// from there is a connection of its own, and there may be any number of them.
    fn apart(&self, protocol: Protocol, client: Address) -> impl Iterator<Item = ConnectionId> + '_ {
        self.chain(self.bucket_apart(protocol, client))
    }

    fn find_with_port(&self, key: &TupleKey) -> Option<ConnectionId> {
        let chain = self.chain_of(key.protocol, key.client, key.client_port);
        let (client, virtual_end) = ((key.client, key.client_port), (key.virtual_address, key.virtual_port));
        let (id, _) = match key.family {
            Family::V4 => self.find_in(chain, Family::V4, key.protocol, client, virtual_end),
            Family::V6 => self.find_in(chain, Family::V6, key.protocol, client, virtual_end),
        }?;
        Some(id)
    }

    /// As [`ConnectionTable::find`] in the chain that it would look into, without connections whose
    /// client's port is not known yet. A request from port 0 belongs to no other, as with the kernel.
    #[inline(always)]
    pub fn find_in(
        &self,
        chain: Chain,
        family: Family,
        protocol: Protocol,
        client: (Address, Port),
        virtual_end: (Address, Port),
    ) -> Option<(ConnectionId, &Connection)> {
        if client.1.is_any() {
            return None;
        }
        let mut id = self.head(chain.0 as usize);
        // There is no entry at the place that is none.
        while let Some(entry) = self.entries.get(id as usize) {
            if entry.client_port == client.1
                && entry.client.is_same(client.0, family)
                && entry.virtual_address.is_same(virtual_end.0, family)
                && entry.virtual_port == virtual_end.1
                && entry.protocol == protocol
                && entry.family == family
                && entry.flags.0 & (ConnFlags::NO_CLIENT_PORT | ConnFlags::TEMPLATE) == 0
            {
                return Some((ConnectionId(id), entry));
            }
            id = entry.next;
        }
        None
    }

    /// Finds a persistence template. `wanted` has the last word (a SIP template must carry the
    /// same Call-ID).
    pub fn find_template(&self, key: &TupleKey, wanted: impl Fn(ConnectionId) -> bool) -> Option<ConnectionId> {
        self.apart(key.protocol, key.client).find(|&id| {
            let entry = &self.entries[id.index()];
            entry.is_template() && entry.key() == *key && wanted(id)
        })
    }

    /// Finds the connection that a packet of a real server belongs to: `source` is the server's
    /// end (or the virtual one, where the server answers in the VIP's name), `client` the other.
    pub fn find_reply(
        &self,
        family: Family,
        protocol: Protocol,
        source: (Address, Port),
        client: (Address, Port),
    ) -> Option<ConnectionId> {
        let found = self.find_reply_in(self.chain_of(protocol, client.0, client.1), family, protocol, source, client);
        let (id, _) = match found {
            // One whose client's port is not known yet, as announcements have it.
            None if client.1.is_any() && self.without_client_port > 0 => self.find_reply_in(
                Chain(self.bucket_apart(protocol, client.0) as u32),
                family,
                protocol,
                source,
                client,
            )?,
            found => found?,
        };
        Some(id)
    }

    /// As [`ConnectionTable::find_reply`] in the chain that it would look into.
    #[inline(always)]
    pub fn find_reply_in(
        &self,
        chain: Chain,
        family: Family,
        protocol: Protocol,
        source: (Address, Port),
        client: (Address, Port),
    ) -> Option<(ConnectionId, &Connection)> {
        let mut id = self.head(chain.0 as usize);
        while let Some(entry) = self.entries.get(id as usize) {
            if entry.client_port == client.1
                && entry.client.is_same(client.0, family)
                && entry.protocol == protocol
                && entry.family == family
                && !entry.is_template()
            {
                let own_end = match entry.flags.method() {
                    ForwardingMethod::Masquerading => (entry.destination_address, entry.destination_port),
                    _ => (entry.virtual_address, entry.virtual_port),
                };
                if own_end == source {
                    return Some((ConnectionId(id), entry));
                }
            }
            id = entry.next;
        }
        None
    }

    /// Adds a connection and starts its timer. A one-packet connection is not hashed: no
    /// packet ever finds it.
    ///
    /// # Errors
    /// [`TableFull`] at the limit.
    pub fn insert(&mut self, now: Tick, mut connection: Connection) -> Result<ConnectionId, TableFull> {
        connection.expires = now + u64::from(connection.timeout) * 1000;
        connection.sent = Sent::new(0, now, 0);
        let id = match self.free {
            id if id != NONE => {
                self.free = self.entries[id as usize].next;
                self.entries[id as usize] = connection;
                ConnectionId(id)
            }
            _ if self.entries.len() < self.maximum => {
                self.entries.push(connection);
                // At most `maximum` entries, which fits.
                ConnectionId(self.entries.len() as u32 - 1)
            }
            _ => return Err(TableFull),
        };
        self.count += 1;
        if !self.entries[id.index()].flags.has(ConnFlags::ONE_PACKET) {
            self.hash(id);
        }
        self.timers.arm(&mut self.entries, id);
        Ok(id)
    }

    /// Sets the expiry `timeout` seconds from `now`.
    #[inline(always)]
    pub fn rearm(&mut self, now: Tick, id: ConnectionId) {
        let entry = &mut self.entries[id.index()];
        entry.expires = now + u64::from(entry.timeout) * 1000;
        self.timers.arm(&mut self.entries, id);
    }

    /// Sets the expiry to a moment of the caller's choice.
    pub fn expire_at(&mut self, id: ConnectionId, moment: Tick) {
        self.entries[id.index()].expires = moment;
        self.timers.arm(&mut self.entries, id);
    }

    /// Makes a connection's timer fire at the next occasion.
    pub fn expire_soon(&mut self, id: ConnectionId) {
        self.timers.arm_due(&mut self.entries, id);
    }

    /// The next connection whose time has come; `None` when there is no other, or the budget is
    /// spent. It is still in the table; the caller removes it or gives it a new expiry.
    pub fn pop_due(&mut self, now: Tick, budget: &mut Budget) -> Option<ConnectionId> {
        self.timers.pop_due(&mut self.entries, now, budget)
    }

    /// Takes a connection out.
    pub fn remove(&mut self, id: ConnectionId) -> Option<Removed> {
        self.get(id)?;
        self.timers.disarm(&mut self.entries, id);
        self.unhash(id);
        let entry = &mut self.entries[id.index()];
        entry.in_use = false;
        let connection = entry.clone();
        entry.next = std::mem::replace(&mut self.free, id.0);
        if connection.flags.has(ConnFlags::NO_CLIENT_PORT) {
            self.without_client_port -= 1;
        }
        self.count -= 1;
        Some(Removed { connection })
    }

    /// Changes the fields a connection is found by.
    pub fn rehash(&mut self, id: ConnectionId, change: impl FnOnce(&mut Connection)) {
        self.unhash(id);
        let entry = &mut self.entries[id.index()];
        if entry.flags.has(ConnFlags::NO_CLIENT_PORT) {
            self.without_client_port -= 1;
        }
        change(entry);
        self.hash(id);
    }

    /// Every entry.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.iter_within(0..self.entries.len())
    }

    /// The entries of these places. Nothing else is looked at, however many of them are free.
    pub fn iter_within(&self, places: Range<usize>) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        let end = places.end.min(self.entries.len());
        let start = places.start.min(end);
        (start..end)
            .zip(&self.entries[start..end])
            .filter(|(_, entry)| entry.in_use)
            .map(|(index, entry)| (ConnectionId(index as u32), entry))
    }

    /// How many hash chains there are.
    pub fn chains(&self) -> usize {
        self.heads.len()
    }

    /// The entries of a hash chain, newest first.
    pub fn chain(&self, number: usize) -> impl Iterator<Item = ConnectionId> + '_ {
        let some = |id: u32| (id != NONE).then_some(id);
        let head = self.heads.get(number).and_then(|head| some(head.wrapping_sub(1)));
        std::iter::successors(head, move |&id| some(self.entries[id as usize].next)).map(ConnectionId)
    }

    /// How many places there are, used or free: a cursor at or beyond this is at the end.
    pub fn places(&self) -> usize {
        self.entries.len()
    }

    /// The newest entry of a chain, or [`NONE`].
    #[inline]
    fn head(&self, bucket: usize) -> u32 {
        self.heads[bucket].wrapping_sub(1)
    }

    #[inline]
    fn bucket(&self, protocol: Protocol, client: Address, port: Port) -> usize {
        (self.key.client(protocol, client, port) & self.mask) as usize
    }

    fn bucket_apart(&self, protocol: Protocol, client: Address) -> usize {
        // No protocol that is balanced is another's complement.
        self.bucket(Protocol(!protocol.0), client, Port::ANY)
    }

    fn bucket_of(&self, entry: &Connection) -> usize {
        match entry.flags.has(ConnFlags::NO_CLIENT_PORT | ConnFlags::TEMPLATE) {
            true => self.bucket_apart(entry.protocol, entry.client),
            false => self.bucket(entry.protocol, entry.client, entry.client_port),
        }
    }

    fn hash(&mut self, id: ConnectionId) {
        let bucket = self.bucket_of(&self.entries[id.index()]);
        let after = std::mem::replace(&mut self.heads[bucket], id.0 + 1).wrapping_sub(1);
        if let Some(after) = self.entries.get_mut(after as usize) {
            after.previous = id.0;
        }
        let entry = &mut self.entries[id.index()];
        (entry.previous, entry.next) = (NONE, after);
        entry.hashed = true;
        if entry.flags.has(ConnFlags::NO_CLIENT_PORT) {
            self.without_client_port += 1;
        }
    }

    /// Takes an entry out of its chain, however long that is.
    fn unhash(&mut self, id: ConnectionId) {
        let entry = &self.entries[id.index()];
        if !entry.hashed {
            return;
        }
        let (before, after) = (entry.previous, entry.next);
        match before {
            NONE => {
                let bucket = self.bucket_of(entry);
                self.heads[bucket] = after.wrapping_add(1);
            }
            before => self.entries[before as usize].next = after,
        }
        if let Some(after) = self.entries.get_mut(after as usize) {
            after.previous = before;
        }
        let entry = &mut self.entries[id.index()];
        entry.hashed = false;
        (entry.previous, entry.next) = (NONE, NONE);
    }

    /// Checks that counts, chains and timers agree; for tests.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        let used = self.entries.iter().filter(|entry| entry.in_use).count();
        assert_eq!(used, self.count, "entries in use and the count");
        let mut chained = 0;
        for (bucket, &head) in self.heads.iter().enumerate() {
            let (mut before, mut id) = (NONE, head.wrapping_sub(1));
            while id != NONE {
                let entry = &self.entries[id as usize];
                assert!(entry.in_use && entry.hashed, "a chain holds a live entry");
                assert_eq!(entry.previous, before, "a chain leads back as it leads on");
                assert_eq!(self.bucket_of(entry), bucket, "in its own chain");
                chained += 1;
                (before, id) = (id, entry.next);
            }
        }
        let hashed = self.entries.iter().filter(|entry| entry.in_use && entry.hashed).count();
        assert_eq!(chained, hashed, "every hashed entry is in a chain");
        let open =
            self.entries.iter().filter(|entry| entry.in_use && entry.flags.has(ConnFlags::NO_CLIENT_PORT)).count();
        assert_eq!(open, self.without_client_port, "entries without client port");
        self.timers.check_invariants(&self.entries);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn connection(port: u16, timeout: u32) -> Connection {
        let key = TupleKey {
            family: Family::V4,
            protocol: Protocol::TCP,
            client: Address::v4([10, 0, 0, 2]),
            client_port: Port(port),
            virtual_address: Address::v4([10, 9, 9, 9]),
            virtual_port: Port(80),
        };
        let server = Address::v4([172, 16, 0, 11]);
        let mut connection = Connection::new(key, None, Family::V4, server, Port(8080), ConnFlags(0), 0);
        connection.timeout = timeout;
        connection
    }

    #[test]
    fn both_directions_find_the_same_entry_and_the_newest_wins() {
        let mut table = ConnectionTable::new(16, HashKey(1, 2));
        let old = table.insert(Tick(0), connection(40000, 60)).unwrap();
        let key = connection(40000, 0).key();
        assert_eq!(table.find(&key), Some(old));
        let new = table.insert(Tick(0), connection(40000, 60)).unwrap();
        assert_eq!(table.find(&key), Some(new));
        let server = (Address::v4([172, 16, 0, 11]), Port(8080));
        let client = (key.client, key.client_port);
        assert_eq!(table.find_reply(Family::V4, Protocol::TCP, server, client), Some(new));
        table.remove(new).unwrap();
        assert_eq!(table.find_reply(Family::V4, Protocol::TCP, server, client), Some(old));
        table.check_invariants();
    }

    /// Whoever sends from port 0 makes an entry with each datagram, all of one chain: neither its length nor how
    /// many of them end makes anything slow.
    #[test]
    fn a_chain_of_any_length_is_not_walked() {
        const MANY: usize = 300_000;
        let mut table = ConnectionTable::new(MANY + 2, HashKey(1, 2));
        let flagged = |flags| Connection { flags: ConnFlags(flags), ..connection(0, 60) };
        let template = table.insert(Tick(0), flagged(ConnFlags::TEMPLATE)).unwrap();
        let ids: Vec<ConnectionId> = (0..MANY).map(|_| table.insert(Tick(0), connection(0, 60)).unwrap()).collect();
        let (key, from_port) = (connection(0, 0).key(), connection(40000, 0).key());
        for _ in 0..MANY {
            assert_eq!(table.find(&key), None);
            assert_eq!(table.find_template(&key, |_| true), Some(template));
        }
        let open = table.insert(Tick(0), flagged(ConnFlags::NO_CLIENT_PORT)).unwrap();
        for _ in 0..MANY {
            assert_eq!((table.find(&key), table.find(&from_port)), (Some(open), Some(open)));
        }
        // The newest is what an answer to port 0 finds.
        let server = (Address::v4([172, 16, 0, 11]), Port(8080));
        let reply =
            |table: &ConnectionTable| table.find_reply(Family::V4, Protocol::TCP, server, (key.client, Port::ANY));
        assert_eq!(reply(&table), ids.last().copied());
        // The oldest end first, which stand last.
        for &id in &ids[..MANY - 1] {
            table.remove(id).unwrap();
        }
        assert_eq!(reply(&table), ids.last().copied());
        // What is announced is found by what its server would send there, so that it is not announced twice.
        table.remove(ids[MANY - 1]).unwrap();
        assert_eq!(reply(&table), Some(open));
        table.rehash(open, |entry| {
            entry.client_port = Port(40000);
            entry.flags.clear(ConnFlags::NO_CLIENT_PORT);
        });
        assert_eq!((table.find(&key), table.find(&from_port)), (None, Some(open)));
        table.check_invariants();
    }

    #[test]
    fn pages_hold_the_entries_of_their_places_alone() {
        let mut table = ConnectionTable::new(64, HashKey(1, 2));
        let ids: Vec<ConnectionId> = (0..64).map(|port| table.insert(Tick(0), connection(port, 60)).unwrap()).collect();
        // A hole of several pages, and one entry behind it.
        for id in ids.iter().filter(|id| (8..63).contains(&id.index())) {
            table.remove(*id).unwrap();
        }
        let page =
            |from: usize, to: usize| -> Vec<usize> { table.iter_within(from..to).map(|(id, _)| id.index()).collect() };
        assert_eq!(page(0, 4), [0, 1, 2, 3]);
        assert_eq!(page(6, 12), [6, 7]);
        assert!(page(12, 60).is_empty());
        assert_eq!(page(60, 64), [63]);
        assert_eq!(page(60, usize::MAX), [63]);
        assert!(page(64, 128).is_empty() && page(500, 600).is_empty());
    }

    #[test]
    fn the_limit_is_an_error_and_room_comes_back() {
        let mut table = ConnectionTable::new(2, HashKey(1, 2));
        let first = table.insert(Tick(0), connection(1, 60)).unwrap();
        table.insert(Tick(0), connection(2, 60)).unwrap();
        assert_eq!(table.insert(Tick(0), connection(3, 60)), Err(TableFull));
        table.remove(first);
        assert!(table.insert(Tick(0), connection(3, 60)).is_ok());
    }

    #[test]
    fn an_expiry_that_is_brought_forward_counts_after_years_too() {
        const YEARS: Tick = Tick(4 * 366 * 86_400_000);
        for start in [Tick(0), YEARS] {
            let mut table = ConnectionTable::new(2, HashKey(1, 2));
            table.timers.skip_to(start);
            let id = table.insert(start, connection(1, 900)).unwrap();
            table.get_mut(id).unwrap().timeout = 10;
            table.rearm(start, id);
            assert_eq!(table.pop_due(start + 9_000, &mut PLENTY.clone()), None);
            assert_eq!(table.pop_due(start + 10_100, &mut PLENTY.clone()), Some(id), "{start:?}");
        }
    }

    proptest! {
        /// A shadow model of expiry: a connection is due once its time has come, never before,
        /// whatever was re-armed in between, however far the clock jumps, and however little is
        /// done at a time.
        #[test]
        fn timers_fire_when_due(
            steps in proptest::collection::vec((0u16..50, 1u32..5000, 0u64..400_000), 1..200),
            portion in prop_oneof![1usize..4, Just(usize::MAX)],
        ) {
            let mut table = ConnectionTable::new(64, HashKey(5, 6));
            let mut model: HashMap<u32, u64> = HashMap::new();
            let mut now = Tick(0);
            for (port, timeout, jump) in steps {
                let key = connection(port, 0).key();
                match table.find(&key) {
                    Some(id) => {
                        table.get_mut(id).unwrap().timeout = timeout;
                        table.rearm(now, id);
                        model.insert(id.0, now.0 + u64::from(timeout) * 1000);
                    }
                    None => {
                        let id = table.insert(now, connection(port, timeout)).unwrap();
                        model.insert(id.0, now.0 + u64::from(timeout) * 1000);
                    }
                }
                now = now + jump;
                loop {
                    let mut budget = Budget(portion);
                    while let Some(id) = table.pop_due(now, &mut budget) {
                        let due = model.remove(&id.0);
                        prop_assert!(due.is_some_and(|due| due <= now.0), "fired early: {due:?} at {now:?}");
                        table.remove(id);
                    }
                    table.check_invariants();
                    if !budget.is_spent() {
                        break;
                    }
                }
                let late = model.values().filter(|&&due| due + SLACK <= now.0).count();
                prop_assert_eq!(late, 0, "connections past their time");
                prop_assert_eq!(table.len(), model.len());
                table.check_invariants();
            }
        }
    }

    /// Connections may stay this many milliseconds beyond their time (one slot of the wheel).
    const SLACK: u64 = 17;

    const PLENTY: Budget = Budget(usize::MAX);

    /// Many connections with the same timeout: the wheel has spread them when their time comes,
    /// and nobody waits for more than a portion of it.
    #[test]
    fn many_that_expire_together_are_on_time_and_in_portions() {
        const MANY: usize = 100_000;
        const PORTION: usize = 64;
        // Beyond a slot of each level: seconds, minutes, days.
        for timeout in [3, 900, 3 * 86_400, 30 * 86_400] {
            let mut table = ConnectionTable::new(MANY, HashKey(1, 2));
            for number in 0..MANY {
                table.insert(Tick(0), connection(number as u16, timeout)).unwrap();
            }
            let due = Tick(u64::from(timeout) * 1000);
            // The loop looks in now and then; the next block of each level is spread long before.
            for step in 1..=2048 {
                let now = Tick(due.0 * step / 2049);
                loop {
                    let mut budget = Budget(PORTION);
                    assert_eq!(table.pop_due(now, &mut budget), None, "{timeout}: early");
                    if !budget.is_spent() {
                        break;
                    }
                }
            }
            let (mut calls, mut gone) = (0, 0);
            let now = due + 16;
            while !table.is_empty() {
                let mut budget = Budget(PORTION);
                calls += 1;
                while let Some(id) = table.pop_due(now, &mut budget) {
                    gone += 1;
                    table.remove(id);
                }
            }
            assert_eq!(gone, MANY);
            let least = MANY.div_ceil(PORTION);
            assert!((least..=3 * least).contains(&calls), "{timeout}: {calls} calls for {MANY}");
        }
    }
}
