//! Packets that come in: built right from fields, and then perhaps not left right.

use arbitrary::{Result, Unstructured};

use crate::base::{Family, LinkId};
use crate::engine::tests::packet::{
    Endpoint, Packet, Upper, ends, fix_header, fragments4, fragments6, icmp, icmp_error,
};
use crate::engine::tests::world::{ETH0, ETH1, LINK_LENGTH, TUN0, address};
use crate::wire::Offload;
use crate::wire::offload::{Completion, HEADER_LENGTH, Segmentation};

/// The first half is IPv4.
pub const VIPS: [&str; 4] = ["10.9.9.9", "10.7.0.1", "fd99::9", "fd99::a"];
pub const CLIENTS: [&str; 4] = ["10.0.0.2", "10.0.0.3", "fd00::2", "fd00::3"];
/// Real servers, of which some are behind a small MTU, have no route, are the host, or are no host at all.
pub const SERVERS: [&str; 16] = [
    "172.16.0.11",
    "172.16.0.12",
    "172.16.0.13",
    "172.17.0.11",
    "192.0.2.7",
    "203.0.113.9",
    "10.0.0.1",
    "127.0.0.1",
    "fd01::11",
    "fd01::12",
    "fd01::13",
    "fd02::11",
    "fd77::7",
    "2001:db8::9",
    "fd00::1",
    "::1",
];
pub const PORTS: [u16; 8] = [80, 443, 21, 20, 5060, 0, 2049, 53];

/// Whether what comes in is always right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Proper,
    Any,
}

/// Frames that make up one packet.
pub struct Incoming {
    pub link: LinkId,
    pub frames: Vec<(Vec<u8>, Offload)>,
    /// Nothing is wrong with it.
    pub right: bool,
    /// It carries a VLAN tag.
    pub tagged: bool,
}

impl Incoming {
    /// Any packet; some answer, repeat or quote one of those that `left`.
    pub fn any(u: &mut Unstructured, left: &[Vec<u8>], manner: Manner) -> Result<Incoming> {
        let link = *u.choose(&[ETH0, ETH0, ETH1, ETH1, TUN0, LinkId(3), LinkId(9)])?;
        let mut right = true;
        let kinds = if manner == Manner::Proper { 8 } else { 9 };
        let mut frames = match u.int_in_range(0..=kinds)? {
            4..=6 if !left.is_empty() => {
                // A packet of the engine's answered the other way round. What is in tunnels is not.
                let packet = u.choose(left)?.clone();
                let packet = answer(u, &packet)?;
                form(u, &packet, link)?
            }
            7 if !left.is_empty() => {
                let packet = u.choose(left)?.clone();
                let (from, to) = ends(&packet);
                let cut = if u.arbitrary()? { packet.len() } else { u.int_in_range(0..=packet.len())? };
                let (kind, code) = (*u.choose(&[3, 11, 1, 2, 4, 12, 5])?, u.int_in_range(0..=4)?);
                let reporter = if u.arbitrary()? { to.0 } else { address(u.choose(&SERVERS[..4])?) };
                let reporter = if Family::of(&reporter) == Family::of(&from.0) { reporter } else { to.0 };
                vec![(icmp_error(reporter, from.0, kind, code, &packet[..cut]), Offload::NONE)]
            }
            8 => {
                let half = if u.arbitrary()? { 0 } else { 2 };
                let ends = (address(CLIENTS[half]), address(VIPS[half]));
                let kind = if half == 0 { 8 } else { 128 };
                let length = u.arbitrary_len::<u8>()?.min(64);
                let message = [&[kind, 0, 0, 0, 0, 1, 0, 1], u.bytes(length)?].concat();
                vec![(icmp(ends.0, ends.1, message), Offload::NONE)]
            }
            9 => {
                right = false;
                let length = u.arbitrary_len::<u8>()?.min(300);
                vec![(u.bytes(length)?.to_vec(), Offload::NONE)]
            }
            _ => {
                let packet = request(u)?;
                form(u, &packet, link)?
            }
        };
        for _ in 0..4 {
            if manner == Manner::Proper || !u.ratio(1, 3)? {
                break;
            }
            right = false;
            let at = u.choose_index(frames.len())?;
            mutate(u, &mut frames[at].0)?;
        }
        if manner == Manner::Any && u.ratio(1, 8)? {
            right = false;
            let offload = offload(u)?;
            frames.iter_mut().for_each(|frame| frame.1 = offload);
        }
        if frames.len() > 1 && u.ratio(1, 3)? {
            let (one, other) = (u.choose_index(frames.len())?, u.choose_index(frames.len())?);
            frames.swap(one, other);
        }
        if frames.len() > 1 && u.ratio(1, 6)? {
            let lost = u.choose_index(frames.len())?;
            frames.remove(lost);
        }
        Ok(Incoming { link, frames, right, tagged: u.ratio(1, 50)? })
    }
}

fn request(u: &mut Unstructured) -> Result<Packet> {
    let half = if u.ratio(2, 3)? { 0 } else { 2 };
    let client = (address(CLIENTS[half + u.choose_index(2)?]), 40_000 + u.int_in_range(0..=3)?);
    let vip = (address(VIPS[half + u.choose_index(2)?]), *u.choose(&PORTS)?);
    let upper = match u.int_in_range(0..=9u8)? {
        0..=3 => Upper::Tcp(*u.choose(&[0x02, 0x10, 0x11, 0x04, 0x12, 0x00, 0x3f])?),
        4..=6 => Upper::Udp,
        7 | 8 => Upper::Sctp(u.int_in_range(0..=15)?),
        _ => Upper::Other(*u.choose(&[50, 2, 59, 99])?),
    };
    dressed(u, client, vip, upper)
}

/// A packet between two ends, with a payload.
fn dressed(u: &mut Unstructured, from: Endpoint, to: Endpoint, upper: Upper) -> Result<Packet> {
    let packet = Packet::new(from, to, upper);
    let packet = match u.int_in_range(0..=7u8)? {
        0 | 1 => packet,
        2..=4 => packet.filled(u.int_in_range(0..=1600)?),
        5 => packet.filled(u.int_in_range(0..=65_475)?),
        6 => Packet { payload: if u.arbitrary()? { sip(u)? } else { ftp(u)? }, ..packet },
        _ => {
            let length = u.arbitrary_len::<u8>()?.min(600);
            Packet { payload: u.bytes(length)?.to_vec(), ..packet }
        }
    };
    Ok(Packet {
        ttl: *u.choose(&[64, 64, 64, 64, 255, 2, 1, 0])?,
        dont_fragment: u.arbitrary()?,
        identification: u.arbitrary()?,
        ..packet
    })
}

/// Lines of FTP's that announce a data connection, mostly whole.
fn ftp(u: &mut Unstructured) -> Result<Vec<u8>> {
    let verb = *u.choose(&["PORT ", "EPRT ", "PASV", "EPSV", "227 Entering Passive Mode (", "229 Extended (", "x"])?;
    let ends = [
        "10,0,0,2,156,64\r\n",
        "172,16,0,11,8,1)\r\n",
        "|1|10.0.0.2|40000|\r\n",
        "|2|fd00::2|40000|\r\n",
        "|||2049|)\r\n",
        "\r\n",
        "10,0,0,2,999,64",
        "|1||",
        "",
    ];
    let mut text = [verb.as_bytes(), u.choose(&ends)?.as_bytes()].concat();
    if u.ratio(1, 3)? && !text.is_empty() {
        let at = u.choose_index(text.len())?;
        text[at] = u.arbitrary()?;
    }
    Ok(text)
}

/// A message with a Call-ID, mostly.
fn sip(u: &mut Unstructured) -> Result<Vec<u8>> {
    let name = *u.choose(&["Call-ID: ", "i: ", "call-id:", "Call-ID"])?;
    let end = *u.choose(&["\r\n", "\n", "", "\r"])?;
    let id: Vec<u8> = (0..u.int_in_range(0..=130)?).map(|at| b'a' + at % 26).collect();
    Ok([b"INVITE sip:b@example.org SIP/2.0\r\n", name.as_bytes(), &id, end.as_bytes(), b"\r\n"].concat())
}

fn answer(u: &mut Unstructured, packet: &[u8]) -> Result<Packet> {
    let (from, to) = ends(packet);
    let upper = match crate::wire::dissect::dissect_quoted(Family::of(&from.0), packet).map(|parts| parts.protocol.0) {
        Ok(6) => Upper::Tcp(*u.choose(&[0x12, 0x10, 0x11, 0x04])?),
        Ok(17) => Upper::Udp,
        Ok(132) => Upper::Sctp(*u.choose(&[2, 0, 3, 11, 7, 8, 14])?),
        // A tunnel's packet has no answer of this kind.
        _ => return request(u),
    };
    dressed(u, to, from, upper)
}

/// The frames that a packet comes in.
fn form(u: &mut Unstructured, packet: &Packet, link: LinkId) -> Result<Vec<(Vec<u8>, Offload)>> {
    let link_length = if link == TUN0 { 0 } else { LINK_LENGTH };
    Ok(match (u.int_in_range(0..=7u8)?, &packet.upper) {
        (0, Upper::Tcp(_) | Upper::Udp) => vec![packet.partial(link_length)],
        (1, Upper::Tcp(_)) => vec![packet.super_frame(link_length, u.int_in_range(300..=1500)?)],
        (2, _) => {
            let whole = packet.bytes();
            let units = u.int_in_range(1..=180)?.max(whole.len() / 8 / 40 + 1);
            let pieces = if packet.family() == Family::V4 { fragments4 } else { fragments6 };
            pieces(&whole, units * 8).into_iter().map(|piece| (piece, Offload::NONE)).collect()
        }
        _ => vec![(packet.bytes(), Offload::NONE)],
    })
}

fn mutate(u: &mut Unstructured, packet: &mut Vec<u8>) -> Result<()> {
    if packet.is_empty() {
        return Ok(());
    }
    let is_v4 = packet[0] >> 4 == 4;
    match u.int_in_range(0..=7u8)? {
        0 => {
            let at = u.choose_index(packet.len())?;
            packet[at] ^= u.arbitrary::<u8>()?;
        }
        1 => {
            let at = u.choose_index(packet.len().min(70))?;
            packet[at] = u.arbitrary()?;
        }
        2 => packet.truncate(u.choose_index(packet.len())?),
        3 => {
            let at = if is_v4 { 2 } else { 4 };
            if let Some(field) = packet.get_mut(at..at + 2) {
                field.copy_from_slice(&u.arbitrary::<u16>()?.to_be_bytes());
            }
        }
        4 if is_v4 && packet.len() >= 20 && packet[0] & 15 == 5 => {
            let units = u.int_in_range(1..=10u8)?;
            packet[0] = 0x45 + units;
            let mut options = vec![0; usize::from(units) * 4];
            u.fill_buffer(&mut options)?;
            packet.splice(20..20, options);
            set_length(packet, 2, 0);
        }
        4 if !is_v4 && packet.len() >= 40 => {
            let mut header = vec![0; usize::from(u.int_in_range(1..=4u8)?) * 8];
            u.fill_buffer(&mut header)?;
            header[0] = packet[6];
            header[1] = (header.len() / 8 - 1) as u8;
            packet[6] = *u.choose(&[60, 0, 43, 51, 44])?;
            packet.splice(40..40, header);
            set_length(packet, 4, 40);
        }
        5 if is_v4 && packet.len() >= 20 => packet[6..8].copy_from_slice(&u.arbitrary::<u16>()?.to_be_bytes()),
        6 => packet.resize(packet.len() + u.int_in_range(0..=60)?, 0xee),
        _ => {}
    }
    // Most of what is wrong is behind a header that is right.
    if is_v4 && packet.len() >= 20 && u.ratio(7, 8)? {
        fix_header(packet);
    }
    Ok(())
}

/// Makes a length field say what there is, as far as it can.
fn set_length(packet: &mut [u8], at: usize, less: usize) {
    let length = (packet.len() - less).min(usize::from(u16::MAX)) as u16;
    packet[at..at + 2].copy_from_slice(&length.to_be_bytes());
}

fn offload(u: &mut Unstructured) -> Result<Offload> {
    if u.arbitrary()? {
        let mut bytes = [0; HEADER_LENGTH];
        u.fill_buffer(&mut bytes)?;
        return Ok(Offload::read(&bytes).unwrap_or(Offload::NONE));
    }
    let start = *u.choose(&[34, 54, 20, 40, 14, 0])?;
    let segmentation = [
        Segmentation::Tcp4 { ecn: false },
        Segmentation::Tcp6 { ecn: true },
        Segmentation::Udp,
        Segmentation::UdpFragments,
    ];
    Ok(Offload {
        checksum: Completion::Partial { start, offset: *u.choose(&[16, 6, 0, 8])? },
        segmentation: *u.choose(&segmentation)?,
        segment_size: *u.choose(&[1, 8, 536, 1448, 0, u16::MAX])?,
        header_length: start,
    })
}
