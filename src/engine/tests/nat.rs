//! Network address translation there and back again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use crate::base::Port;
use crate::table::{Change, ServiceKey};
use crate::wire::Offload;

use super::packet::{Endpoint, Packet, Upper, ends};
use super::sound;
use super::world::{ETH0, ETH1, LINK_LENGTH, World, destination_config, service_config};

/// A connection's ends.
#[derive(Clone, Debug)]
struct Ends {
    client: Endpoint,
    vip: Endpoint,
    server: Endpoint,
}

/// How an end left its packet's checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Complete,
    Partial,
}

fn a_connection() -> impl Strategy<Value = Ends> {
    let ends = |client: IpAddr, vip: IpAddr, server: IpAddr| {
        (a_port(), a_port(), a_port()).prop_map(move |(from, to, real)| Ends {
            client: (client, from),
            vip: (vip, to),
            server: (server, real),
        })
    };
    let v4 = (2u8..255, any::<u16>(), 2u8..255).prop_flat_map(move |(client, vip, server)| {
        let [high, low] = vip.to_be_bytes();
        ends(
            Ipv4Addr::new(10, 0, 0, client).into(),
            Ipv4Addr::new(192, 168, high, low).into(),
            Ipv4Addr::new(172, 16, 0, server).into(),
        )
    });
    let v6 = (2u64.., any::<u64>(), 2u64..).prop_flat_map(move |(client, vip, server)| {
        let host = |network: u16, host: u64| {
            let [a, b, c, d, e, f, g, h] = host.to_be_bytes();
            let [n, m] = network.to_be_bytes();
            IpAddr::from(Ipv6Addr::from([n, m, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h]))
        };
        ends(host(0xfd00, client), host(0xfd99, vip), host(0xfd01, server))
    });
    prop_oneof![v4, v6]
}

/// Any port but FTP's data port, where nothing begins, and the one that the second opinion takes
/// for a tunnel's.
fn a_port() -> impl Strategy<Value = u16> {
    (1u16..).prop_filter("a port without a meaning of its own", |&port| port != 20 && port != sound::GUE_PORT)
}

/// A first packet's header, and a reply's.
fn a_protocol() -> impl Strategy<Value = (Upper, Upper)> {
    prop_oneof![
        Just((Upper::Tcp(2), Upper::Tcp(0x12))),
        Just((Upper::Udp, Upper::Udp)),
        Just((Upper::Sctp(1), Upper::Sctp(2))),
    ]
}

fn a_form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Complete), Just(Form::Partial)]
}

fn written(packet: &Packet, form: Form) -> (Vec<u8>, Offload) {
    match (form, &packet.upper) {
        (Form::Partial, Upper::Tcp(_) | Upper::Udp) => packet.partial(LINK_LENGTH),
        _ => (packet.bytes(), Offload::NONE),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reply_comes_back_from_the_virtual_address(
        ends_of in a_connection(),
        (first, answer) in a_protocol(),
        forms in (a_form(), a_form()),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let Ends { client, vip, server } = ends_of;
        let request = Packet { payload: payload.clone(), ..Packet::new(client, vip, first) };
        let mut world = World::new();
        let key = ServiceKey::Address { protocol: request.protocol(), address: vip.0, port: Port(vip.1) };
        world.apply(Change::AddService { key, config: service_config(&key) });
        let server_key = crate::table::DestinationKey { address: server.0, port: Port(server.1) };
        world.apply(Change::AddDestination { service: key, key: server_key, config: destination_config() });

        let (bytes, offload) = written(&request, forms.0);
        let outcome = world.handle(ETH0, &bytes, offload);
        prop_assert_eq!(outcome.sent.len(), 1, "{:?}", outcome.verdict);
        let forwarded = &outcome.sent[0];
        prop_assert_eq!(ends(&forwarded.packet), (client, server));
        prop_assert_eq!(forwarded.offload, offload);
        prop_assert_eq!(sound::ethernet(&forwarded.packet, &forwarded.offload), Ok(()));
        prop_assert!(forwarded.packet.ends_with(&payload));

        let (client_end, server_end) = ends(&forwarded.packet);
        let reply = Packet { payload: payload.clone(), ..Packet::new(server_end, client_end, answer) };
        let (bytes, offload) = written(&reply, forms.1);
        let outcome = world.handle(ETH1, &bytes, offload);
        prop_assert_eq!(outcome.sent.len(), 1, "{:?}", outcome.verdict);
        let back = &outcome.sent[0];
        prop_assert_eq!(ends(&back.packet), (vip, client));
        prop_assert_eq!(back.offload, offload);
        prop_assert_eq!(sound::ethernet(&back.packet, &back.offload), Ok(()));
        prop_assert_eq!(back.packet.len(), bytes.len());
        prop_assert!(back.packet.ends_with(&payload));
    }
}
