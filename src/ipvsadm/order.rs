//! The order of listings, cycles included.
//!
//! ipvsadm compares words by the sign of their wrapping 32-bit difference. Two words 2^31 or
//! more apart therefore come out reversed (200.0.0.1 before 10.0.0.1), and the relation may even
//! be cyclic. What a listing looks like then depends on the algorithm, so this is the original's:
//! a stable merge sort from the top, the first half rounded down.

use std::cmp::Ordering;

use crate::base::{Address, Family};
use crate::control::message::{DestinationEntry, ServiceEntry};
use crate::table::ServiceKey;

/// Sorts services by mark, family, protocol, address and port.
pub fn sort_services(services: &mut Vec<ServiceEntry>) {
    merge_sort(services, &|a, b| compare_services(&a.key, &b.key));
}

/// Sorts destinations by address and port.
pub fn sort_destinations(destinations: &mut Vec<DestinationEntry>) {
    merge_sort(destinations, &|a, b| {
        // The families are not compared: an IPv4 address is the first word of four.
        let family = Family::of(&a.key.address);
        compare_addresses(family, a.key.address.into(), b.key.address.into()).then_with(|| a.key.port.cmp(&b.key.port))
    });
}

fn compare_services(a: &ServiceKey, b: &ServiceKey) -> Ordering {
    let identity = |key: &ServiceKey| match *key {
        ServiceKey::Address { protocol, address, port } => (protocol.0, Address::from(address), port),
        ServiceKey::Mark { .. } => (0, Address::ZERO, key.port()),
    };
    let (a_protocol, a_address, a_port) = identity(a);
    let (b_protocol, b_address, b_port) = identity(b);
    compare_words(a.mark().unwrap_or(0), b.mark().unwrap_or(0))
        .then_with(|| a.family().cmp(&b.family()))
        .then_with(|| a_protocol.cmp(&b_protocol))
        .then_with(|| compare_addresses(a.family(), a_address, b_address))
        .then_with(|| a_port.cmp(&b_port))
}

fn compare_addresses(family: Family, a: Address, b: Address) -> Ordering {
    let words = match family {
        Family::V4 => 1,
        Family::V6 => 4,
    };
    let mut pairs = a.words().into_iter().zip(b.words()).take(words);
    pairs.find_map(|(a, b)| (a != b).then(|| compare_words(a, b))).unwrap_or(Ordering::Equal)
}

fn compare_words(a: u32, b: u32) -> Ordering {
    (a.wrapping_sub(b) as i32).cmp(&0)
}

/// Sorts by a relation that need not be transitive: the standard library's sort may refuse such.
fn merge_sort<T>(items: &mut Vec<T>, compare: &impl Fn(&T, &T) -> Ordering) {
    if items.len() < 2 {
        return;
    }
    let mut right = items.split_off(items.len() / 2);
    let mut left = std::mem::take(items);
    merge_sort(&mut left, compare);
    merge_sort(&mut right, compare);
    items.reserve(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let next = if compare(a, b).is_le() { left.next() } else { right.next() };
        items.extend(next);
    }
    items.extend(left);
    items.extend(right);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(first_octets: &[u8]) -> Vec<u8> {
        let mut octets = first_octets.to_vec();
        let address = |octet: u8| Address::v4([octet, 0, 0, 1]);
        merge_sort(&mut octets, &|a, b| compare_addresses(Family::V4, address(*a), address(*b)));
        octets
    }

    #[test]
    fn addresses_far_apart_come_out_reversed() {
        assert_eq!(sorted(&[10, 200]), [200, 10]);
        assert_eq!(sorted(&[200, 10]), [200, 10]);
    }

    #[test]
    fn cycles_come_out_as_the_original_sorts_them() {
        assert_eq!(sorted(&[140, 100, 200, 10]), [100, 140, 200, 10]);
        assert_eq!(sorted(&[128, 64, 192, 224, 160, 96, 10]), [64, 128, 160, 192, 224, 10, 96]);
    }

    #[test]
    fn marks_follow_addresses_and_large_ones_precede_them() {
        let mark = |mark| ServiceKey::Mark { family: Family::V4, mark };
        let address = ServiceKey::Address {
            protocol: crate::base::Protocol::TCP,
            address: Family::V6.unspecified(),
            port: crate::base::Port(1),
        };
        assert_eq!(compare_services(&address, &mark(1)), Ordering::Less);
        assert_eq!(compare_services(&mark(u32::MAX), &address), Ordering::Less);
        assert_eq!(compare_services(&mark(1), &ServiceKey::Mark { family: Family::V6, mark: 1 }), Ordering::Less);
    }
}
