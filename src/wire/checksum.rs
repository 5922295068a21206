//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! Two types keep two things apart that are easily confused: a [`Sum`] is a rolling
//! one's-complement sum, a [`Checksum`] is what stands in a header, the sum's complement.
//! Both are byte-order neutral: bytes are added as they lie in memory, and a checksum is stored
//! as it comes out.

use crate::base::Address;

/// A rolling one's-complement sum over bytes in memory order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sum(u64);

/// A checksum field's two bytes, as they lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(u16);

impl Sum {
    pub const ZERO: Sum = Sum(0);

    /// Adds `bytes`; an odd last byte counts as followed by a zero. Only the last piece of a
    /// sum may have an odd length.
    #[inline]
    pub fn add_bytes(mut self, bytes: &[u8]) -> Sum {
        let mut total = 0u128;
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            // The chunk has eight bytes, so the conversion cannot fail.
            total += u128::from(u64::from_ne_bytes([
                word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7],
            ]));
        }
        let mut rest = [0; 8];
        let tail = words.remainder();
        rest[..tail.len()].copy_from_slice(tail);
        total += u128::from(u64::from_ne_bytes(rest));
        let folded = (total as u64 as u128) + (total >> 64);
        let folded = (folded as u64).wrapping_add((folded >> 64) as u64);
        self = self.add_word((folded >> 32) as u32);
        self.add_word(folded as u32)
    }

    #[inline]
    pub fn add_word(self, word: u32) -> Sum {
        Sum(self.0 + u64::from(word))
    }

    /// Adds two bytes that lie in memory as `half` does.
    #[inline]
    pub fn add_half(self, half: u16) -> Sum {
        Sum(self.0 + u64::from(half))
    }

    /// Adds a number that stands in the packet in network order.
    #[inline]
    pub fn add_number(self, number: u16) -> Sum {
        self.add_half(number.to_be())
    }

    #[inline]
    pub fn add_address(self, address: Address) -> Sum {
        let [a, b, c, d] = address.raw();
        Sum(self.0 + u64::from(a) + u64::from(b) + u64::from(c) + u64::from(d))
    }

    /// Takes `address` out of the sum again.
    #[inline]
    pub fn subtract_address(self, address: Address) -> Sum {
        let [a, b, c, d] = address.raw();
        Sum(self.0 + u64::from(!a) + u64::from(!b) + u64::from(!c) + u64::from(!d))
    }

    #[inline]
    pub fn subtract_half(self, half: u16) -> Sum {
        Sum(self.0 + u64::from(!half))
    }

    #[inline]
    pub fn subtract_number(self, number: u16) -> Sum {
        self.subtract_half(number.to_be())
    }

    /// The sum folded to sixteen bits, not complemented: what a partial checksum holds.
    #[inline]
    pub fn fold(self) -> u16 {
        let (sum, carry) = (self.0 as u32).overflowing_add((self.0 >> 32) as u32);
        // What overflowed has room for its carry, here and below.
        let sum = sum.wrapping_add(u32::from(carry));
        let (sum, carry) = (sum as u16).overflowing_add((sum >> 16) as u16);
        sum.wrapping_add(u16::from(carry))
    }

    /// Whether this sum, taken over bytes with their checksum in place, says that they are intact.
    #[inline]
    pub fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }

    /// The sum as a header holds it.
    #[inline]
    pub fn checksum(self) -> Checksum {
        Checksum(!self.fold())
    }
}

/// Length of a checksum field.
pub const LENGTH: usize = 2;

impl Checksum {
    /// The field's bytes.
    #[inline]
    pub fn bytes(self) -> [u8; LENGTH] {
        self.0.to_ne_bytes()
    }

    /// The field as a number in network order: what setters of header fields take.
    #[inline]
    pub fn number(self) -> u16 {
        u16::from_be(self.0)
    }

    #[inline]
    pub fn read(bytes: &[u8], at: usize) -> Option<Checksum> {
        Some(Checksum(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk::<2>()?)))
    }

    #[inline]
    pub fn write(self, bytes: &mut [u8], at: usize) {
        if let Some(field) = bytes.get_mut(at..at + 2) {
            field.copy_from_slice(&self.0.to_ne_bytes());
        }
    }

    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// UDP's rule: a checksum that comes out as zero is sent as all ones.
    #[inline]
    pub fn not_zero(self) -> Checksum {
        if self.0 == 0 { Checksum(0xffff) } else { self }
    }

    /// The checksum after the bytes under it changed by `difference` (what was taken out
    /// subtracted, what came in added). A wrong checksum stays wrong by as much.
    #[inline]
    pub fn updated(self, difference: Sum) -> Checksum {
        Checksum(!Sum(difference.0 + u64::from(!self.0)).fold())
    }

    /// The field of a partial checksum (the pseudo-header's sum, not complemented) after its
    /// addresses changed by `difference`.
    #[inline]
    pub fn updated_partial(self, difference: Sum) -> Checksum {
        Checksum(Sum(difference.0 + u64::from(self.0)).fold())
    }
}

/// The checksum over `bytes` alone: IPv4 headers, ICMP messages, GRE.
pub fn of(bytes: &[u8]) -> Checksum {
    Sum::ZERO.add_bytes(bytes).checksum()
}

/// Whether `bytes`, their checksum field included, sum up as they should.
pub fn is_valid(bytes: &[u8]) -> bool {
    Sum::ZERO.add_bytes(bytes).is_valid()
}

/// The pseudo-header of TCP, UDP and ICMPv6 over either family (RFC 9293, 768, 8200 section 8.1).
pub fn pseudo_header(source: Address, destination: Address, protocol: u8, length: usize) -> Sum {
    Sum::ZERO
        .add_address(source)
        .add_address(destination)
        .add_number(u16::from(protocol))
        .add_word((length as u32).to_be())
}

/// As [`pseudo_header`], with both addresses as they stand one after the other in the IP header.
pub fn pseudo_header_of(addresses: &[u8], protocol: u8, length: usize) -> Sum {
    Sum::ZERO.add_bytes(addresses).add_number(u16::from(protocol)).add_word((length as u32).to_be())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest::proptest! {
        #[test]
        fn sums_as_rfc_1071_says(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..3000)) {
            proptest::prop_assert_eq!(of(&bytes).0.to_be(), naive(&bytes));
        }

        #[test]
        fn an_update_equals_summing_again(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 20..200), new: u32) {
            bytes.truncate(bytes.len() & !3);
            // A header is never all zeroes, which is the one case in which the two forms of zero differ.
            bytes[1] = 1;
            let before = of(&bytes);
            let old = u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
            bytes[8..12].copy_from_slice(&new.to_ne_bytes());
            let change = Sum::ZERO.add_word(new).add_word(!old);
            proptest::prop_assert_eq!(before.updated(change), of(&bytes));
        }
    }

    #[test]
    fn a_valid_header_is_valid() {
        let mut header = [0x45, 0, 0, 0x28, 0x12, 0x34, 0, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 9, 9, 9];
        assert!(!is_valid(&header));
        of(&header).write(&mut header, 10);
        assert_eq!(header[10..12], [0x4b, 0x89]);
        assert!(is_valid(&header));
    }

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::ZERO.add_bytes(&bytes).fold().to_ne_bytes(), [0xdd, 0xf2]);
        assert_eq!(of(&bytes).bytes(), [0x22, 0x0d]);
        assert_eq!(of(&bytes).number(), 0x220d);
    }

    #[test]
    fn an_odd_byte_counts_as_the_upper_half_of_a_word() {
        assert_eq!(Sum::ZERO.add_bytes(&[0x12]).fold().to_ne_bytes(), [0x12, 0x00]);
    }

    #[test]
    fn a_computed_zero_is_written_as_its_equal() {
        assert_eq!(of(&[0xff, 0xff]).bytes(), [0, 0]);
        assert_eq!(of(&[0xff, 0xff]).not_zero().bytes(), [0xff, 0xff]);
    }

    proptest::proptest! {
        /// pnet's sum, two bytes at a time, is the second opinion.
        #[test]
        fn agrees_with_a_plain_sum(bytes in proptest::collection::vec(proptest::num::u8::ANY, 1..3000), cut in 0usize..1500) {
            let plain = pnet::packet::util::checksum(&bytes, usize::MAX);
            proptest::prop_assert_eq!(of(&bytes).number(), plain);
            let cut = (cut * 2).min(bytes.len() / 2 * 2);
            let sum = Sum::ZERO.add_bytes(&bytes[..cut]).add_bytes(&bytes[cut..]);
            proptest::prop_assert_eq!(sum.checksum().number(), plain);
        }
    }
}
