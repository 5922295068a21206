//! What each scheduler chooses, by example.

use super::*;
use crate::base::ServiceId;
use crate::engine::server::{Tally, Told};
use crate::table::{DestinationKey, ForwardingMethod, Tunnel};

/// A service with destinations A, B, C... in the order they were added.
pub(super) struct Fixture {
    pub destinations: Destinations,
    pub list: ServerList,
    pub scheduler: Scheduler,
    pub flags: ServiceFlags,
    pub settings: Settings,
    pub now: Tick,
}

impl Fixture {
    pub fn new(kind: SchedulerKind, weights: &[u32]) -> Fixture {
        let mut fixture = Fixture {
            destinations: Destinations::default(),
            list: ServerList::default(),
            scheduler: Scheduler::new(kind, 7),
            flags: ServiceFlags::default(),
            settings: Settings::default(),
            now: Tick::ZERO,
        };
        fixture.scheduler.bind(&Pool { destinations: &mut fixture.destinations, list: &fixture.list });
        for &weight in weights {
            fixture.add(weight);
        }
        fixture
    }

    pub fn add(&mut self, weight: u32) -> DestinationId {
        let [high, low] = (self.destinations.iter().count() as u16 + 1).to_be_bytes();
        let octets = [10, 1, high, low];
        let id = self.destinations.insert(Destination {
            key: DestinationKey { address: octets.into(), port: Port(80) },
            family: Family::V4,
            address: Address::v4(octets),
            port: Port(80),
            service: ServiceId(0),
            service_number: 0,
            method: ForwardingMethod::Masquerading,
            tunnel: Tunnel::default(),
            weight,
            last_weight: weight,
            upper_threshold: 0,
            lower_threshold: 0,
            available: true,
            overloaded: false,
            crowd: None,
            active: 0,
            inactive: 0,
            persistent: 0,
            masqueraded: 0,
            references: 0,
            tally: Tally::default(),
            told: Told::default(),
        });
        self.enlist(id);
        id
    }

    fn enlist(&mut self, id: DestinationId) {
        self.list.add(id);
        self.scheduler.added(&Pool { destinations: &mut self.destinations, list: &self.list }, id);
    }

    /// Moves a destination to the trash.
    pub fn remove(&mut self, id: DestinationId) {
        self.scheduler.removed(&Pool { destinations: &mut self.destinations, list: &self.list }, id);
        self.list.remove(id);
        self.of(id).available = false;
    }

    /// Brings one back from the trash.
    pub fn add_again(&mut self, id: DestinationId) {
        self.of(id).available = true;
        self.enlist(id);
    }

    pub fn edit(&mut self, id: DestinationId, weight: u32) {
        let destination = self.of(id);
        destination.weight = weight;
        if weight != 0 {
            destination.last_weight = weight;
        }
        self.scheduler.edited(&Pool { destinations: &mut self.destinations, list: &self.list }, id);
    }

    pub fn of(&mut self, id: DestinationId) -> &mut Destination {
        self.destinations.get_mut(id).unwrap()
    }

    pub fn pick(&mut self, source: [u8; 4], port: u16, destination: [u8; 4]) -> Option<DestinationId> {
        let request = Request {
            family: Family::V4,
            source: Address::v4(source),
            destination: Address::v4(destination),
            source_port: Port(port),
        };
        let mut pool = Pool { destinations: &mut self.destinations, list: &self.list };
        self.scheduler.pick(self.now, &request, self.flags, &self.settings, &mut pool)
    }

    /// The next choices as letters; `-` where there was none.
    pub fn picks(&mut self, count: usize) -> String {
        (0..count).map(|_| letter(self.pick([10, 0, 0, 1], 1000, [10, 9, 9, 9]))).collect()
    }

    pub fn tick(&mut self, now: Tick) {
        self.now = now;
        let mut pool = Pool { destinations: &mut self.destinations, list: &self.list };
        self.scheduler.tick(now, &self.settings, &mut pool);
    }

    pub fn unbind(&mut self) {
        self.scheduler.unbind(&mut Pool { destinations: &mut self.destinations, list: &self.list });
    }
}

pub(super) fn letter(id: Option<DestinationId>) -> char {
    id.map_or('-', |id| char::from(b'A' + id.0 as u8))
}

const A: DestinationId = DestinationId(0);
const B: DestinationId = DestinationId(1);
const C: DestinationId = DestinationId(2);

#[test]
fn kinds_are_kept() {
    for (kind, name) in SchedulerKind::ALL {
        assert_eq!(Scheduler::new(kind, 0).kind(), kind, "{name}");
    }
}

#[test]
fn rr_goes_from_the_newest_to_the_oldest() {
    let mut service = Fixture::new(SchedulerKind::RoundRobin, &[1, 5, 1]);
    assert_eq!(service.picks(7), "CBACBAC");
    // An edit moves nothing; a new destination comes after the round's end.
    service.edit(B, 1);
    service.add(1);
    assert_eq!(service.picks(5), "BADCB");
    // The pointer steps back when its destination goes.
    service.remove(B);
    assert_eq!(service.picks(4), "ADCA");
    service.remove(A);
    service.remove(C);
    assert_eq!(service.picks(2), "DD");
    service.edit(DestinationId(3), 0);
    assert_eq!(service.picks(2), "--");
}

#[test]
fn wrr_begins_at_the_lowest_level_of_a_service_configured_piecemeal() {
    for (weights, picks) in [
        (&[1, 2, 3][..], "CBACCBCBACCBCBA"),
        (&[4, 2, 2], "CBAACBAACBAA"),
        (&[3, 1], "BAAABAAABAAA"),
        (&[2, 4], "BABBABBAB"),
        (&[0, 0], "--"),
        (&[], "-"),
    ] {
        let mut service = Fixture::new(SchedulerKind::WeightedRoundRobin, weights);
        assert_eq!(service.picks(picks.len()), picks, "{weights:?}");
    }
}

#[test]
fn wrr_bound_to_a_complete_list_begins_at_the_highest_level() {
    let mut service = Fixture::new(SchedulerKind::LeastConnection, &[1, 2, 3]);
    service.scheduler = Scheduler::new(SchedulerKind::WeightedRoundRobin, 0);
    service.scheduler.bind(&Pool { destinations: &mut service.destinations, list: &service.list });
    assert_eq!(service.picks(6), "CCBCBA");
}

/// Recorded from Linux 6.1: every server full, one call without an answer, then all free again.
#[test]
fn wrr_goes_on_where_it_was_when_nothing_was_to_be_had() {
    let mut service = Fixture::new(SchedulerKind::WeightedRoundRobin, &[4, 6, 2]);
    let fill = |service: &mut Fixture, count| {
        let mut chosen = String::new();
        for _ in 0..count {
            let id = service.pick([10, 0, 0, 1], 1000, [10, 9, 9, 9]);
            chosen.push(letter(id));
            if let Some(id) = id {
                let destination = service.of(id);
                destination.inactive += 1;
                destination.overloaded = destination.inactive >= if id == B { 2 } else { 3 };
            }
        }
        for id in [A, B, C] {
            service.of(id).inactive = 0;
            service.of(id).overloaded = false;
        }
        chosen
    };
    assert_eq!(fill(&mut service, 9), "CBABACAC-");
    assert_eq!(fill(&mut service, 6), "BABACA");
    assert_eq!(fill(&mut service, 11), "BBACAACC---");
}

#[test]
fn wrr_does_not_count_down_from_a_weight_nobody_has() {
    let mut service = Fixture::new(SchedulerKind::WeightedRoundRobin, &[i32::MAX as u32, 2, 1]);
    assert_eq!(service.picks(5), "CBAAA");
    service.of(A).overloaded = true;
    assert_eq!(service.picks(6), "BCBBCB");
}

#[test]
fn the_least_loaded_is_chosen() {
    let loads = |kind, counts: &[(u32, u32, u32)]| {
        let weights: Vec<u32> = counts.iter().map(|count| count.0).collect();
        let mut service = Fixture::new(kind, &weights);
        for (index, &(_, active, inactive)) in counts.iter().enumerate() {
            let destination = service.of(DestinationId(index as u32));
            (destination.active, destination.inactive) = (active, inactive);
        }
        service.picks(1)
    };
    use SchedulerKind::{
        LeastConnection, NeverQueue, ShortestExpectedDelay, WeightedFailover, WeightedLeastConnection, WeightedOverflow,
    };
    // (weight, active, inactive) of A, B, C; the list is C, B, A.
    assert_eq!(loads(LeastConnection, &[(1, 1, 0), (1, 0, 255), (9, 1, 0)]), "B");
    assert_eq!(loads(LeastConnection, &[(1, 1, 0), (1, 0, 256), (9, 1, 0)]), "C");
    assert_eq!(loads(LeastConnection, &[(1, 5, 0), (0, 0, 0)]), "A");
    assert_eq!(loads(WeightedLeastConnection, &[(3, 3, 0), (1, 1, 0), (2, 2, 0)]), "C");
    assert_eq!(loads(WeightedLeastConnection, &[(3, 2, 255), (1, 1, 0), (2, 2, 0)]), "A");
    assert_eq!(loads(WeightedLeastConnection, &[(i32::MAX as u32, u32::MAX, 0), (1, 3, 0)]), "A");
    assert_eq!(loads(ShortestExpectedDelay, &[(3, 2, 9), (1, 0, 9), (2, 1, 9)]), "C");
    assert_eq!(loads(ShortestExpectedDelay, &[(5, 3, 9), (1, 0, 0), (2, 1, 0)]), "A");
    assert_eq!(loads(NeverQueue, &[(9, 0, 0), (1, 0, 0), (9, 1, 0)]), "B");
    assert_eq!(loads(NeverQueue, &[(9, 1, 0), (0, 0, 0), (1, 1, 0)]), "A");
    assert_eq!(loads(WeightedFailover, &[(9, 99, 0), (9, 0, 0), (1, 0, 0)]), "B");
    assert_eq!(loads(WeightedOverflow, &[(3, 4, 0), (2, 2, 0), (1, 0, 0)]), "B");
    assert_eq!(loads(WeightedOverflow, &[(3, 4, 0), (2, 3, 0), (1, 2, 0)]), "-");
}

#[test]
fn sh_fills_its_buckets_by_weight() {
    // The list is C3 B0 A1, the buckets are C C C B A over and over.
    let mut service = Fixture::new(SchedulerKind::SourceHashing, &[1, 0, 3]);
    let pick = |service: &mut Fixture, source| letter(service.pick(source, 40000, [10, 9, 9, 9]));
    assert_eq!(pick(&mut service, [10, 0, 0, 1]), 'A');
    assert_eq!(pick(&mut service, [10, 0, 0, 2]), 'C');
    assert_eq!(pick(&mut service, [192, 168, 1, 100]), 'A');
    // 10.0.0.1 port 40000 hashes to 203: a bucket of B.
    service.flags = ServiceFlags(ServiceFlags::SCHED_2);
    assert_eq!(pick(&mut service, [10, 0, 0, 1]), '-');
    // On from there: (203 + 203) mod 256 = 150, (203 + 150) mod 256 = 97: C.
    service.flags = ServiceFlags(ServiceFlags::SCHED_2 | ServiceFlags::SCHED_1);
    assert_eq!(pick(&mut service, [10, 0, 0, 1]), 'C');
}

#[test]
fn dh_takes_buckets_in_turn_and_gives_none_for_a_server_at_weight_0() {
    let mut service = Fixture::new(SchedulerKind::DestinationHashing, &[1, 1, 9]);
    let pick = |service: &mut Fixture, address| letter(service.pick([1, 2, 3, 4], 5, address));
    // Buckets 39, 137 and 89 of C B A C B A...
    assert_eq!(pick(&mut service, [10, 0, 0, 1]), 'C');
    assert_eq!(pick(&mut service, [10, 0, 0, 2]), 'A');
    assert_eq!(pick(&mut service, [192, 168, 1, 100]), 'A');
    service.edit(C, 0);
    assert_eq!(pick(&mut service, [10, 0, 0, 1]), '-');
    service.remove(C);
    assert_eq!(pick(&mut service, [10, 0, 0, 1]), 'A');
}

#[test]
fn twos_draws_by_weight_and_takes_the_less_loaded() {
    let count = |loads: [u32; 3]| {
        let mut service = Fixture::new(SchedulerKind::PowerOfTwo, &[1, 2, 0]);
        for (id, active) in [A, B, C].into_iter().zip(loads) {
            service.of(id).active = active;
        }
        let picks = service.picks(16_000);
        ['A', 'B', 'C'].map(|name| picks.matches(name).count())
    };
    // Draws of 0 to 3 by the list B A: three in four are B. Idle, the first draw decides.
    let [a, b, c] = count([0, 0, 0]);
    assert!((3800..4200).contains(&a) && a + b == 16_000 && c == 0, "{a} {b} {c}");
    // With B busier A is taken unless both draws are B: 1 - 9/16.
    let [a, ..] = count([1, 3, 0]);
    assert!((6800..7200).contains(&a), "{a}");
}

#[test]
fn lblc_stays_until_the_server_is_no_good() {
    let mut service = Fixture::new(SchedulerKind::LocalityBasedLeastConnection, &[2, 2]);
    assert_eq!(service.picks(1), "B");
    service.of(B).active = 2;
    service.of(B).overloaded = true;
    assert_eq!(service.picks(1), "B", "an overloaded one is kept");
    assert_eq!(letter(service.pick([10, 0, 0, 1], 1, [10, 9, 9, 8])), 'A');
    service.of(B).active = 3;
    service.of(A).active = 1;
    assert_eq!(service.picks(1), "B", "crowded, but nobody is under half");
    service.of(A).active = 0;
    assert_eq!(service.picks(1), "A");
    assert_eq!((service.of(A).references, service.of(B).references), (2, 0));
    // Back from the trash it has its addresses again; while there, they go elsewhere.
    service.remove(A);
    service.add_again(A);
    assert_eq!(service.picks(1), "A");
    service.remove(A);
    service.of(B).overloaded = false;
    assert_eq!(service.picks(1), "B");
    assert_eq!((service.of(A).references, service.of(B).references), (1, 1));
    service.unbind();
    assert_eq!((service.of(A).references, service.of(B).references), (0, 0));
}

#[test]
fn lblcr_grows_and_shrinks_its_set() {
    let mut service = Fixture::new(SchedulerKind::LocalityBasedLeastConnectionReplicated, &[1, 1, 1]);
    service.settings.lblcr_expiration = 10;
    assert_eq!(service.picks(1), "C");
    service.of(C).active = 2;
    assert_eq!(service.picks(1), "B", "C is crowded, B joins");
    service.of(B).active = 1;
    assert_eq!(service.picks(2), "BB");
    service.now = Tick::from_seconds(10);
    assert_eq!((service.picks(1).as_str(), service.of(C).references), ("B", 1));
    service.now = Tick(10_001);
    assert_eq!((service.picks(1).as_str(), service.of(C).references), ("B", 0));
    // A set of one stays.
    service.now = Tick::from_seconds(100);
    assert_eq!((service.picks(1).as_str(), service.of(B).references), ("B", 1));
    service.unbind();
    assert_eq!(service.of(B).references, 0);
}

#[test]
fn lblc_forgets_an_address_after_the_expiry_time() {
    let mut service = Fixture::new(SchedulerKind::LocalityBasedLeastConnection, &[1]);
    service.settings.lblc_expiration = 600;
    service.tick(Tick::ZERO);
    assert_eq!(service.picks(1), "A");
    // Looked at every thirtieth minute only.
    service.tick(Tick::from_seconds(29 * 60));
    assert_eq!(service.of(A).references, 1);
    service.tick(Tick::from_seconds(30 * 60));
    assert_eq!(service.of(A).references, 0);
}
