//! What the recordings cannot show: several workers, large numbers, synchronised connections, a
//! table of many pages. Everything else is replayed from the kernel's own files.

use std::io;

use super::*;
use crate::base::{Port, Protocol};
use crate::control::message::{Answer, ConnectionEntry, ConnectionPage, Counters, Rates};
use crate::table::{Errno, ForwardingMethod};

/// Two workers, and as many pages of connections as asked for.
struct Fake {
    pages: u64,
    asked: Vec<Request>,
}

impl Access for Fake {
    fn ask(&mut self, request: Request) -> io::Result<Answer> {
        self.asked.push(request.clone());
        let counters = |connections, in_bytes| Counters {
            connections,
            in_bytes,
            rates: Rates { out_bytes: 0xabcdef, ..Rates::default() },
            ..Counters::default()
        };
        Ok(match request {
            Request::Workers => Ok(Reply::Workers(vec![counters(16, 0x1_2345_6789), counters(1, 2)])),
            Request::Totals => Ok(Reply::Totals(counters(0x1_0000_0000, 3))),
            Request::Connections { cursor } => {
                let next = (cursor + 1 < self.pages).then_some(cursor + 1);
                Ok(Reply::Connections(ConnectionPage { entries: vec![entry(cursor as u16)], next }))
            }
            _ => Err(Errno::EPERM),
        })
    }
}

fn entry(port: u16) -> ConnectionEntry {
    ConnectionEntry {
        protocol: Protocol::TCP,
        client: IpAddr::from([10, 0, 0, 2]),
        client_port: Port(port),
        virtual_address: IpAddr::from([10, 9, 9, 9]),
        virtual_port: Port(80),
        destination: IpAddr::from([172, 16, 0, 11]),
        destination_port: Port(8080),
        state: "ESTABLISHED".to_owned(),
        expires: 899,
        synchronised: port == 1,
        method: ForwardingMethod::DirectRouting,
        engine: (port == 2).then(|| ("sip".to_owned(), b"\xffid".to_vec())),
    }
}

fn printed(file: File, pages: u64) -> Vec<u8> {
    let mut out = Vec::new();
    print(file, &mut Fake { pages, asked: Vec::new() }, &mut out).unwrap();
    out
}

#[test]
fn every_worker_has_a_line_and_wide_numbers_push_their_column() {
    let expected = "       Total Incoming Outgoing         Incoming         Outgoing\n\
        CPU    Conns  Packets  Packets            Bytes            Bytes\n\
        \x20 0       10        0        0        123456789                0\n\
        \x20 1        1        0        0                2                0\n\
        \x20 ~ 100000000        0        0                3                0\n\
        \n\
        \x20    Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n\
        \x20          0        0        0                0           ABCDEF\n";
    assert_eq!(String::from_utf8(printed(File::StatisticsPerWorker, 0)).unwrap(), expected);
}

#[test]
fn pages_follow_one_another_with_origin_or_engine_data() {
    let origins = String::from_utf8(printed(File::ConnectionOrigins, 2)).unwrap();
    let lines: Vec<&str> = origins.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "TCP 0A000002 0000 0A090909 0050 AC10000B 1F90 ESTABLISHED LOCAL      899",
            "TCP 0A000002 0001 0A090909 0050 AC10000B 1F90 ESTABLISHED SYNC       899",
        ]
    );
    let data = printed(File::Connections, 3);
    assert!(data.ends_with(b"0002 0A090909 0050 AC10000B 1F90 ESTABLISHED     899 sip \xffid\n"));
}

#[test]
fn every_helped_port_has_a_row_the_last_one_first() {
    struct Ftp(Vec<Port>);
    impl Access for Ftp {
        fn ask(&mut self, request: Request) -> io::Result<Answer> {
            let connection = |virtual_port, client_port, method| ConnectionEntry {
                virtual_port: Port(virtual_port),
                method,
                ..entry(client_port)
            };
            Ok(Ok(match request {
                Request::HelpedPorts => Reply::HelpedPorts(self.0.clone()),
                _ => Reply::Connections(ConnectionPage {
                    entries: vec![
                        connection(2121, 4000, ForwardingMethod::Masquerading),
                        connection(2121, 4001, ForwardingMethod::Masquerading),
                        connection(2121, 4002, ForwardingMethod::DirectRouting),
                        connection(2121, 0, ForwardingMethod::Masquerading),
                        connection(80, 4003, ForwardingMethod::Masquerading),
                    ],
                    next: None,
                }),
            }))
        }
    }
    let printed = |ports: &[u16]| {
        let mut out = Vec::new();
        let ports = ports.iter().map(|port| Port(*port)).collect();
        print(File::Applications, &mut Ftp(ports), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let heading = "prot port    usecnt name\n";
    let rows = "TCP  2121    2      ftp              \nTCP  21      0      ftp              \n";
    assert_eq!(printed(&[21, 2121]), format!("{heading}{rows}"));
    assert_eq!(printed(&[]), heading);
}

#[test]
fn a_refusal_is_an_error() {
    let error = print(File::Services, &mut Fake { pages: 0, asked: Vec::new() }, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), Errno::EPERM.to_string());
    assert_eq!(File::by_name("ip_vs_conn_sync"), Some(File::ConnectionOrigins));
    assert_eq!(File::by_name("ip_vs_"), None);
}
