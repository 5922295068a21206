//! Addresses, ports and protocol numbers, in the shapes the packet path wants.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Address family of a packet, service or destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// The family of `address`.
    pub fn of(address: &IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// Length of an address of this family in bytes.
    pub const fn address_length(self) -> usize {
        match self {
            Family::V4 => 4,
            Family::V6 => 16,
        }
    }

    /// The all-zero address of this family.
    pub fn unspecified(self) -> IpAddr {
        match self {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

/// An IPv4 or IPv6 address without its family, as four words in wire order.
///
/// An IPv4 address fills the first word; the others are zero. Where a persistence template
/// stands for a firewall mark, the mark (big-endian) fills the first word instead.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Address([u32; 4]);

impl Address {
    pub const ZERO: Address = Address([0; 4]);

    pub fn v4(octets: [u8; 4]) -> Address {
        Address([u32::from_ne_bytes(octets), 0, 0, 0])
    }

    pub fn v6(octets: [u8; 16]) -> Address {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(octets.chunks_exact(4)) {
            *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Address(words)
    }

    /// Reads an address of `family` from the start of `bytes`; `None` where they are too few.
    #[inline]
    pub fn read(family: Family, bytes: &[u8]) -> Option<Address> {
        match family {
            Family::V4 => Some(Address::v4(*bytes.first_chunk::<4>()?)),
            Family::V6 => Some(Address::v6(*bytes.first_chunk::<16>()?)),
        }
    }

    /// A firewall mark in the place of an address, as templates of mark services carry it.
    pub fn from_mark(mark: u32) -> Address {
        Address::v4(mark.to_be_bytes())
    }

    #[inline]
    pub fn octets4(self) -> [u8; 4] {
        self.0[0].to_ne_bytes()
    }

    #[inline]
    pub fn octets16(self) -> [u8; 16] {
        let mut octets = [0; 16];
        for (bytes, word) in octets.chunks_exact_mut(4).zip(self.0) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        octets
    }

    /// The address as the standard library's type.
    pub fn to_ip(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from(self.octets4())),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(self.octets16())),
        }
    }

    /// The four words in host order: what the hashing schedulers mix.
    #[inline]
    pub fn words(self) -> [u32; 4] {
        self.0.map(u32::from_be)
    }

    /// All four words XORed, in host order (an IPv4 address is its own fold).
    #[inline]
    pub fn fold(self) -> u32 {
        u32::from_be(self.0[0] ^ self.0[1] ^ self.0[2] ^ self.0[3])
    }

    /// The four words exactly as they lie in memory, for comparing and hashing.
    #[inline]
    pub fn raw(self) -> [u32; 4] {
        self.0
    }

    pub fn is_zero(self) -> bool {
        self.0 == [0; 4]
    }

    /// Whether it is the same address, where both are of this family: for IPv4, one word is compared.
    #[inline(always)]
    pub fn is_same(self, other: Address, family: Family) -> bool {
        match family {
            Family::V4 => self.0[0] == other.0[0],
            Family::V6 => self == other,
        }
    }

    /// The address with all but its first `length` bits cleared.
    pub fn masked(self, family: Family, length: u8) -> Address {
        let mut words = self.words();
        let bits = match family {
            Family::V4 => 32,
            Family::V6 => 128,
        };
        let length = u32::from(length).min(bits);
        for (index, word) in words.iter_mut().enumerate() {
            let kept = length.saturating_sub(index as u32 * 32).min(32);
            *word &= if kept == 0 { 0 } else { u32::MAX << (32 - kept) };
        }
        Address(words.map(u32::to_be))
    }

    /// The address ANDed with `mask`, word by word.
    pub fn and(self, mask: Address) -> Address {
        let mut words = self.0;
        for (word, mask) in words.iter_mut().zip(mask.0) {
            *word &= mask;
        }
        Address(words)
    }
}

impl Hash for Address {
    /// As two numbers: a slice of four would put its length in front.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d] = self.0.map(u64::from);
        state.write_u64(a | b << 32);
        state.write_u64(c | d << 32);
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Address {
        match address {
            IpAddr::V4(v4) => Address::v4(v4.octets()),
            IpAddr::V6(v6) => Address::v6(v6.octets()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.0[1..] == [0; 3] { Family::V4 } else { Family::V6 };
        write!(out, "{}", self.to_ip(family))
    }
}

/// A transport port, held as a number (host order); wire accessors convert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Port(pub u16);

impl Port {
    pub const ANY: Port = Port(0);
    pub const FTP: Port = Port(21);
    pub const FTP_DATA: Port = Port(20);
    /// That both ends of IPsec's key exchange use: AH and ESP belong to that connection.
    pub const ISAKMP: Port = Port(500);
    /// The lowest that any program may have, unless `ip_unprivileged_port_start` was set, which is not
    /// asked: data connections of passive FTP go there.
    pub const FIRST_UNPRIVILEGED: Port = Port(1024);

    pub fn is_any(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Port {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// An IP protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Protocol(pub u8);

impl Protocol {
    /// "IP": what templates of firewall-mark services carry.
    pub const IP: Protocol = Protocol(0);
    pub const ICMP: Protocol = Protocol(1);
    pub const IPIP: Protocol = Protocol(4);
    pub const TCP: Protocol = Protocol(6);
    pub const UDP: Protocol = Protocol(17);
    pub const IPV6: Protocol = Protocol(41);
    pub const GRE: Protocol = Protocol(47);
    pub const ESP: Protocol = Protocol(50);
    pub const AH: Protocol = Protocol(51);
    pub const ICMPV6: Protocol = Protocol(58);
    pub const SCTP: Protocol = Protocol(132);

    /// The name that the kernel's ip_vs has for it.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Protocol::IP => "IP".into(),
            Protocol::ICMP => "ICMP".into(),
            Protocol::TCP => "TCP".into(),
            Protocol::UDP => "UDP".into(),
            Protocol::ICMPV6 => "ICMPv6".into(),
            Protocol::SCTP => "SCTP".into(),
            Protocol(number) => format!("IP_{number}").into(),
        }
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    pub const BROADCAST: Mac = Mac([0xff; 6]);

    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl std::str::FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            *octet = parts
                .next()
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| format!("`{text}' is not an Ethernet address (six hex pairs separated by colons)"))?;
        }
        match parts.next() {
            None => Ok(Mac(octets)),
            Some(_) => Err(format!("`{text}' has more than six hex pairs")),
        }
    }
}

/// An address with a prefix length, as on an interface or in a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prefix {
    pub address: IpAddr,
    pub length: u8,
}

impl Prefix {
    pub fn new(address: IpAddr, length: u8) -> Prefix {
        Prefix { address, length }
    }

    /// A prefix that covers `address` alone.
    pub fn host(address: IpAddr) -> Prefix {
        let length = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        Prefix { address, length }
    }

    pub fn family(&self) -> Family {
        Family::of(&self.address)
    }

    /// The same without the bits behind the prefix, which say nothing: what routes are known by.
    pub fn network(&self) -> Prefix {
        let family = self.family();
        Prefix { address: Address::from(self.address).masked(family, self.length).to_ip(family), ..*self }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let family = self.family();
        family == Family::of(&address)
            && Address::from(self.address).masked(family, self.length)
                == Address::from(address).masked(family, self.length)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.length)
    }
}

impl std::str::FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Prefix, String> {
        let wrong = || format!("`{text}' is not an address or address/length");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let whole = Prefix::host(address);
        match length {
            None => Ok(whole),
            Some(length) if length <= whole.length => Ok(Prefix { address, length }),
            Some(_) => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_cut_at_any_bit() {
        let v4 = Address::v4([198, 51, 100, 77]);
        assert_eq!(v4.masked(Family::V4, 24), Address::v4([198, 51, 100, 0]));
        assert_eq!(v4.masked(Family::V4, 0), Address::ZERO);
        assert_eq!(v4.masked(Family::V4, 32), v4);
        let v6 = Address::from("fd01:2:3:4:5::6".parse::<IpAddr>().unwrap());
        let cut = Address::from("fd01:2:3:4::".parse::<IpAddr>().unwrap());
        assert_eq!(v6.masked(Family::V6, 64), cut);
        for (text, network) in
            [("10.9.9.5/24", "10.9.9.0/24"), ("10.9.9.5", "10.9.9.5"), ("fd01:2::5/32", "fd01:2::/32")]
        {
            assert_eq!(text.parse::<Prefix>().unwrap().network(), network.parse().unwrap());
        }
    }

    #[test]
    fn a_prefix_contains_its_own_family_only() {
        let prefix: Prefix = "10.0.0.0/8".parse().unwrap();
        assert!(prefix.contains("10.255.0.1".parse().unwrap()));
        assert!(!prefix.contains("11.0.0.1".parse().unwrap()));
        assert!(!prefix.contains("::1".parse().unwrap()));
        assert!("10.0.0.0/33".parse::<Prefix>().is_err());
    }

    #[test]
    fn fold_is_the_xor_of_the_words() {
        assert_eq!(Address::v4([10, 0, 0, 1]).fold(), 0x0a00_0001);
        let v6 = Address::from("fd99::9".parse::<IpAddr>().unwrap());
        assert_eq!(v6.fold(), 0xfd99_0009);
    }
}
