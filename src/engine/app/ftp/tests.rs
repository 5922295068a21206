//! Spellings that the recordings do not have, and bytes of any kind.

use proptest::prelude::*;

use super::*;

fn v4(a: u8, b: u8, c: u8, d: u8) -> Address {
    Address::v4([a, b, c, d])
}

#[test]
fn commands() {
    let find = |text: &str| command(Family::V4, text.as_bytes());
    assert_eq!(find("PASV\r\n"), Some(Command::Ask(Mode::Passive)));
    assert_eq!(find("USER x\r\nepsv 1\r\n"), Some(Command::Ask(Mode::Extended)));
    assert_eq!(find("PORT 10,0,0,2,4,1\r\n"), Some(Command::Wait(v4(10, 0, 0, 2), Port(1025))));
    assert_eq!(find("eprt |1|10.0.0.2|1025|"), Some(Command::Wait(v4(10, 0, 0, 2), Port(1025))));
    for other in ["EPSV 2\r\n", "EPSV ALL\r\n", "EPSV 1"] {
        assert_eq!(find(other), None, "{other:?}");
        assert_eq!(find(&format!("{other} \r\nPASV\r\n")), None, "{other:?} ends the search");
        assert_eq!(find(&format!("PORT 10,0,0,2,4,1\r\n{other} ")), None, "{other:?} ends the search");
    }
    assert_eq!(find("EPSVx\r\nPASV\r\n"), Some(Command::Ask(Mode::Passive)));
    for text in ["", "PASV", "PASV\r", "PORT", "PORT ", "PORT 1", "PORT 1,2,3,4,5,6", "EPRT", "EPRT |", "EPRT |1|", "x"]
    {
        assert_eq!(find(text), None, "{text:?}");
    }
    assert_eq!(command(Family::V6, b"PASV\r\nPORT 1,2,3,4,5,6\r\n"), None);
    let loopback = Address::v6(std::net::Ipv6Addr::LOCALHOST.octets());
    assert_eq!(command(Family::V6, b"EPRT |2|::1|1025|\r\n"), Some(Command::Wait(loopback, Port(1025))));
}

#[test]
fn answers_are_where_they_are_said_to_be() {
    let text = b"227 Entering Passive Mode (172,16,0,11,195,80)\r\n";
    let found = answer(Mode::Passive, Family::V4, text).unwrap();
    assert_eq!((found.address, found.port), (Some(v4(172, 16, 0, 11)), Port(50000)));
    assert_eq!(&text[found.place], b"172,16,0,11,195,80");
    let text = b"229 ok (|1|172.16.0.11|50000|)\r\n";
    let found = answer(Mode::Extended, Family::V4, text).unwrap();
    assert_eq!((found.address, found.port), (Some(v4(172, 16, 0, 11)), Port(50000)));
    assert_eq!(&text[found.place], b"|1|172.16.0.11|50000|");
    assert_eq!(answer(Mode::Active, Family::V4, b"227 (1,2,3,4,5,6)\r\n"), None);
    assert_eq!(answer(Mode::Extended, Family::V4, b"227 (1,2,3,4,5,6)\r\n"), None);
}

#[test]
fn the_longest_announcements_fit() {
    let mut text = [0; LONGEST];
    let length = announce(Mode::Passive, v4(255, 255, 255, 255), Port(65535), &mut text);
    assert_eq!(&text[..length], b"255,255,255,255,255,255");
    let length = announce(Mode::Extended, Address::ZERO, Port(65535), &mut text);
    assert_eq!(&text[..length], b"|||65535|");
}

proptest! {
    #[test]
    fn what_is_announced_is_understood(octets: [u8; 4], port in 1u16.., extended: bool, before in "[a-z ]{0,20}") {
        let mode = if extended { Mode::Extended } else { Mode::Passive };
        let mut text = [0; LONGEST];
        let length = announce(mode, Address::v4(octets), Port(port), &mut text);
        let code = if extended { "229" } else { "227" };
        let line = [format!("{code} {before}(").as_bytes(), &text[..length], b")\r\n"].concat();
        let found = answer(mode, Family::V4, &line).unwrap();
        prop_assert_eq!(found.port, Port(port));
        prop_assert_eq!(found.address, (!extended).then(|| Address::v4(octets)));
        prop_assert_eq!(&line[found.place], &text[..length]);
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..60), head in 0usize..8, v6: bool) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let words: [&[u8]; 8] = [b"", b"PORT ", b"EPRT |1|", b"EPRT |2|", b"227 (", b"229 (|||", b"EPSV ", b"229 (|1|"];
        let text = [words[head], &bytes].concat();
        command(family, &text);
        for mode in [Mode::Active, Mode::Passive, Mode::Extended] {
            if let Some(found) = answer(mode, family, &text) {
                prop_assert!(found.place.end <= text.len() && found.place.start < found.place.end);
            }
        }
    }
}
