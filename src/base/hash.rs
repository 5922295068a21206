//! Hashing: a keyed hash for our own tables, and the kernel's constants where a scheduler's
//! choice depends on them.

use super::address::{Address, Port, Protocol};

/// Multiplier of the kernel's 32-bit golden-ratio hash.
const GOLDEN_RATIO_32: u32 = 0x61c8_8647;

/// The top `bits` bits of `value` times the golden ratio, as the kernel's `hash_32` has it.
#[inline]
pub fn hash_32(value: u32, bits: u32) -> u32 {
    value.wrapping_mul(GOLDEN_RATIO_32) >> (32 - bits)
}

/// The hash of tables whose keys only the operator chooses, and of nothing else: it is fast and
/// the same in every run, so that whoever could choose keys could make them collide.
pub type FixedHash = foldhash::fast::FixedState;

/// A key that nobody outside can guess, so that nobody can choose colliding flows.
#[derive(Clone, Copy, Debug)]
pub struct HashKey(pub u64, pub u64);

#[inline]
fn fold_multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

impl HashKey {
    /// Hashes what both directions of a flow share: the client's address and port.
    #[inline]
    pub fn client(self, protocol: Protocol, address: Address, port: Port) -> u32 {
        let [a, b, c, d] = address.raw();
        let tail = u64::from(port.0) << 8 | u64::from(protocol.0);
        let low =
            fold_multiply((u64::from(a) | u64::from(b) << 32) ^ self.0, (u64::from(c) | u64::from(d) << 32) ^ self.1);
        let mixed = fold_multiply(low ^ tail, self.0 ^ 0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 32)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H8 vectors of the source- and destination-hashing schedulers.
    #[test]
    fn golden_ratio_hash_matches_the_kernel() {
        let hash = |octets: [u8; 4], port: u32| hash_32(Address::v4(octets).fold().wrapping_add(port), 8);
        assert_eq!(hash([10, 0, 0, 1], 0), 39);
        assert_eq!(hash([10, 0, 0, 2], 0), 137);
        assert_eq!(hash([192, 168, 1, 100], 0), 89);
        assert_eq!(hash([10, 0, 0, 1], 40000), 203);
    }

    #[test]
    fn client_hash_spreads_and_depends_on_the_key() {
        let key = HashKey(1, 2);
        let mut buckets = [0u32; 64];
        for port in 0..64 * 100 {
            let hash = key.client(Protocol::TCP, Address::v4([10, 0, 0, 1]), Port(port));
            buckets[hash as usize % 64] += 1;
        }
        assert!(buckets.iter().all(|&count| (50..200).contains(&count)), "{buckets:?}");
        let other = HashKey(3, 4);
        assert_ne!(
            key.client(Protocol::TCP, Address::v4([10, 0, 0, 1]), Port(1)),
            other.client(Protocol::TCP, Address::v4([10, 0, 0, 1]), Port(1))
        );
    }
}
