//! Who is where in the lab, as the transcripts' README states it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::{Family, Mac};

pub const DIRECTOR: [Mac; 2] = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 1, 1])];

/// Clients on eth0, real servers on eth1.
pub const CLIENTS: u8 = 4;
pub const SERVERS: u8 = 8;

/// Virtual addresses beside the lab's own.
pub const VIPS: u8 = 4;

/// A neighbour of the director.
#[derive(Clone, Copy, Debug)]
pub struct Neighbour {
    pub address: IpAddr,
    pub mac: Mac,
}

/// Client 1 to 4.
pub fn client(family: Family, number: u8) -> Neighbour {
    let address = match family {
        Family::V4 => Ipv4Addr::new(10, 0, 0, 1 + number).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(1 + number)).into(),
    };
    Neighbour { address, mac: Mac([2, 0, 0, 0, 0, 1 + number]) }
}

/// A client far away, whose frames come by the gateway.
pub fn far_client(family: Family, number: u8) -> Neighbour {
    let address = match family {
        Family::V4 => Ipv4Addr::new(198, 51, 100, number).into(),
        Family::V6 => Ipv6Addr::new(0xfd55, 0, 0, u16::from(number >> 4), 0, 0, 0, u16::from(number)).into(),
    };
    Neighbour { address, mac: Mac([2, 0, 0, 0, 0, 0xfe]) }
}

/// Real server 1 to 8 next door; beyond that, one behind the servers' gateway.
pub fn server(family: Family, number: u8) -> Neighbour {
    if number > SERVERS {
        let address = match family {
            Family::V4 => Ipv4Addr::new(192, 168, 77, number).into(),
            Family::V6 => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(number)).into(),
        };
        return Neighbour { address, mac: Mac([2, 0, 0, 0, 1, 0xfe]) };
    }
    let address = match family {
        Family::V4 => Ipv4Addr::new(172, 16, 0, 10 + number).into(),
        // Its last group is written in decimal digits: server 1 is fd01::11.
        Family::V6 => Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 0x10 + u16::from(number)).into(),
    };
    Neighbour { address, mac: Mac([2, 0, 0, 0, 1, 10 + number]) }
}

/// A router on the link: not the end of anything, but it may have something to say.
pub fn router(family: Family, link: usize) -> Neighbour {
    let address = match (family, link) {
        (Family::V4, 0) => Ipv4Addr::new(10, 0, 0, 254).into(),
        (Family::V4, _) => Ipv4Addr::new(172, 16, 0, 254).into(),
        (Family::V6, 0) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfe).into(),
        (Family::V6, _) => Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 0xfe).into(),
    };
    Neighbour { address, mac: Mac([2, 0, 0, 0, link as u8, 0xfe]) }
}

/// The director's own address on a link.
pub fn director(family: Family, link: usize) -> IpAddr {
    match (family, link) {
        (Family::V4, 0) => Ipv4Addr::new(10, 0, 0, 1).into(),
        (Family::V4, _) => Ipv4Addr::new(172, 16, 0, 1).into(),
        (Family::V6, 0) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into(),
        (Family::V6, _) => Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1).into(),
    }
}

/// Virtual address 0 is the lab's; the others are there where a scenario wants them.
pub fn vip(family: Family, number: u8) -> IpAddr {
    match (family, number) {
        (Family::V4, 0) => Ipv4Addr::new(10, 9, 9, 9).into(),
        (Family::V4, _) => Ipv4Addr::new(10, 9, 8, number).into(),
        (Family::V6, 0) => Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 9).into(),
        (Family::V6, _) => Ipv6Addr::new(0xfd98, 0, 0, 0, 0, 0, 0, u16::from(number)).into(),
    }
}
