//! What the schedulers promise under any sequence of changes.

use proptest::prelude::*;

use super::tests::{Fixture, letter};
use super::*;

#[derive(Clone, Debug)]
enum Change {
    Add(u32),
    AddAgain(usize),
    Remove(usize),
    Edit(usize, u32),
    Load(usize, u32, u32, bool),
    Pick(u8, u16, u8),
    Wait(u64),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let weight = || prop_oneof![3 => 0..4u32, 2 => 0..100u32, 1 => Just(i32::MAX as u32)];
    let change = prop_oneof![
        2 => weight().prop_map(Change::Add),
        1 => any::<usize>().prop_map(Change::AddAgain),
        1 => any::<usize>().prop_map(Change::Remove),
        2 => (any::<usize>(), weight()).prop_map(|(which, weight)| Change::Edit(which, weight)),
        3 => (any::<usize>(), 0..6u32, 0..6u32, any::<bool>())
            .prop_map(|(which, active, inactive, overloaded)| Change::Load(which, active, inactive, overloaded)),
        8 => (any::<u8>(), any::<u16>(), 0..4u8).prop_map(|(client, port, to)| Change::Pick(client, port, to)),
        1 => (0..100_000_000u64).prop_map(Change::Wait),
    ];
    proptest::collection::vec(change, 1..80)
}

/// Plays `changes`, holding every choice against what all schedulers promise, and calls `check` with
/// the service as it was before the choice, and the choice.
fn play(kind: SchedulerKind, flags: u32, changes: &[Change], mut check: impl FnMut(&Fixture, Option<DestinationId>)) {
    let mut service = Fixture::new(kind, &[]);
    service.flags = ServiceFlags(flags);
    service.settings.lblcr_expiration = 1000;
    let mut trash: Vec<DestinationId> = Vec::new();
    for change in changes {
        let listed = |which: usize| service.list.at(which % service.list.len().max(1));
        match *change {
            Change::Add(weight) => {
                service.add(weight);
            }
            Change::AddAgain(which) if !trash.is_empty() => {
                let id = trash.swap_remove(which % trash.len());
                service.add_again(id);
            }
            Change::Remove(which) => {
                if let Some(id) = listed(which) {
                    service.remove(id);
                    trash.push(id);
                }
            }
            Change::Edit(which, weight) => {
                if let Some(id) = listed(which) {
                    service.edit(id, weight);
                }
            }
            Change::Load(which, active, inactive, overloaded) => {
                if let Some(id) = listed(which) {
                    let destination = service.of(id);
                    (destination.active, destination.inactive) = (active, inactive);
                    destination.overloaded = overloaded;
                }
            }
            Change::Pick(client, port, to) => {
                let chosen = service.pick([10, 0, 0, client], port, [10, 9, 9, to]);
                if let Some(id) = chosen {
                    let destination = service.of(id).clone();
                    assert!(destination.available && destination.weight > 0, "{kind:?} chose {destination:?}");
                    let lenient = kind == SchedulerKind::LocalityBasedLeastConnection;
                    assert!(!destination.overloaded || lenient, "{kind:?} chose {destination:?}");
                    assert!(service.list.position(id).is_some());
                }
                check(&service, chosen);
            }
            Change::Wait(milliseconds) => service.tick(service.now + milliseconds),
            Change::AddAgain(_) => {}
        }
    }
    service.unbind();
    assert!(service.destinations.iter().all(|(_, destination)| destination.references == 0), "{kind:?} holds on");
}

/// wrr as the kernel walks it, level by level.
#[derive(Default)]
struct LevelByLevel {
    pointer: Option<DestinationId>,
    level: u64,
    highest: u64,
    step: u64,
}

impl LevelByLevel {
    fn changed(&mut self, service: &Fixture) {
        let weights = service.list.iter().map(|id| u64::from(service.destinations.get(id).unwrap().weight));
        let largest = weights.clone().max().unwrap_or(0);
        self.step = (1..=largest).rev().find(|step| weights.clone().all(|weight| weight % step == 0)).unwrap_or(1);
        self.highest = (largest + 1).saturating_sub(self.step);
        self.pointer = None;
        if self.level > self.highest || self.level == 0 {
            self.level = self.highest;
        } else if self.step > 1 {
            self.level = self.level / self.step * self.step + 1;
        }
    }

    fn pick(&mut self, service: &Fixture) -> Option<DestinationId> {
        if self.highest == 0 {
            return None;
        }
        let began = self.pointer;
        let (mut whole_lowest_pass, mut wrapped) = (false, false);
        let mut from = began.and_then(|id| service.list.position(id)).map_or(0, |position| position + 1);
        loop {
            let last_stretch = whole_lowest_pass && wrapped;
            for id in service.list.iter().skip(from) {
                let destination = service.destinations.get(id).unwrap();
                if !destination.overloaded && u64::from(destination.weight) >= self.level {
                    self.pointer = Some(id);
                    return Some(id);
                }
                if last_stretch && Some(id) == began {
                    return None;
                }
            }
            from = 0;
            self.level = self.level.saturating_sub(self.step);
            if self.level == 0 {
                self.level = self.highest;
                if whole_lowest_pass || began.is_none() {
                    self.pointer = None;
                    return None;
                }
                wrapped = true;
            }
            whole_lowest_pass = self.level <= self.step;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_scheduler_chooses_what_it_must_not(changes in changes(), flags in 0..4u32) {
        for (kind, _) in SchedulerKind::ALL {
            play(kind, flags << 3, &changes, |service, chosen| {
                let mut members = service.list.iter().filter_map(|id| service.destinations.get(id));
                let hashed = matches!(
                    kind,
                    SchedulerKind::DestinationHashing | SchedulerKind::SourceHashing | SchedulerKind::MaglevHashing
                );
                let overflow = kind == SchedulerKind::WeightedOverflow;
                if !hashed && !overflow {
                    assert!(chosen.is_some() || !members.any(Destination::usable), "{kind:?} found none");
                } else if overflow {
                    let room = members.any(|member| member.usable() && member.active <= member.weight);
                    assert_eq!(chosen.is_some(), room);
                }
            });
        }
    }

    #[test]
    fn rr_is_fair(weights in proptest::collection::vec(0..3u32, 1..20), rounds in 1..5usize) {
        let mut service = Fixture::new(SchedulerKind::RoundRobin, &weights);
        let usable = weights.iter().filter(|&&weight| weight > 0).count();
        let picks = service.picks(usable * rounds);
        for (index, &weight) in weights.iter().enumerate() {
            let expected = if weight > 0 { rounds } else { 0 };
            prop_assert_eq!(picks.matches(letter(Some(DestinationId(index as u32)))).count(), expected);
        }
    }

    #[test]
    fn wrr_gives_each_its_weight_in_every_round(weights in proptest::collection::vec(0..30u32, 1..12), lead in 0..100usize) {
        let mut service = Fixture::new(SchedulerKind::WeightedRoundRobin, &weights);
        let divisor = weights.iter().copied().fold(0, wrr::common_divisor).max(1);
        service.picks(lead);
        let picks = service.picks(weights.iter().sum::<u32>() as usize / divisor as usize);
        for (index, &weight) in weights.iter().enumerate() {
            let count = picks.matches(letter(Some(DestinationId(index as u32)))).count();
            prop_assert_eq!(count, (weight / divisor) as usize, "{}", picks);
        }
    }

    #[test]
    fn wrr_finds_its_level_as_if_it_had_walked(
        weights in proptest::collection::vec(0..9u32, 1..6),
        scale in 1..4u32,
        steps in proptest::collection::vec((0..8u8, any::<usize>(), 0..9u32), 1..60),
    ) {
        let mut service = Fixture::new(SchedulerKind::WeightedRoundRobin, &[]);
        let mut walked = LevelByLevel::default();
        for weight in weights {
            service.add(weight * scale);
            walked.changed(&service);
        }
        for (what, which, weight) in steps {
            let id = service.list.at(which % service.list.len()).unwrap();
            match what {
                0 => {
                    service.edit(id, weight * scale);
                    walked.changed(&service);
                }
                1..=3 => service.of(id).overloaded ^= true,
                _ => {
                    let expected = walked.pick(&service);
                    prop_assert_eq!(service.pick([0; 4], 0, [0; 4]), expected);
                }
            }
        }
    }
}
