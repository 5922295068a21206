//! What is easy to get wrong, one test each: as the manual does not say it, but the original does it.

use std::net::IpAddr;

use super::fake::{Fake, LONG_NAME};
use super::*;
use crate::base::{Port, Protocol};
use crate::control::message::{ConnectionEntry, Counters, Rates, Request};
use crate::table::ForwardingMethod;

const TRY: &str = "Try `ipvsadm -h' or 'ipvsadm --help' for more information.";
const SURE: &str = "Are you sure that IP Virtual Server is built in the kernel or as module?";

#[test]
fn persistence_alone_means_six_minutes() {
    let director = Fake::default();
    director.lines(&["-A -t 1.1.1.1:1 -s rr -p"]);
    assert_eq!(director.table(), "TCP  1.1.1.1:1 rr persistent 360\n");
}

#[test]
fn editing_resets_what_is_not_given() {
    let director = Fake::default();
    director.lines(&["-A -t 1.1.1.1:1 -s wrr -p 40", "-E -t 1.1.1.1:1"]);
    assert_eq!(director.table(), "TCP  1.1.1.1:1 wlc\n");
}

#[test]
fn the_services_port_replaces_the_servers_except_with_nat_and_when_deleting() {
    let director = Fake::default();
    director.lines(&[
        "-A -t 1.1.1.1:80 -s rr",
        "-a -t 1.1.1.1:80 -r 2.2.2.2:8080",
        "-a -t 1.1.1.1:80 -r 3.3.3.3:8080 -m",
    ]);
    assert_eq!(
        director.table(),
        "TCP  1.1.1.1:80 rr\n  \
         -> 2.2.2.2:80                   Route   1      0          0         \n  \
         -> 3.3.3.3:8080                 Masq    1      0          0         \n"
    );
    let missing = Run::failed(255, "No such destination");
    assert_eq!(director.line("-d -t 1.1.1.1:80 -r 2.2.2.2:8080"), missing);
    assert_eq!(director.line("-e -t 1.1.1.1:80 -r 3.3.3.3:8080 -w 5"), missing);
}

#[test]
fn ipv6_needs_brackets_to_have_a_port() {
    let director = Fake::default();
    director.lines(&["-A -t 2001:db8::1:80 -s rr -p"]);
    assert_eq!(director.table(), "TCP  [2001:db8::1:80]:0 rr persistent 360\n");
    let illegal = Run::failed(2, "illegal virtual server address[:port] specified");
    assert_eq!(director.line("-A -t [::1]"), illegal);
    let lost = Run::failed(2, "Zero port specified for non-persistent service");
    assert_eq!(director.line("-A -t [10.0.0.5]:80 -s rr"), lost);
}

#[test]
fn ipv4_is_what_inet_aton_takes() {
    let director = Fake::default();
    director.lines(&["-A -t 10.1:80 -s rr"]);
    assert_eq!(director.line("-A -t 10.0.0.1:080 -s rr"), Run::failed(255, "Service already exists"));
    director.lines(&["-C", "-A -t 010.0.0.1:80 -s rr"]);
    assert_eq!(director.table(), "TCP  8.0.0.1:80 rr\n");
}

#[test]
fn the_netmask_depends_on_what_stands_before_it() {
    let director = Fake::default();
    director.lines(&["-A -f 4 -M 64 -6 -p 9 -s rr", "-A -f 8 -6 -M 64 -p 9 -s rr"]);
    assert_eq!(director.table(), "FWM  4 IPv6 rr persistent 9\nFWM  8 IPv6 rr persistent 9 mask 64\n");
    assert_eq!(director.line("-A -6 -f 1"), Run::failed(2, "-6 used before -f\n"));
}

#[test]
fn sorting_wraps_around() {
    for pair in [["10.0.0.1", "200.0.0.1"], ["200.0.0.1", "10.0.0.1"]] {
        let director = Fake::default();
        for address in pair {
            director.lines(&[&format!("-A -t {address}:80 -s rr")]);
        }
        assert_eq!(director.table(), "TCP  200.0.0.1:80 rr\nTCP  10.0.0.1:80 rr\n");
    }
    let director = Fake::default();
    director.lines(&["-A -f 1 -s rr"]);
    for octet in [10, 200, 100, 140] {
        director.lines(&[&format!("-a -f 1 -r {octet}.0.0.1 -m")]);
    }
    let table = director.table();
    let order: Vec<&str> = table.lines().skip(1).filter_map(|line| line[5..].split('.').next()).collect();
    assert_eq!(order, ["100", "140", "200", "10"]);
}

#[test]
fn large_marks_are_negative() {
    let director = Fake::default();
    director.lines(&["-A -f 4294967295 -s rr", "-A -t 1.1.1.1:1 -s rr"]);
    assert_eq!(director.table(), "FWM  -1 rr\nTCP  1.1.1.1:1 rr\n");
    let saved = director.line("-Sn").output;
    let restored = Fake::default().words(&["-R"], &saved);
    assert_eq!(restored, Run::failed(2, "invalid fwmark value `-1' specified"));
}

#[test]
fn saving_loses_thresholds() {
    let director = Fake::default();
    director.lines(&["-A -t 1.1.1.1:1 -s rr", "-a -t 1.1.1.1:1 -r 2.2.2.2 -x 9 -y 3"]);
    let saved = director.line("-Sn");
    assert_eq!(saved, Run::printed("-A -t 1.1.1.1:1 -s rr\n-a -t 1.1.1.1:1 -r 2.2.2.2:1 -g -w 1\n"));
    assert_eq!(director.line("-e -t 1.1.1.1:1 -r 2.2.2.2 -y 5"), Run::failed(255, "Numerical result out of range"));
}

#[test]
fn a_scheduler_flag_without_a_name_cannot_be_restored() {
    let director = Fake::default();
    director.lines(&["-A -t 1.1.1.1:1 -s sh -b flag-1", "-A -t 1.1.1.1:2 -s sh -b flag-3"]);
    assert_eq!(director.table(), "TCP  1.1.1.1:1 sh (sh-fallback)\nTCP  1.1.1.1:2 sh ()\n");
    let saved = director.line("-Sn");
    assert_eq!(saved, Run::printed("-A -t 1.1.1.1:1 -s sh -b sh-fallback\n-A -t 1.1.1.1:2 -s sh -b \n"));
    assert_eq!(Fake::default().words(&["-R"], &saved.output), Run::failed(255, "-b: missing argument"));
    assert_eq!(director.line("-A -t 1.1.1.1:3 -b ,"), Run::failed(2, "invalid scheduler flag `,'"));
}

#[test]
fn zeroing_the_zero_address_zeroes_everything() {
    let director = Fake::default();
    director.lines(&["-A -t 1.1.1.1:1 -s rr"]);
    let counted = Counters { connections: 7, ..Counters::default() };
    for (words, left) in [("-Z -t 0.0.0.0", 0), ("-Z -t [::]:0", 0), ("-Z", 0), ("-Z -t 1.1.1.1:1", 0)] {
        director.0.borrow_mut().services[0].entry.counters = counted;
        director.lines(&[words]);
        assert_eq!(director.0.borrow().services[0].entry.counters.connections, left, "{words}");
    }
    assert_eq!(director.line("-Z -t 9.9.9.9:9"), Run::failed(255, "No such service"));
}

#[test]
fn one_service_is_listed_without_a_version() {
    let director = Fake::default();
    director.lines(&["-A -f 6 -6 -s rr"]);
    assert_eq!(director.line("-L -f 6"), Run::failed(1, "No such service"));
    assert_eq!(
        director.line("-L -f 6 -6"),
        Run::printed(
            "Prot LocalAddress:Port Scheduler Flags\n  \
             -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n\
             FWM  6 IPv6 rr\n"
        )
    );
}

#[test]
fn the_last_line_makes_the_status_of_restoring() {
    let director = Fake::default();
    let restored = director.words(&["-R"], "-A -t 1.1.1.1:1\n-A -t 1.1.1.1:1\n-A -t 1.1.1.2:1");
    assert_eq!(restored, Run { errors: "Service already exists\n".into(), ..Run::silent(0) });
    director.lines(&["-C"]);
    let restored = director.words(&["-R"], "-A -t 1.1.1.1:1\n-A -t 1.1.1.1\n-A -t 1.1.1.2:1\n");
    assert_eq!(restored, Run::failed(2, "Zero port specified for non-persistent service"));
    assert_eq!(director.table(), "TCP  1.1.1.1:1 wlc\n");
    assert_eq!(director.words(&["-R"], "# a comment\n-C\n"), Run::failed(255, TRY));
    assert_eq!(director.words(&["-R"], "-C  "), Run::silent(0));
    assert_eq!(director.table(), "TCP  1.1.1.1:1 wlc\n");
}

#[test]
fn messages_of_restoring_come_in_order_although_changes_are_collected() {
    let director = Fake::default();
    let input =
        "-D -t 1.1.1.1:1\n-A -Q\n-A -t 1.1.1.1:1\n-A -t 1.1.1.1:1\n-L --timeout\n-d -t 1.1.1.1:1 -r 2.2.2.2\n-h";
    let run = director.words(&["-R"], input);
    assert_eq!(run.errors, "No such service\n-Q: unknown option\nService already exists\nNo such destination\n");
    assert!(run.output.starts_with("Timeout (tcp tcpfin udp): 900 120 300\nipvsadm v1.31 "));
    assert_eq!(run.status, 0);
}

#[test]
fn restoring_hands_over_many_changes_at_once() {
    let director = Fake::default();
    director.lines(&["-A -f 1 -s rr"]);
    let input: String =
        (0..10_000).map(|index| format!("-a -f 1 -r 10.0.{}.{}\n", index / 250, index % 250 + 1)).collect();
    director.0.borrow_mut().calls = 0;
    assert_eq!(director.words(&["-R"], &input), Run::silent(0));
    assert_eq!(director.0.borrow().services[0].destinations.len(), 10_000);
    assert_eq!(director.0.borrow().calls, 1 + 3);
}

/// Input in pieces, each with what the table must be when it is waited for.
struct Typed<'a> {
    director: Fake,
    pieces: &'a [(&'a str, &'a str)],
}

impl io::Read for Typed<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(((table, piece), rest)) = self.pieces.split_first() else { return Ok(0) };
        assert_eq!(self.director.table(), *table, "before {piece:?}");
        self.pieces = rest;
        out[..piece.len()].copy_from_slice(piece.as_bytes());
        Ok(piece.len())
    }
}

#[test]
fn no_line_waits_for_those_that_are_yet_to_come() {
    let director = Fake::default();
    let first = "TCP  1.1.1.1:1 rr\n";
    let pieces = [
        ("", "-A -t 1.1.1.1:1 -s rr\n-A -t 1.1.1.1:2"),
        (first, " -s rr\n"),
        ("TCP  1.1.1.1:1 rr\nTCP  1.1.1.1:2 rr\n", "-D -t 1.1.1.1:2\n"),
        (first, "-D -t 1.1.1.1:2\n# which fails"),
        (first, "\n-D -t 1.1.1.1:1\n"),
        ("", "-A -t 1.1.1.1:3 -s rr"),
    ];
    let mut input = Typed { director: director.clone(), pieces: &pieces };
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut io = Io { input: &mut input, output: &mut output, errors: &mut errors };
    let words = ["ipvsadm-restore".into()];
    let status = run(Program::Restore, &words, &mut io, &mut FakeNames::new(), &mut || Ok(Box::new(director.clone())));
    assert_eq!((status, String::from_utf8(errors).unwrap().as_str()), (0, "No such service\n"));
    assert_eq!(director.table(), "TCP  1.1.1.1:3 rr\n");
}

#[test]
fn what_was_asked_for_is_shown_before_more_is_waited_for() {
    /// What is written, where others can see it.
    #[derive(Clone, Default)]
    struct Seen(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

    impl io::Write for Seen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Waiting(Seen, usize);

    impl io::Read for Waiting {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            match self.1 {
                1 => (&b"-L --timeout\n"[..]).read(out),
                _ => {
                    assert_eq!(*self.0.0.borrow(), b"Timeout (tcp tcpfin udp): 900 120 300\n");
                    Ok(0)
                }
            }
        }
    }

    let mut seen = Seen::default();
    let mut input = Waiting(seen.clone(), 0);
    let mut io = Io { input: &mut input, output: &mut seen, errors: &mut Vec::new() };
    let words = ["ipvsadm".into(), "-R".into()];
    let mut connect = || Ok(Box::new(Fake::default()) as Box<dyn Access>);
    assert_eq!(run(Program::Ipvsadm, &words, &mut io, &mut FakeNames::new(), &mut connect), 0);
}

#[test]
fn the_command_comes_first_and_the_director_before_it() {
    let director = Fake::default();
    assert_eq!(director.line("-nL"), Run::failed(255, TRY));
    assert_eq!(director.line("-L -- -n"), Run::failed(2, "unexpected argument -n"));
    let other_name = run_program(Program::Ipvsadm, &["/x/lvs", "-n"], "", &mut || Ok(Box::new(director.clone())));
    assert_eq!(other_name, Run::failed(255, "Try `/x/lvs -h' or '/x/lvs --help' for more information."));
}

#[test]
fn without_a_director_every_command_fails() {
    let failure =
        |error: fn() -> ConnectError| run_program(Program::Ipvsadm, &["ipvsadm", "-v"], "", &mut || Err(error()));
    let missing = || ConnectError::NoDirector { hint: "Start one with `ulvs run'.".to_owned() };
    let missing_text = format!("Can't initialize ipvs: Protocol not available\n{SURE}\nStart one with `ulvs run'.");
    assert_eq!(failure(missing), Run::failed(2, &missing_text));
    let denied = format!("Can't initialize ipvs: Permission denied (you must be root)\n{SURE}");
    assert_eq!(failure(|| ConnectError::NotPermitted { hint: None }), Run::failed(2, &denied));
    let not_startable = || ConnectError::NotPermitted { hint: Some("It cannot be started.".to_owned()) };
    assert_eq!(failure(not_startable), Run::failed(2, &format!("{denied}\nIt cannot be started.")));
    assert_eq!(
        failure(|| ConnectError::Broken(io::ErrorKind::ConnectionReset.into())),
        Run::failed(2, &format!("Can't initialize ipvs: connection reset\n{SURE}"))
    );
}

#[test]
fn a_way_that_breaks_ends_the_run() {
    let director = Fake::default();
    director.0.borrow_mut().broken = true;
    let message = "The connection to the director broke: connection reset";
    for (line, status) in [("-C", 255), ("-S", 1), ("-L --timeout", 1)] {
        director.0.borrow_mut().requests = 0;
        assert_eq!(director.line(line), Run::failed(status, message), "{line}");
    }
    director.0.borrow_mut().requests = 0;
    assert_eq!(director.words(&["-R"], "-C\n-L\n-C\n"), Run::failed(255, message));
}

#[test]
fn listings_that_are_refused_exit_with_one() {
    let director = Fake::default();
    director.0.borrow_mut().refuse = Some(Errno::EPERM);
    let denied = Run::failed(1, "Permission denied (you must be root)");
    for (line, expected) in [
        ("-S", &denied),
        ("-Lc", &denied),
        ("-L -f 1", &denied),
        ("-L --timeout", &Run::silent(1)),
        ("-L --daemon", &Run::silent(1)),
    ] {
        director.0.borrow_mut().requests = 0;
        assert_eq!(director.line(line), *expected, "{line}");
    }
}

#[test]
fn an_old_director_is_warned_of() {
    let director = Fake::default();
    director.0.borrow_mut().version = 0x01_01_00;
    let warning = "Warning: IPVS version mismatch: \n  Kernel compiled with IPVS version 1.1.0\n  \
                   ipvsadm v1.31  requires minimum IPVS version 1.1.4\n";
    assert_eq!(director.line("-S"), Run { status: 0, ..Run::failed(0, warning) });
}

#[test]
fn server_counters_wrap_where_service_counters_are_shortened() {
    let director = Fake::default();
    director.lines(&["-A -t 10.0.0.1:80 -s rr", "-a -t 10.0.0.1:80 -r 10.0.0.2"]);
    let [small, large] = [0, 1 << 32];
    let rates = Rates {
        connections: 123_456_789,
        in_packets: large + 6,
        out_packets: small,
        in_bytes: 99_999_999,
        out_bytes: 100_000_000,
    };
    let service = Counters {
        connections: 99_999_999,
        in_packets: 100_000_000,
        out_packets: 999_999_999,
        in_bytes: 1_000_000_000,
        out_bytes: 99_999_999_999,
        rates,
    };
    let server = Counters {
        connections: large + 5,
        in_packets: large + 100_000_000,
        out_packets: large + 7,
        in_bytes: 99_999_999_999_999,
        out_bytes: 100_000_000_000_000_000,
        rates,
    };
    {
        let service_entry = &mut director.0.borrow_mut().services[0];
        service_entry.entry.counters = service;
        service_entry.destinations[0].counters = server;
    }
    let table = |words: &str| -> String {
        director.line(words).output.lines().skip(3).map(|line| format!("{line}\n")).collect()
    };
    assert_eq!(
        table("-Ln --stats"),
        "TCP  10.0.0.1:80                  99999999  100000K  999999K    1000M   99999M\n  \
         -> 10.0.0.2:80                         5  100000K        7   99999G  100000T\n"
    );
    assert_eq!(
        table("-Ln --stats --exact"),
        "TCP  10.0.0.1:80                  99999999 100000000 999999999 1000000000 99999999999\n  \
         -> 10.0.0.2:80                         5 100000000        7 99999999999999 100000000000000000\n"
    );
    assert_eq!(
        table("-Ln --rate"),
        "TCP  10.0.0.1:80                   123456K    4294M        0 99999999  100000K\n  \
         -> 10.0.0.2:80                  123456789        6        0 99999999  100000K\n"
    );
}

#[test]
fn long_names_are_cut_and_ipv6_is_not() {
    let director = Fake::default();
    director.lines(&[
        "-A -t 10.0.0.9:80 -s rr",
        "-a -t 10.0.0.9:80 -r 10.0.0.9",
        "-A -t [fd00::2]:80 -s rr",
        "-a -t [fd00::2]:80 -r [fd00::2]:80",
    ]);
    let output = director.line("-L").output;
    let lines: Vec<&str> = output.lines().skip(3).collect();
    assert_eq!(lines[0], format!("TCP  {} rr", &LONG_NAME[..28]));
    assert_eq!(lines[1], format!("  -> {} Route   1      0          0         ", &LONG_NAME[..28]));
    assert_eq!(lines[2], format!("TCP  [{} rr", &LONG_NAME[..58]));
    assert_eq!(lines[3], format!("  -> [{} Route   1      0          0         ", &LONG_NAME[..58]));
}

#[test]
fn an_interface_without_a_name_is_the_usual_one() {
    for line in ["--start-daemon master", "--start-daemon master --mcast-interface="] {
        let command =
            command::Command::read(&line.split(' ').map(str::to_owned).collect::<Vec<_>>(), &mut FakeNames::new());
        let Ok(command::Command::Change(Request::StartDaemon { config })) = command else { panic!("{command:?}") };
        assert_eq!(config.interface, "eth0", "{line}");
    }
}

#[test]
fn daemons_are_refused_for_their_interface_first() {
    let director = Fake::default();
    director.lines(&["--start-daemon master --mcast-interface dum0"]);
    assert_eq!(director.line("--start-daemon master --mcast-interface nosuch0"), Run::failed(255, "No such device"));
    assert_eq!(
        director.line("--start-daemon master --mcast-interface dum0"),
        Run::failed(255, "Daemon has already run")
    );
    director.lines(&["--start-daemon backup --mcast-interface dum0"]);
    let output = director.line("-L --daemon").output;
    let roles: Vec<&str> = output.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(roles, ["master", "backup"]);
}

fn connection(protocol: Protocol, ends: [(&str, u16); 3], state: &str, expires: u32) -> ConnectionEntry {
    let address = |index: usize| ends[index].0.parse::<IpAddr>().unwrap();
    ConnectionEntry {
        protocol,
        client: address(0),
        client_port: Port(ends[0].1),
        virtual_address: address(1),
        virtual_port: Port(ends[1].1),
        destination: address(2),
        destination_port: Port(ends[2].1),
        state: state.to_owned(),
        expires,
        synchronised: false,
        method: ForwardingMethod::Masquerading,
        engine: None,
    }
}

/// Rows as the original printed them from a table of this content.
#[test]
fn connections_stand_in_the_columns_of_the_original() {
    let four = [("10.0.0.1", 54321), ("10.0.0.254", 80), ("10.0.0.2", 80)];
    let sip = [("10.0.0.1", 0), ("10.0.0.254", 5060), ("10.0.0.2", 5060)];
    let with_engine = |data: &[u8]| ConnectionEntry {
        engine: Some(("sip".to_owned(), data.to_vec())),
        ..connection(Protocol::UDP, sip, "NONE", 29)
    };
    let director = Fake::default();
    director.0.borrow_mut().connections = vec![
        connection(Protocol::TCP, four, "ESTABLISHED", 899),
        connection(
            Protocol::SCTP,
            [("10.0.0.1", 54321), ("10.0.0.254", 5672), ("10.0.0.2", 5672)],
            "ESTABLISHED",
            89_999,
        ),
        connection(Protocol::IP, [("10.0.0.1", 0), ("0.0.0.3", 0), ("10.0.0.2", 0)], "ASSURED", 59),
        connection(Protocol::TCP, [("fd00::2", 42000), ("fd99::9", 80), ("10.0.0.2", 8080)], "SYN_RECV", 59),
        connection(Protocol(99), four, "NONE", 5),
        with_engine(b"call id with blanks"),
        with_engine(b""),
    ];
    let heading = "IPVS connection entries\npro expire state       source             virtual            destination";
    let plain = "UDP 00:29  NONE        10.0.0.1:0         10.0.0.254:5060    10.0.0.2:5060\n";
    let rows = "TCP 14:59  ESTABLISHED 10.0.0.1:54321     10.0.0.254:80      10.0.0.2:80\n\
                SCTP 1499:59 ESTABLISHED 10.0.0.1:54321     10.0.0.254:5672    10.0.0.2:5672\n\
                IP  00:59  ASSURED     10.0.0.1:0         0.0.0.3:0          10.0.0.2:0\n\
                TCP 00:59  SYN_RECV    [fd00::2]:42000    [fd99::9]:80       10.0.0.2:8080\n\
                IP_99 00:05  NONE        10.0.0.1:54321     10.0.0.254:80      10.0.0.2:80\n";
    assert_eq!(director.line("-Lnc"), Run::printed(&format!("{heading}\n{rows}{plain}{plain}")));
    let engine =
        "UDP 00:29  NONE        10.0.0.1:0         10.0.0.254:5060    10.0.0.2:5060    sip                call\n";
    assert_eq!(
        director.line("-Lnc --persistent-conn"),
        Run::printed(&format!("{heading}        pe name          pe_data\n{rows}{engine}{plain}"))
    );
    director.0.borrow_mut().connections.truncate(4);
    let named = "TCP 14:59  ESTABLISHED alpha.example:54321 10.0.0.254:http    averyveryverylonghostname.with.many.labels.example.org:http\n\
                 SCTP 1499:59 ESTABLISHED alpha.example:54321 10.0.0.254:amqp    averyveryverylonghostname.with.many.labels.example.org:amqp\n\
                 IP  00:59  ASSURED     alpha.example:0    0.0.0.3:0          averyveryverylonghostname.with.many.labels.example.org:0\n\
                 TCP 00:59  SYN_RECV    [an-even-much-longer-host-name-that-goes-on-and-on.with.man [fd99::9]:http     averyveryverylonghostname.with.many.labels.example.org:http\n";
    assert_eq!(director.line("-Lc"), Run::printed(&format!("{heading}\n{named}")));
}

#[test]
fn the_save_program_takes_one_option() {
    let director = Fake::default();
    director.lines(&["-A -t 10.0.0.1:80 -s rr"]);
    let save = |words: &[&str]| run_program(Program::Save, words, "", &mut || Ok(Box::new(director.clone())));
    let (named, numeric) = ("-A -t alpha.example:http -s rr\n", "-A -t 10.0.0.1:80 -s rr\n");
    for words in [&["ipvsadm-save"][..], &["ipvsadm-save", "foo"], &["ipvsadm-save", ""]] {
        assert_eq!(save(words), Run::printed(named), "{words:?}");
    }
    for words in [&["ipvsadm-save", "-n"][..], &["ipvsadm-save", "foo", "-n"], &["ipvsadm-save", "-n", "-n"]] {
        assert_eq!(save(words), Run::printed(numeric), "{words:?}");
    }
    let help = "ipvsadm-save: Script to save the IPVS table to stdout.\n   \
                With the -n option, prints out the table in numeric format.";
    for word in ["-x", "-", "--", "--numeric", "-nx"] {
        assert_eq!(save(&["ipvsadm-save", "-n", word]), Run::failed(1, help), "{word}");
    }
}

#[test]
fn the_restore_program_empties_the_table_and_skips_comments() {
    let director = Fake::default();
    let restore = |input: &str| {
        director.lines(&["-A -f 9"]);
        let words = ["/sbin/ipvsadm-restore", "-h"];
        run_program(Program::Restore, &words, input, &mut || Ok(Box::new(director.clone())))
    };
    assert_eq!(restore("# c\n#d\n-A -t 1.1.1.1:1\n -A -t 1.1.1.2:1  "), Run::silent(0));
    assert_eq!(director.table(), "TCP  1.1.1.1:1 wlc\nTCP  1.1.1.2:1 wlc\n");
    assert_eq!(restore(" # c\n-A -t 1.1.1.3:1\n"), Run::failed(255, TRY));
    assert_eq!(director.table(), "");
    let denied = "Can't initialize ipvs: Permission denied (you must be root)";
    let failed = run_program(Program::Restore, &["ipvsadm-restore"], "-L", &mut || {
        Err(ConnectError::NotPermitted { hint: None })
    });
    assert_eq!(failed, Run::failed(2, &format!("{denied}\n{SURE}\n{denied}\n{SURE}")));
}

#[test]
fn programs_are_known_by_the_name_they_are_called_by() {
    let called = |path: &str| Program::called(Path::new(path));
    assert_eq!(called("/sbin/ipvsadm"), Some(Program::Ipvsadm));
    assert_eq!(called("ipvsadm-save"), Some(Program::Save));
    assert_eq!(called("./ipvsadm-restore"), Some(Program::Restore));
    assert_eq!(called("ulvs"), None);
}

/// An output that takes nothing.
struct Closed(io::ErrorKind);

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_that_takes_nothing_is_an_error() {
    let status = |kind: io::ErrorKind| {
        let mut errors = Vec::new();
        let mut io = Io { input: &mut io::empty(), output: &mut Closed(kind), errors: &mut errors };
        let arguments = ["ipvsadm", "-v"].map(OsString::from);
        let mut connect = || Ok(Box::new(Fake::default()) as Box<dyn Access>);
        let status = run(Program::Ipvsadm, &arguments, &mut io, &mut fake::FakeNames::new(), &mut connect);
        (status, String::from_utf8(errors).unwrap())
    };
    assert_eq!(status(io::ErrorKind::BrokenPipe), (141, String::new()));
    assert_eq!(status(io::ErrorKind::StorageFull), (1, "Cannot write the output: no storage space\n".to_owned()));
}
