//! The Internet checksum (RFC 1071) over whole ranges, for packets that are built or finished here.
//!
//! A running [`Sum`] is not what stands on the wire: it is unfolded, not complemented and in
//! native byte order, which the ones' complement sum allows as long as it is folded and stored
//! in the same order. Ranges may be added in any order; only the last may have an odd length.

/// Length of a checksum field.
pub(crate) const CHECKSUM_LENGTH: usize = 2;

/// A ones' complement sum still being added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum(u64);

impl Sum {
    /// The sum of `bytes`, padded with a zero byte where their number is odd.
    pub(crate) fn of(bytes: &[u8]) -> Sum {
        Sum::default().add(bytes)
    }

    /// The sum of a pseudo-header: both addresses as they stand in the IP header, the protocol
    /// and the length of what the checksum covers.
    pub(crate) fn pseudo_header(addresses: &[u8], protocol: u8, length: usize) -> Sum {
        Sum::of(addresses).add(&[0, protocol]).add(&(length as u32).to_be_bytes())
    }

    /// Adds `bytes`. A sum of 64 KiB stays far below 2^64, so carries are folded in at the end only.
    #[inline]
    pub(crate) fn add(self, bytes: &[u8]) -> Sum {
        let mut total = self.0;
        let (words, rest) = bytes.as_chunks::<8>();
        for &word in words {
            let word = u64::from_ne_bytes(word);
            total += (word & u64::from(u32::MAX)) + (word >> 32);
        }
        let (pairs, last) = rest.as_chunks::<2>();
        for &pair in pairs {
            total += u64::from(u16::from_ne_bytes(pair));
        }
        if let [last] = last {
            total += u64::from(u16::from_ne_bytes([*last, 0]));
        }
        Sum(total)
    }

    /// The folded sum as it stands in a field that is to be finished by somebody else.
    pub(crate) fn folded(self) -> [u8; CHECKSUM_LENGTH] {
        let mut total = self.0;
        while total >> 16 != 0 {
            total = (total & 0xffff) + (total >> 16);
        }
        (total as u16).to_ne_bytes()
    }

    /// The checksum as it stands on the wire.
    pub(crate) fn checksum(self) -> [u8; CHECKSUM_LENGTH] {
        self.folded().map(|byte| !byte)
    }

    /// The checksum where zero means "none": a computed zero is written as 0xffff, its equal.
    pub(crate) fn checksum_never_zero(self) -> [u8; CHECKSUM_LENGTH] {
        match self.checksum() {
            [0, 0] => [0xff, 0xff],
            checksum => checksum,
        }
    }

    /// Whether this sum, taken over a range with its checksum in place, says that it is intact.
    pub(crate) fn verifies(self) -> bool {
        self.folded() == [0xff; CHECKSUM_LENGTH]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&bytes).folded(), [0xdd, 0xf2]);
        assert_eq!(Sum::of(&bytes).checksum(), [0x22, 0x0d]);
    }

    #[test]
    fn an_odd_byte_counts_as_the_upper_half_of_a_word() {
        assert_eq!(Sum::of(&[0x12]).folded(), [0x12, 0x00]);
    }

    #[test]
    fn a_computed_zero_is_written_as_its_equal() {
        assert_eq!(Sum::of(&[0xff, 0xff]).checksum(), [0, 0]);
        assert_eq!(Sum::of(&[0xff, 0xff]).checksum_never_zero(), [0xff, 0xff]);
    }

    proptest! {
        /// pnet's sum, two bytes at a time, is the second opinion.
        #[test]
        fn agrees_with_a_plain_sum(bytes in proptest::collection::vec(any::<u8>(), 1..3000), cut in 0usize..1500) {
            let plain = pnet::packet::util::checksum(&bytes, usize::MAX);
            prop_assert_eq!(Sum::of(&bytes).checksum(), plain.to_be_bytes());
            let cut = (cut * 2).min(bytes.len() / 2 * 2);
            prop_assert_eq!(Sum::of(&bytes[..cut]).add(&bytes[cut..]).checksum(), plain.to_be_bytes());
        }
    }
}
