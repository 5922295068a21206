//! Sets of prefixes, asked in Rust and in classic BPF.
//!
//! A program has no tables, so the set becomes a tree of comparisons, one 32-bit word of the
//! address after the other: at each word the numbers fall into segments, of which some are members
//! whatever follows, some are not, and some depend on the next word.

use crate::base::{Address, Family, Prefix};

use super::program::{Assembler, Label, Target, Test, Width};

/// Prefixes of one family.
#[derive(Clone, Debug, Default)]
pub(super) struct PrefixSet {
    prefixes: Vec<([u32; 4], u8)>,
    /// First and last address of each range, sorted and apart from each other.
    ranges: Vec<([u32; 4], [u32; 4])>,
}

impl PrefixSet {
    /// The set of `prefixes`, which must be of one family.
    pub fn new<'a>(prefixes: impl Iterator<Item = &'a Prefix>) -> PrefixSet {
        let mut prefixes: Vec<([u32; 4], u8)> = prefixes
            .map(|prefix| {
                let address = Address::from(prefix.address).masked(prefix.family(), prefix.length);
                (address.words(), prefix.length.min(bits(prefix.family())))
            })
            .collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        let mut ranges: Vec<([u32; 4], [u32; 4])> = Vec::new();
        for &(first, length) in &prefixes {
            let last = last_address(first, length);
            match ranges.last_mut() {
                // Sorted by first address: a prefix starts inside an earlier one or behind it.
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => ranges.push((first, last)),
            }
        }
        PrefixSet { prefixes, ranges }
    }

    #[inline]
    pub fn contains(&self, address: Address) -> bool {
        let words = address.words();
        let behind = self.ranges.partition_point(|(first, _)| *first <= words);
        behind.checked_sub(1).is_some_and(|place| words <= self.ranges[place].1)
    }

    /// Writes the question whether the address at offset `address` is a member: goes on at `member` or at
    /// `stranger`.
    pub fn assemble(&self, assembler: &mut Assembler, address: u32, member: Label, stranger: Label) {
        let ways = Ways { address, member, stranger };
        ways.assemble_word(assembler, 0, &self.prefixes);
    }
}

/// What stays the same at all words of an address.
struct Ways {
    address: u32,
    member: Label,
    stranger: Label,
}

/// From `start` up to the next segment, the answer is at `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    start: u32,
    to: Label,
}

impl Ways {
    /// Asks for word number `word`, those before being equal in all `prefixes`, of which each is longer
    /// than the words before.
    fn assemble_word(&self, assembler: &mut Assembler, word: usize, prefixes: &[([u32; 4], u8)]) {
        let mut segments = vec![Segment { start: 0, to: self.stranger }];
        let mut add = |first: u32, last: u32, to: Label| {
            // The segment before ends here: same start, or one that was left over between two.
            if segments.last().is_some_and(|segment| segment.start == first) {
                segments.pop();
            }
            if segments.last().is_none_or(|segment| segment.to != to) {
                segments.push(Segment { start: first, to });
            }
            if let Some(next) = last.checked_add(1) {
                segments.push(Segment { start: next, to: self.stranger });
            }
        };
        let mut deeper = Vec::new();
        let mut covered = None;
        let mut rest = prefixes;
        while let Some(&(words, length)) = rest.first() {
            let value = words[word];
            let kept = usize::from(length) - 32 * word;
            let group = rest.iter().take_while(|(words, _)| words[word] == value).count();
            if covered.is_some_and(|last| value <= last) {
                rest = &rest[1..];
            } else if kept <= 32 {
                let last = value | u32::MAX.checked_shr(kept as u32).unwrap_or(0);
                add(value, last, self.member);
                covered = Some(last);
                rest = &rest[1..];
            } else {
                // All prefixes of this value are longer than the word: a shorter one would stand first.
                let label = assembler.label();
                add(value, value, label);
                deeper.push((label, &rest[..group]));
                rest = &rest[group..];
            }
        }
        assembler.load(Width::Word, self.address + 4 * word as u32);
        tree(assembler, &segments);
        for (label, prefixes) in deeper {
            assembler.place(label);
            self.assemble_word(assembler, word + 1, prefixes);
        }
    }
}

/// Finds the accumulator's segment by halving.
fn tree(assembler: &mut Assembler, segments: &[Segment]) {
    match segments {
        [] => {}
        [only] => assembler.jump(only.to),
        [low, high] => assembler.branch(Test::AtLeast, high.start, Target::To(high.to), Target::To(low.to)),
        [low, middle, high] if low.to == high.to && middle.start.checked_add(1) == Some(high.start) => {
            assembler.branch(Test::Equal, middle.start, Target::To(middle.to), Target::To(low.to));
        }
        _ => {
            // Halves of odd length end in a single number more often, for which one comparison suffices.
            let middle = (segments.len() / 2) | 1;
            let right = assembler.label();
            assembler.branch(Test::AtLeast, segments[middle].start, Target::To(right), Target::Next);
            tree(assembler, &segments[..middle]);
            assembler.place(right);
            tree(assembler, &segments[middle..]);
        }
    }
}

fn bits(family: Family) -> u8 {
    8 * family.address_length() as u8
}

/// The last address of a prefix. Of an IPv4 address, which has zeros there, the later words become all ones:
/// that is behind every address of the prefix and before the next one.
fn last_address(first: [u32; 4], length: u8) -> [u32; 4] {
    let mut last = first;
    for (index, word) in last.iter_mut().enumerate() {
        let kept = usize::from(length).saturating_sub(32 * index).min(32);
        *word |= u32::MAX.checked_shr(kept as u32).unwrap_or(0);
    }
    last
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::super::interpreter::{Packet, run};
    use super::super::program::Program;
    use super::*;

    fn program(set: &PrefixSet) -> Program {
        let mut assembler = Assembler::default();
        let (member, stranger) = (assembler.label(), assembler.label());
        set.assemble(&mut assembler, 0, member, stranger);
        assembler.place(member);
        assembler.return_number(1);
        assembler.place(stranger);
        assembler.return_number(0);
        assembler.finish().unwrap()
    }

    /// Both ways of asking against each prefix by itself.
    fn check(prefixes: &[Prefix]) {
        for family in [Family::V4, Family::V6] {
            let of_family = || prefixes.iter().filter(|prefix| prefix.family() == family);
            let set = PrefixSet::new(of_family());
            let program = program(&set);
            let addresses = addresses_near(prefixes).chain([family.unspecified()]);
            for address in addresses.filter(|address| Family::of(address) == family) {
                let expected = of_family().any(|prefix| prefix.contains(address));
                let octets = match address {
                    IpAddr::V4(address) => address.octets().to_vec(),
                    IpAddr::V6(address) => address.octets().to_vec(),
                };
                assert_eq!(set.contains(address.into()), expected, "{address} in {prefixes:?}");
                let answer = run(&program, &Packet { data: &octets, ..Packet::default() });
                assert_eq!(answer == 1, expected, "{address} in {prefixes:?}, by program");
            }
        }
    }

    fn addresses_near(prefixes: &[Prefix]) -> impl Iterator<Item = IpAddr> + '_ {
        prefixes.iter().flat_map(|prefix| {
            let near = |number: u128| [number.wrapping_sub(1), number, number.wrapping_add(1)];
            match prefix.address {
                IpAddr::V4(address) => {
                    let span = u32::MAX.checked_shr(prefix.length.into()).unwrap_or(0);
                    let first = u32::from(address) & !span;
                    let numbers = [near(first.into()), near((first | span).into())].concat();
                    numbers.into_iter().map(|n| IpAddr::V4(Ipv4Addr::from(n as u32))).collect::<Vec<_>>()
                }
                IpAddr::V6(address) => {
                    let span = u128::MAX.checked_shr(prefix.length.into()).unwrap_or(0);
                    let first = u128::from(address) & !span;
                    let numbers = [near(first), near(first | span)].concat();
                    numbers.into_iter().map(|n| IpAddr::V6(Ipv6Addr::from(n))).collect::<Vec<_>>()
                }
            }
        })
    }

    #[test]
    fn edges_of_prefixes_are_exact() {
        let prefixes = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Prefix>>();
        for texts in [
            &[][..],
            &["0.0.0.0/0", "::/0"],
            &["255.255.255.255", "0.0.0.0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::"],
            &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.0/8", "11.0.0.0/8"],
            &["10.0.0.0/9", "10.128.0.0/9", "10.0.0.5"],
            &["fd00::/32", "fd00::1", "fd00:0:1::1", "fd00:1::/33", "fd00:1:8000::1"],
            &["fd00::1", "fd00::2", "fd00::/96", "fd00::1:0:1"],
            &["fd00::/64", "fd00:0:0:1::/64", "fd00:0:0:1::7", "fd00::/127"],
        ] {
            check(&prefixes(texts));
        }
    }

    fn any_prefix() -> impl Strategy<Value = Prefix> {
        // Few distinct words, so that prefixes share beginnings and cover each other.
        let word = prop_oneof![Just(0u32), Just(1), Just(u32::MAX), 0x0a00_0000u32..0x0a00_0004];
        (any::<bool>(), [word.clone(), word.clone(), word.clone(), word], 0u8..=128).prop_map(|(v4, words, length)| {
            if v4 {
                Prefix::new(Ipv4Addr::from(words[0]).into(), length.min(32))
            } else {
                let number = words.iter().fold(0u128, |number, &word| number << 32 | u128::from(word));
                Prefix::new(Ipv6Addr::from(number).into(), length)
            }
        })
    }

    proptest! {
        #[test]
        fn any_set_is_answered_alike(prefixes in prop::collection::vec(any_prefix(), 0..20)) {
            check(&prefixes);
        }
    }
}
