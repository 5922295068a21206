//! The neighbour machine, told the time.

use super::*;

const LINK: LinkId = LinkId(0);
const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

fn peer() -> IpAddr {
    "10.0.0.9".parse().unwrap()
}

fn learned(mac: Mac, evidence: Evidence) -> Learned {
    Learned { address: peer(), mac, evidence }
}

fn event(state: KernelState) -> NeighbourEvent {
    NeighbourEvent { link: LINK, address: peer(), state }
}

fn questions(table: &mut Neighbours, now: u64) -> Vec<Option<Mac>> {
    std::iter::from_fn(|| table.next_question(Tick(now))).map(|question| question.to).collect()
}

fn outcomes(table: &mut Neighbours) -> Vec<Outcome> {
    std::iter::from_fn(|| table.next_outcome()).collect()
}

fn resolve(table: &mut Neighbours, now: u64) -> Resolution {
    table.resolve(LINK, peer(), Tick(now))
}

#[test]
fn three_questions_a_second_apart_then_failed_for_a_while() {
    let mut table = Neighbours::new(8);
    assert_eq!(resolve(&mut table, 0), Resolution::Wait);
    assert_eq!(questions(&mut table, 0), [None]);
    assert_eq!(resolve(&mut table, 10), Resolution::Wait);
    assert_eq!(questions(&mut table, 999), []);
    assert_eq!(table.next_deadline(), Some(Tick(1000)));
    assert_eq!(questions(&mut table, 1000), [None]);
    assert_eq!(questions(&mut table, 2000), [None]);
    assert_eq!(outcomes(&mut table), []);
    assert_eq!(questions(&mut table, 3000), []);
    assert_eq!(outcomes(&mut table), [Outcome::Failed { link: LINK, address: peer() }]);
    assert_eq!(resolve(&mut table, 5999), Resolution::Failed);
    assert_eq!(resolve(&mut table, 6000), Resolution::Wait);
    assert_eq!(questions(&mut table, 6000), [None]);
    assert_eq!(table.counters(), NeighbourCounters { questions: 4, failures: 1, table_full: 0 });
}

#[test]
fn who_answers_without_an_address_confirms_the_known_one() {
    let mut table = Neighbours::new(8);
    resolve(&mut table, 0);
    questions(&mut table, 0);
    // From wherever the frame came: where it is was not said.
    table.learn(LINK, learned(B, Evidence::Presence), Tick(5));
    assert_eq!((outcomes(&mut table), resolve(&mut table, 6)), (vec![], Resolution::Wait));
    table.learn(LINK, learned(A, Evidence::Answer), Tick(10));
    table.learn(LINK, learned(B, Evidence::Presence), Tick(20_000));
    assert_eq!(resolve(&mut table, 49_000), Resolution::Known(A));
    assert_eq!(questions(&mut table, 49_000), []);
}

#[test]
fn an_answer_lets_the_waiting_go_and_is_believed_for_thirty_seconds() {
    let mut table = Neighbours::new(8);
    resolve(&mut table, 0);
    questions(&mut table, 0);
    table.learn(LINK, learned(A, Evidence::Answer), Tick(5));
    assert_eq!(outcomes(&mut table), [Outcome::Resolved { link: LINK, address: peer(), mac: A }]);
    assert_eq!(resolve(&mut table, 30_004), Resolution::Known(A));
    assert_eq!(questions(&mut table, 30_004), []);
    // Old, and in use: asked itself, used meanwhile.
    assert_eq!(resolve(&mut table, 30_005), Resolution::Known(A));
    assert_eq!(questions(&mut table, 30_005), [Some(A)]);
    table.learn(LINK, learned(A, Evidence::Answer), Tick(30_100));
    assert_eq!(questions(&mut table, 60_099), []);
    assert_eq!(resolve(&mut table, 60_099), Resolution::Known(A));
    assert_eq!(questions(&mut table, 60_099), []);
    assert_eq!(outcomes(&mut table), []);
}

#[test]
fn one_that_no_longer_answers_is_sought_among_all() {
    let mut table = Neighbours::new(8);
    table.kernel(event(KernelState::Stale(A)), Tick(0));
    assert_eq!(resolve(&mut table, 0), Resolution::Known(A));
    for second in 0..3 {
        assert_eq!(questions(&mut table, second * 1000), [Some(A)]);
        assert_eq!(resolve(&mut table, second * 1000 + 1), Resolution::Known(A));
    }
    assert_eq!(questions(&mut table, 3000), [None]);
    assert_eq!(resolve(&mut table, 3001), Resolution::Wait);
    table.learn(LINK, learned(B, Evidence::Answer), Tick(3002));
    assert_eq!(outcomes(&mut table), [Outcome::Resolved { link: LINK, address: peer(), mac: B }]);
    assert_eq!(resolve(&mut table, 3003), Resolution::Known(B));
}

#[test]
fn one_that_nobody_wants_any_more_is_forgotten_instead() {
    let mut table = Neighbours::new(8);
    table.kernel(event(KernelState::Stale(A)), Tick(0));
    resolve(&mut table, 0);
    for second in 0..3 {
        assert_eq!(questions(&mut table, second * 1000), [Some(A)]);
    }
    assert_eq!(questions(&mut table, 3001), []);
    assert!(table.is_empty());
}

#[test]
fn evidence_weighs_differently() {
    use Evidence::{Announcement, Answer, Confirmation, Request};
    // What is known before, what is heard, and what is known then (None: not in the table).
    let rows = [
        (None, Answer, None),
        (None, Announcement, None),
        (None, Request, Some(B)),
        (Some(A), Answer, Some(B)),
        (Some(A), Confirmation, Some(A)),
        (Some(A), Request, Some(B)),
        (Some(A), Announcement, Some(B)),
    ];
    for (before, evidence, expected) in rows {
        let mut table = Neighbours::new(8);
        if let Some(mac) = before {
            table.kernel(event(KernelState::Reachable(mac)), Tick(0));
        }
        table.learn(LINK, learned(B, evidence), Tick(1));
        let known = (!table.is_empty()).then(|| resolve(&mut table, 2));
        assert_eq!(known, expected.map(Resolution::Known), "{before:?} {evidence:?}");
    }
    for mac in [Mac::default(), Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1])] {
        let mut table = Neighbours::new(8);
        table.learn(LINK, learned(mac, Request), Tick(0));
        assert!(table.is_empty(), "{mac}");
    }
}

#[test]
fn the_kernel_takes_back_only_what_it_told() {
    let mut table = Neighbours::new(8);
    table.kernel(event(KernelState::Permanent(A)), Tick(0));
    table.learn(LINK, learned(B, Evidence::Answer), Tick(1));
    assert_eq!(resolve(&mut table, 100_000), Resolution::Known(A));
    assert_eq!(questions(&mut table, 100_000), []);
    table.kernel(event(KernelState::Unusable), Tick(100_001));
    assert!(table.is_empty());

    resolve(&mut table, 100_002);
    table.kernel(event(KernelState::Unusable), Tick(100_003));
    assert_eq!(resolve(&mut table, 100_004), Resolution::Wait);
    table.learn(LINK, learned(B, Evidence::Answer), Tick(100_005));
    table.kernel(event(KernelState::Unusable), Tick(100_006));
    assert_eq!(resolve(&mut table, 100_007), Resolution::Known(B));

    table.kernel_table([], Tick(100_008));
    assert_eq!(table.len(), 1);
    table.kernel(event(KernelState::Reachable(A)), Tick(100_009));
    assert_eq!(resolve(&mut table, 100_010), Resolution::Known(A));
    table.kernel_table([], Tick(100_011));
    assert!(table.is_empty());
}

#[test]
fn frames_never_wait_for_an_entry_that_is_gone() {
    let mut table = Neighbours::new(8);
    table.kernel(event(KernelState::Stale(A)), Tick(0));
    for second in 0..4 {
        resolve(&mut table, second * 1000);
        questions(&mut table, second * 1000);
    }
    // What the kernel told is used up; from here on the asking is ours.
    assert_eq!(resolve(&mut table, 3001), Resolution::Wait);
    table.kernel(event(KernelState::Unusable), Tick(3002));
    table.kernel_table([], Tick(3003));
    assert_eq!(resolve(&mut table, 3004), Resolution::Wait);
    table.forget_link(LINK);
    assert_eq!(outcomes(&mut table), [Outcome::Failed { link: LINK, address: peer() }]);
    assert_eq!(questions(&mut table, 10_000), []);
}

#[test]
fn what_the_kernel_does_not_use_is_no_reason_to_doubt_what_was_heard() {
    let mut table = Neighbours::new(8);
    resolve(&mut table, 0);
    table.learn(LINK, learned(B, Evidence::Answer), Tick(1));
    table.kernel(event(KernelState::Stale(A)), Tick(2));
    assert_eq!(resolve(&mut table, 3), Resolution::Known(B));
    table.kernel(event(KernelState::Reachable(A)), Tick(4));
    assert_eq!(resolve(&mut table, 5), Resolution::Known(A));
}

#[test]
fn a_full_table_makes_room_from_what_nobody_uses() {
    let mut table = Neighbours::new(2);
    let host = |last: u8| IpAddr::from([10, 0, 0, last]);
    for last in [1, 2] {
        let state = KernelState::Reachable(A);
        table.kernel(NeighbourEvent { link: LINK, address: host(last), state }, Tick(0));
    }
    assert_eq!(table.resolve(LINK, host(3), Tick(1)), Resolution::Failed);
    assert_eq!(table.counters().table_full, 1);
    table.resolve(LINK, host(2), Tick(50_000));
    assert_eq!(table.resolve(LINK, host(3), Tick(60_000)), Resolution::Wait);
    assert_eq!(table.resolve(LINK, host(2), Tick(60_001)), Resolution::Known(A));
    table.forget_link(LINK);
    assert!(table.is_empty());
    assert_eq!(questions(&mut table, 70_000), []);
}
