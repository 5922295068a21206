//! mh: Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4): the client's address decides, with
//! `mh-port` also its port, and few clients move when destinations come and go.
//!
//! A table of a prime number of slots is filled by the destinations in turn, each taking its next free
//! slot on a walk of its own through the table; the walk follows from a hash of the destination's
//! address and port. Heavier destinations take more slots a turn. What counts is the last weight that
//! was not 0: draining a destination leaves the table alone, and its clients find no destination unless
//! `mh-fallback` makes them try other slots.
//!
//! The keys of the hash are fixed, so every director with the same destinations, added in the same
//! order, chooses alike: ours and a 64-bit kernel's too.
//!
//! The table depends on the list and the weights as they are after the last change, so it is filled at
//! the first choice after it. With more destinations than slots the oldest of them fill the table; the
//! kernel leaves it then as it was.

use siphasher::sip::SipHasher13;

use super::{Pool, Request, wrr::common_divisor};
use crate::base::{Address, DestinationId, Family};
use crate::engine::server::Destination;
use crate::table::ServiceFlags;

/// The table's size: the kernel's default.
const SLOTS: u32 = 4093;
/// Weights are shifted until the largest, divided by what all have in common, has this many bits.
const WEIGHT_BITS: u32 = 6;
/// The key, in both halves, of the hash that clients and the starts of walks are found with.
const KEY_PLACE: u64 = 2_654_435_761;
/// The same for the lengths of the steps of walks.
const KEY_STEP: u64 = 2_654_446_892;

#[derive(Debug, Default)]
pub struct State {
    /// Empty where no destination ever had a weight.
    slots: Vec<DestinationId>,
    stale: bool,
}

impl State {
    pub fn changed(&mut self) {
        self.stale = true;
    }

    pub fn pick(&mut self, request: &Request, flags: ServiceFlags, pool: &Pool<'_>) -> Option<DestinationId> {
        if self.stale {
            self.stale = false;
            self.slots = fill(request.family, pool);
        }
        let port = if flags.has(ServiceFlags::SCHED_2) { u32::from(request.source_port.0) } else { 0 };
        let client = request.source.fold().wrapping_add(port);
        let own = hash(KEY_PLACE, client) % SLOTS;
        let usable = |slot: u32| {
            let id = *self.slots.get(slot as usize)?;
            pool.is_usable(id).then_some(id)
        };
        let first = usable(own);
        if first.is_some() || self.slots.is_empty() || !flags.has(ServiceFlags::SCHED_1) {
            return first;
        }
        (0..SLOTS).find_map(|offset| usable(hash(KEY_PLACE, client.wrapping_add((offset + own) % SLOTS)) % SLOTS))
    }
}

/// A destination's walk through the table.
struct Walk {
    id: DestinationId,
    slot: u32,
    step: u32,
    /// How many slots it takes at a time.
    turns: u32,
}

impl Walk {
    fn new(family: Family, id: DestinationId, destination: &Destination, turns: u32) -> Walk {
        let place = fold(family, destination.address).wrapping_add(u32::from(destination.port.0));
        Walk { id, slot: hash(KEY_PLACE, place) % SLOTS, step: hash(KEY_STEP, place) % (SLOTS - 1) + 1, turns }
    }

    /// The next free slot on the way. There must be one: as the table's size is prime, the walk comes
    /// by every slot.
    fn next_free(&mut self, taken: &[bool]) -> usize {
        while taken[self.slot as usize] {
            self.slot += self.step;
            if self.slot >= SLOTS {
                self.slot -= SLOTS;
            }
        }
        self.slot as usize
    }
}

fn fill(family: Family, pool: &Pool<'_>) -> Vec<DestinationId> {
    let surplus = pool.list.len().saturating_sub(SLOTS as usize);
    let members = || pool.iter().skip(surplus).filter(|(_, destination)| destination.last_weight > 0);
    let divisor = members().fold(0, |divisor, (_, destination)| common_divisor(divisor, destination.last_weight));
    let Some(largest) = members().map(|(_, destination)| destination.last_weight / divisor).max() else {
        return Vec::new();
    };
    let shift = (u32::BITS - largest.leading_zeros()).saturating_sub(WEIGHT_BITS);
    let mut walks: Vec<Walk> = members()
        .map(|(id, destination)| {
            Walk::new(family, id, destination, ((destination.last_weight / divisor) >> shift).max(1))
        })
        .collect();

    // There is a largest weight, hence a first walk; every slot is written below.
    let mut slots = vec![walks[0].id; SLOTS as usize];
    let mut taken = vec![false; SLOTS as usize];
    let mut free = SLOTS;
    while free > 0 {
        for walk in &mut walks {
            for _ in 0..walk.turns.min(free) {
                let slot = walk.next_free(&taken);
                taken[slot] = true;
                slots[slot] = walk.id;
                free -= 1;
            }
        }
    }
    slots
}

/// Folds a destination's address as the service's family has it: an IPv4 service sees the first word
/// only of an IPv6 destination (behind a tunnel).
fn fold(family: Family, address: Address) -> u32 {
    match family {
        Family::V4 => address.words()[0],
        Family::V6 => address.fold(),
    }
}

fn hash(key: u64, value: u32) -> u32 {
    SipHasher13::new_with_keys(key, key).hash(&value.to_le_bytes()) as u32
}

#[cfg(test)]
mod tests {
    use super::super::Scheduler;
    use super::super::tests::{Fixture, letter};
    use super::*;
    use crate::table::SchedulerKind;

    #[test]
    fn the_hash_is_the_kernels() {
        let client = |octets| Address::v4(octets).fold();
        assert_eq!(hash(KEY_PLACE, client([10, 0, 0, 1])), 0x0308_0ce4);
        assert_eq!(hash(KEY_PLACE, client([192, 168, 1, 100])), 0xc15d_2cf8);
        assert_eq!(hash(KEY_PLACE, client([10, 0, 0, 1]) + 40000), 0xf458_b244);
    }

    #[test]
    fn walks_are_the_kernels() {
        let mut service = Fixture::new(SchedulerKind::MaglevHashing, &[1, 1, 1]);
        let walks = [0, 1, 2].map(|id| {
            let id = DestinationId(id);
            let walk = Walk::new(Family::V4, id, service.of(id), 1);
            (walk.slot, walk.step)
        });
        assert_eq!(walks, [(310, 1461), (2769, 572), (2424, 45)]);
    }

    fn slots_and_choices(weights: &[u32]) -> (Vec<usize>, String) {
        let mut service = Fixture::new(SchedulerKind::MaglevHashing, weights);
        let clients = [[10, 0, 0, 1], [192, 168, 1, 100], [10, 0, 0, 77]];
        let choices = clients.map(|client| letter(service.pick(client, 0, [0; 4]))).iter().collect();
        let Scheduler::MaglevHashing(state) = &service.scheduler else { unreachable!("made as such") };
        let count = |id| state.slots.iter().filter(|&&slot| slot == DestinationId(id)).count();
        ((0..weights.len() as u32).map(count).collect(), choices)
    }

    #[test]
    fn the_table_is_the_kernels() {
        assert_eq!(slots_and_choices(&[1, 1, 1]), (vec![1364, 1364, 1365], "ABC".into()));
        assert_eq!(slots_and_choices(&[10, 20, 30]), (vec![682, 1364, 2047], "CCC".into()));
        // Added at weight 0: not in the table. Weights beyond 6 bits lose their low bits.
        assert_eq!(slots_and_choices(&[1, 0, 0]).0, [4093, 0, 0]);
        assert_eq!(slots_and_choices(&[1, 64 * 1024]).0, [4093 / 33, 4093 - 4093 / 33]);
        assert_eq!(slots_and_choices(&[0]), (vec![0], "---".into()));
        assert_eq!(slots_and_choices(&[]), (vec![], "---".into()));
    }

    #[test]
    fn draining_a_destination_leaves_the_others_clients_alone() {
        let mut service = Fixture::new(SchedulerKind::MaglevHashing, &[1, 1, 1]);
        let all = |service: &mut Fixture| -> String {
            (0..=255).map(|last| letter(service.pick([10, 0, 0, last], 0, [0; 4]))).collect()
        };
        let before = all(&mut service);
        service.edit(DestinationId(1), 0);
        assert_eq!(all(&mut service), before.replace('B', "-"));
        service.flags = ServiceFlags(ServiceFlags::SCHED_1);
        let fallen_back = all(&mut service);
        assert!(!fallen_back.contains(['B', '-']));
        assert!(before.chars().zip(fallen_back.chars()).all(|(before, after)| before == 'B' || before == after));
    }

    /// Recorded from Linux 6.1: fd01::11, fd01::12 and fd01::13 behind tunnels of an IPv4 service, where
    /// all three walk alike, and clients 198.51.100.1 to 18.
    #[test]
    fn an_ipv4_service_sees_the_first_word_of_an_ipv6_destination() {
        let mut service = Fixture::new(SchedulerKind::MaglevHashing, &[1, 1, 1]);
        for id in [0, 1, 2] {
            let mut octets = [0; 16];
            (octets[0], octets[1], octets[15]) = (0xfd, 0x01, 0x11 + id as u8);
            service.of(DestinationId(id)).address = Address::v6(octets);
        }
        let choices: String = (1..=18).map(|last| letter(service.pick([198, 51, 100, last], 0, [0; 4]))).collect();
        assert_eq!(choices, "CABCBACABAABBACBAC");
    }

    #[test]
    fn more_destinations_than_slots_are_no_trouble() {
        let mut service = Fixture::new(SchedulerKind::MaglevHashing, &[1; SLOTS as usize + 7]);
        assert!(service.pick([10, 0, 0, 1], 0, [0; 4]).is_some_and(|id| id.0 < SLOTS));
    }
}
