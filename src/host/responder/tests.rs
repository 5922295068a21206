//! Frame in, answer out; and what is learned on the way.

use std::net::Ipv6Addr;

use super::*;
use crate::base::Prefix;
use crate::table::Link;
use crate::wire::Offload;

const LINK: LinkId = LinkId(0);
const BACK: LinkId = LinkId(1);
const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
const VIRTUAL: Mac = Mac([0, 0, 0x5e, 0, 1, 7]);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(id: LinkId, addresses: &[&str]) -> Link {
    Link {
        id,
        index: id.0 + 2,
        name: format!("eth{}", id.0),
        layer: LinkLayer::Ethernet,
        mac: OWN,
        virtual_mac: Some(VIRTUAL),
        mtu: 1500,
        up: true,
        addresses: addresses.iter().map(|text| text.parse::<Prefix>().unwrap()).collect(),
    }
}

fn responder() -> Responder {
    let network =
        Network::new(vec![link(LINK, &["10.0.0.1/24", "fd01::1/64"]), link(BACK, &["172.16.0.1/24"])], vec![]);
    let owned = |address: &str, role: Role, link: Option<LinkId>| Owned { address: ip(address), role, link };
    let mut responder = Responder::default();
    responder.set(
        &[
            owned("10.0.0.100", Role::Virtual, None),
            owned("172.16.0.254", Role::Gateway, Some(BACK)),
            owned("fd01::100", Role::Virtual, None),
            owned("fd02::fe", Role::Gateway, Some(BACK)),
            // The host's own: the kernel answers.
            owned("10.0.0.1", Role::Virtual, None),
        ],
        &network,
        &[LINK, BACK],
    );
    responder
}

/// Hears the first `length` bytes of `bytes` on `link`.
fn hear(responder: &mut Responder, link: LinkId, bytes: &mut [u8], length: usize) -> (Heard, Vec<u8>) {
    let frame = Frame::ethernet(bytes, 0, length, link, Offload::NONE).unwrap();
    let mut out = [0xa5; ANSWER_LENGTH];
    let heard = responder.hear(&frame, &mut out);
    let answer = match heard {
        Heard::Understood(Understood { answer: Some(length), .. }) => out[..length].to_vec(),
        _ => Vec::new(),
    };
    (heard, answer)
}

fn hear_arp(link: LinkId, arp: Arp, destination: Mac) -> (Understood, Option<Arp>) {
    let mut bytes = [0; 60];
    arp.write(destination, &mut bytes).unwrap();
    let (heard, answer) = hear(&mut responder(), link, &mut bytes, 60);
    let Heard::Understood(understood) = heard else { panic!("{heard:?}") };
    if !answer.is_empty() {
        assert_eq!((Mac(*answer.first_chunk().unwrap()), &answer[6..12]), (PEER, &VIRTUAL.0[..]));
    }
    (understood, answer.get(14..).map(|packet| Arp::parse(packet).unwrap()))
}

fn v4(text: &str) -> std::net::Ipv4Addr {
    text.parse().unwrap()
}

#[test]
fn arp_is_answered_for_what_is_owned_where_it_is_owned() {
    let learned = |address: &str, evidence| Some(Learned { address: ip(address), mac: PEER, evidence });
    let wanted = Evidence::Request;
    let overheard = Evidence::Announcement;
    // Sender, target, link; answered; learned.
    let rows = [
        ("10.0.0.9", "10.0.0.100", LINK, true, learned("10.0.0.9", wanted)),
        ("172.16.0.9", "172.16.0.254", BACK, true, learned("172.16.0.9", wanted)),
        ("172.16.0.9", "172.16.0.254", LINK, false, learned("172.16.0.9", overheard)),
        ("10.0.0.9", "10.0.0.1", LINK, false, learned("10.0.0.9", wanted)),
        ("10.0.0.9", "10.0.0.77", LINK, false, learned("10.0.0.9", overheard)),
        ("0.0.0.0", "10.0.0.100", LINK, true, None),
        ("0.0.0.0", "10.0.0.77", LINK, false, None),
    ];
    for (sender, target, link, answered, expected) in rows {
        let request = Arp::request(PEER, v4(sender), v4(target));
        let (understood, answer) = hear_arp(link, request, Mac::BROADCAST);
        assert_eq!(answer, answered.then(|| Arp::reply(&request, VIRTUAL)), "{sender} {target}");
        assert_eq!(understood.learned, expected, "{sender} {target}");
        assert_eq!(understood.claim, None);
    }
}

#[test]
fn replies_teach_and_claims_are_reported() {
    let request = Arp::request(OWN, v4("10.0.0.1"), v4("10.0.0.9"));
    let reply = Arp::reply(&request, PEER);
    let told = |evidence| Some(Learned { address: ip("10.0.0.9"), mac: PEER, evidence });
    assert_eq!(hear_arp(LINK, reply, OWN).0.learned, told(Evidence::Answer));
    assert_eq!(hear_arp(LINK, reply, VIRTUAL).0.learned, told(Evidence::Answer));
    assert_eq!(hear_arp(LINK, reply, Mac::BROADCAST).0.learned, told(Evidence::Announcement));
    assert_eq!(
        hear_arp(LINK, Arp::announcement(PEER, v4("10.0.0.9")), Mac::BROADCAST).0.learned,
        told(Evidence::Announcement)
    );
    let claim = hear_arp(LINK, Arp::announcement(PEER, v4("10.0.0.100")), Mac::BROADCAST).0;
    let expected = Some(Claim { address: ip("10.0.0.100"), mac: PEER });
    assert_eq!(claim, Understood { claim: expected, ..Understood::default() });
    // Somebody else has our Ethernet address, or the switch brings our announcement back.
    let echo = hear_arp(LINK, Arp::announcement(VIRTUAL, v4("10.0.0.100")), Mac::BROADCAST).0;
    assert_eq!(echo, Understood::double(VIRTUAL));
}

fn hear_discovery(link: LinkId, message: Discovery) -> (Understood, Option<(Mac, Discovery)>) {
    let mut bytes = [0; ANSWER_LENGTH];
    let length = message.write(PEER, VIRTUAL, &mut bytes).unwrap();
    let (heard, answer) = hear(&mut responder(), link, &mut bytes, length);
    let Heard::Understood(understood) = heard else { panic!("{heard:?}") };
    let answer = answer
        .get(14..)
        .map(|packet| (Mac(*answer.first_chunk().unwrap()), Discovery::parse(packet).unwrap().unwrap()));
    (understood, answer)
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

#[test]
fn solicitations_are_answered_probes_to_everyone() {
    let ask = |source: &str, target: &str| Discovery::question(PEER, v6(source), v6(target), false);
    let question = ask("fd01::9", "fd01::100");
    let (understood, answer) = hear_discovery(LINK, question);
    assert_eq!(answer, Some((PEER, Discovery::answer(&question, VIRTUAL, false))));
    let learned = Learned { address: ip("fd01::9"), mac: PEER, evidence: Evidence::Request };
    assert_eq!(understood.learned, Some(learned));

    let gateway = ask("fd02::9", "fd02::fe");
    assert_eq!(hear_discovery(BACK, gateway).1, Some((PEER, Discovery::answer(&gateway, VIRTUAL, true))));
    assert_eq!(hear_discovery(LINK, gateway).1, None);
    assert_eq!(hear_discovery(LINK, ask("fd01::9", "fd01::1")).1, None);
    assert_eq!(hear_discovery(LINK, ask("fd01::9", "fd01::77")).1, None);

    let probe = Discovery { source: Ipv6Addr::UNSPECIFIED, link_layer: None, ..question };
    let (understood, answer) = hear_discovery(LINK, probe);
    let everyone = Mac([0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(answer, Some((everyone, Discovery::answer(&probe, VIRTUAL, false))));
    assert_eq!(understood.learned, None);
    assert_eq!(understood.claim, Some(Claim { address: ip("fd01::100"), mac: PEER }));

    // The source's own address from the Ethernet header, where the message does not name it.
    let bare = Discovery { destination: v6("fd01::100"), link_layer: None, ..question };
    let (understood, answer) = hear_discovery(LINK, bare);
    assert_eq!(answer.map(|(to, _)| to), Some(PEER));
    assert_eq!(understood.learned, None);
}

#[test]
fn advertisements_teach_by_their_flags() {
    use crate::host::discovery::Flags;
    let rows = [
        ((true, true), Some(Evidence::Answer)),
        ((true, false), Some(Evidence::Confirmation)),
        ((false, true), Some(Evidence::Announcement)),
        ((false, false), None),
    ];
    for ((solicited, overriding), evidence) in rows {
        let message = Discovery {
            kind: Kind::Advertisement(Flags { router: false, solicited, overriding }),
            source: v6("fd01::9"),
            destination: if solicited { v6("fd01::1") } else { v6("ff02::1") },
            target: v6("fd01::9"),
            link_layer: Some(PEER),
        };
        let expected = evidence.map(|evidence| Learned { address: ip("fd01::9"), mac: PEER, evidence });
        assert_eq!(hear_discovery(LINK, message).0.learned, expected);
    }
    // Without the option nothing is said of where it is.
    for ((solicited, overriding), evidence) in [((true, true), Some(Evidence::Presence)), ((false, true), None)] {
        let message = Discovery {
            kind: Kind::Advertisement(Flags { router: false, solicited, overriding }),
            source: v6("fd01::9"),
            destination: if solicited { v6("fd01::1") } else { v6("ff02::1") },
            target: v6("fd01::9"),
            link_layer: None,
        };
        let learned = hear_discovery(LINK, message).0.learned;
        assert_eq!(learned.map(|learned| learned.evidence), evidence);
    }
    assert_eq!(
        hear_discovery(LINK, Discovery::announcement(VIRTUAL, v6("fd01::100"), false)).0,
        Understood::double(VIRTUAL)
    );
    let claim = hear_discovery(LINK, Discovery::announcement(PEER, v6("fd01::100"), false)).0;
    assert_eq!(claim.claim, Some(Claim { address: ip("fd01::100"), mac: PEER }));
    assert_eq!(claim.learned, None);
}

#[test]
fn what_is_not_for_it_is_left_and_the_malformed_is_counted() {
    let mut responder = responder();
    let mut bytes = [0; 60];
    Arp::request(PEER, v4("10.0.0.9"), v4("10.0.0.100")).write(Mac::BROADCAST, &mut bytes).unwrap();
    assert_eq!(hear(&mut responder, LinkId(7), &mut bytes, 60).0, Heard::Other);
    assert_eq!(hear(&mut responder, LINK, &mut bytes, 40).0, Heard::Malformed(Malformed::Truncated));
    bytes[21] = 9;
    assert_eq!(hear(&mut responder, LINK, &mut bytes, 60).0, Heard::Malformed(Malformed::UnknownOperation));
    bytes[12..14].copy_from_slice(&[8, 0]);
    assert_eq!(hear(&mut responder, LINK, &mut bytes, 60).0, Heard::Other);
    bytes[12..14].copy_from_slice(&[0x81, 0]);
    assert_eq!(hear(&mut responder, LINK, &mut bytes, 60).0, Heard::Other);
    let counters = responder.counters();
    for reason in Malformed::ALL {
        let expected = u64::from(matches!(reason, Malformed::Truncated | Malformed::UnknownOperation));
        assert_eq!(counters.malformed(reason), expected, "{}", reason.name());
    }
    assert_eq!((counters.answers, counters.claims), (0, 0));
}

#[test]
fn announcements_follow_the_links() {
    let responder = responder();
    let mut out = [0; ANSWER_LENGTH];
    assert_eq!(responder.announce(LINK, ip("10.0.0.100"), &mut out), Some(42));
    assert_eq!(Arp::parse(&out[14..]), Ok(Arp::announcement(VIRTUAL, v4("10.0.0.100"))));
    assert_eq!(responder.announce(BACK, ip("fd02::fe"), &mut out), Some(86));
    let message = Discovery::announcement(VIRTUAL, v6("fd02::fe"), true);
    assert_eq!(Discovery::parse(&out[14..]), Ok(Some(message)));
    assert_eq!(responder.announce(LINK, ip("fd02::fe"), &mut out), None);
    assert_eq!(responder.announce(LINK, ip("10.0.0.1"), &mut out), None);
}

proptest::proptest! {
    #[test]
    fn no_frame_does_harm(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 14..120), v6: bool) {
        bytes[12..14].copy_from_slice(if v6 { &[0x86, 0xdd] } else { &[8, 6] });
        let length = bytes.len();
        hear(&mut responder(), LINK, &mut bytes, length);
    }
}

/// A real kernel asks us, and answers us.
#[test]
fn a_kernel_believes_the_answers_and_answers_the_questions() {
    use std::net::UdpSocket;
    use std::time::Duration;

    use pnet::datalink::{self, Channel, Config};

    use crate::host::neighbour::Question;
    use crate::host::question::{QUESTION_LENGTH, Sender};
    use crate::host::testing::{eventually, namespaces};

    let Some([director, client]) = namespaces() else { return };
    director.sysctl("net.ipv6.conf.all.disable_ipv6", "1");
    director.wire("eth0", &client, "eth0");
    client.ip("addr add 10.0.0.9/24 dev eth0");
    client.ip("addr add fd01::9/64 dev eth0 nodad");
    let channel = director.run(|| {
        let interface = datalink::interfaces().into_iter().find(|each| each.name == "eth0").unwrap();
        let config = Config { read_timeout: Some(Duration::from_millis(10)), ..Config::default() };
        datalink::channel(&interface, config).unwrap()
    });
    let Channel::Ethernet(mut to_wire, mut from_wire) = channel else { panic!("not Ethernet") };
    let network = Network::new(vec![link(LINK, &[])], vec![]);
    let owned = |text: &str| Owned { address: ip(text), role: Role::Virtual, link: None };
    let mut responder = Responder::default();
    responder.set(&[owned("10.0.0.100"), owned("fd01::100")], &network, &[LINK]);
    let vips = [ip("10.0.0.100"), ip("fd01::100")];
    // One frame taken in; who answered us with it, if that is what it was.
    let mut turn = |question: Option<&[u8]>| {
        if let Some(question) = question {
            to_wire.send_to(question, None).unwrap().unwrap();
        }
        // A timeout is no frame.
        let mut bytes = from_wire.next().ok()?.to_vec();
        let length = bytes.len();
        let (heard, answer) = hear(&mut responder, LINK, &mut bytes, length);
        if !answer.is_empty() {
            to_wire.send_to(&answer, None).unwrap().unwrap();
        }
        let Heard::Understood(understood) = heard else { return None };
        understood.learned.filter(|learned| learned.evidence == Evidence::Answer).map(|learned| learned.address)
    };

    eventually("the kernel knows where the VIPs are", || {
        client.run(move || {
            // Whether the address can be used yet is what the loop is for.
            for (from, to) in [("10.0.0.9:0", "10.0.0.100:9"), ("[fd01::9]:0", "[fd01::100]:9")] {
                let _ = UdpSocket::bind(from).unwrap().send_to(b"?", to);
            }
        });
        turn(None);
        let known = client.ip("neigh show");
        vips.iter().all(|vip| {
            let (start, end) = (format!("{vip} "), format!("{VIRTUAL} REACHABLE"));
            known.lines().any(|line| line.starts_with(&start) && line.contains(&end))
        })
    });
    for peer in [ip("10.0.0.9"), ip("fd01::9")] {
        let sender = Sender::choose(&link(LINK, &[]), peer, &[], &vips).unwrap();
        let mut question = [0; QUESTION_LENGTH];
        let length = sender.write(&Question { link: LINK, address: peer, to: None }, &mut question).unwrap();
        eventually("the kernel answers", || turn(Some(&question[..length])) == Some(peer));
    }
}
