//! Metrics of a route that are words, taken out of its message.
//!
//! `ip route … congctl cubic` has the kernel list a metric that is the algorithm's name (rtnetlink(7),
//! `RTAX_CC_ALGO`). netlink-packet-route takes every metric for a number, and would have nothing of
//! such a route.

use netlink_packet_core::{NlaBuffer, NlasIterator};

/// The length of `struct rtmsg`.
const ROUTE_HEADER_LENGTH: usize = 12;
const ATTRIBUTE_HEADER_LENGTH: usize = 4;
/// `RTA_METRICS`.
const METRICS: u16 = 8;
const NUMBER_LENGTH: usize = 4;

/// The message of a route without those of its metrics that are no numbers; `None` for what is no
/// such message.
pub fn numbers_only(route: &[u8]) -> Option<Vec<u8>> {
    let (header, attributes) = route.split_at_checked(ROUTE_HEADER_LENGTH)?;
    let mut message = header.to_vec();
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute.ok()?;
        match attribute.kind() {
            METRICS => append(&mut message, &attribute, &numbers(attribute.value())?)?,
            _ => append(&mut message, &attribute, attribute.value())?,
        }
    }
    Some(message)
}

fn numbers(metrics: &[u8]) -> Option<Vec<u8>> {
    let mut numbers = Vec::with_capacity(metrics.len());
    for metric in NlasIterator::new(metrics) {
        let metric = metric.ok()?;
        if metric.value().len() == NUMBER_LENGTH {
            append(&mut numbers, &metric, metric.value())?;
        }
    }
    Some(numbers)
}

/// Appends an attribute with another value.
fn append(message: &mut Vec<u8>, attribute: &NlaBuffer<&[u8]>, value: &[u8]) -> Option<()> {
    let length = u16::try_from(ATTRIBUTE_HEADER_LENGTH + value.len()).ok()?;
    message.extend(length.to_ne_bytes());
    message.extend(attribute.kind().to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(ATTRIBUTE_HEADER_LENGTH), 0);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn words_go_and_everything_else_stays() {
        let [mtu, algorithm, lock] =
            [attribute(2, &1400u32.to_ne_bytes()), attribute(16, b"cubic\0"), attribute(1, &4u32.to_ne_bytes())];
        let route = |metrics: &[u8]| {
            [&[7; 12], &attribute(1, &[10, 1, 2, 0])[..], &attribute(8, metrics), &attribute(30, &[1, 2, 3])].concat()
        };
        let told = route(&[&mtu[..], &algorithm, &lock].concat());
        assert_eq!(numbers_only(&told), Some(route(&[&mtu[..], &lock].concat())));
    }

    #[test]
    fn what_is_cut_is_no_route() {
        let route = [&[0; 12], &attribute(8, &attribute(16, b"reno\0"))[..]].concat();
        assert_eq!(numbers_only(&route), Some([&[0; 12], &attribute(8, &[])[..]].concat()));
        for length in (0..route.len()).filter(|&length| length != ROUTE_HEADER_LENGTH) {
            assert_eq!(numbers_only(&route[..length]), None, "{length}");
        }
    }
}
