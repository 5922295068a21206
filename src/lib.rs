//! Linux Virtual Server in user space: the IPVS director, `ipvsadm`, and what real servers need,
//! for machines whose kernel has no ip_vs.
//!
//! Packets to virtual addresses are taken from packet sockets or a TUN device, scheduled as the
//! kernel would schedule them, rewritten, and sent on by NAT, direct routing or IP tunnel. One
//! binary, `ulvs`, is the director and every tool around it; everything it does is in this library.
//!
//! # Layers
//!
//! A layer knows what is below it, never what is above. An arrow reads "uses":
//!
//! ```text
//!     command ──► ipvsadm    run    replay    lab    realserver     front ends
//!                 procfs      │       ▲
//!                    │        │       ├── random
//!                    ▼        ▼       │
//!                 control ◄───┴───────┘                             the only writer
//!                    │
//!                    ▼
//!                 worker                                            one event loop a core
//!                ┌───┼──────┐
//!                ▼   ▼      ▼
//!        sync port engine  host                                     frames, decisions, the machine around
//!           │    │   │      │
//!                ▼   ▼      ▼
//!                wire     table                                     bytes, and what the operator asked for
//!                   └──┬──┘
//!                      ▼
//!                     base                                          addresses, numbers, ticks
//! ```
//!
//! - [`base`] ◄ [`wire`] ◄ [`engine`], and [`base`] ◄ [`table`] ◄ [`engine`]: the pure core. It is
//!   handed frames, the time and a seed, and has no clock, socket, file, thread or log. The same
//!   calls give the same results, which is what makes a recorded kernel replay byte for byte. (Several workers' engines share the
//!   counts of destinations with thresholds; a single engine shares nothing.)
//! - [`wire`] ◄ [`port`]: where frames come from and go to. [`engine`], [`port`] and the pure
//!   machines of [`host`] (neighbours, responder) ◄ [`worker`].
//! - [`table`] ◄ [`sync`] ◄ [`worker`], [`run`]: the multicast sockets by which directors tell each
//!   other of connections. What is said is [`engine::sync`]'s, and how it is spelled [`wire::sync`]'s.
//! - [`table`] and [`worker::question`] ◄ [`control`] ◄ the front ends. Control also holds an
//!   engine without traffic, the model that says whether a change is possible.
//! - `fuzzing`, in tests and under `cfg(fuzzing)` alone, hands bytes to every layer that takes some.
//! - [`run`] puts all of it together in one process; [`replay`] puts control and one engine
//!   together without a machine. [`realserver`] and [`lab`] are programs of their own: they share
//!   words and bytes with the director, and how BPF programs are written ([`port::bpf`]), nothing else. [`random`] makes up what a kernel is asked, and
//!   what [`replay`] then compares.
//!
//! The engine never sees ports, host, workers or control. A test at the end of this file reads
//! every path in the sources and fails on an arrow that its table does not have.
//!
//! # The packet's way
//!
//! ```text
//!  port/af_packet/receive      a frame from the ring, or what fits no slot (overflow; without privileges a second
//!        │                     ring: lanes), or from port/af_xdp, port/tun; kept from the kernel's stack by
//!        │                     host/guard (run/keeper) and port/bpf/barrier (run/barriers)
//!        │
//!  worker/turn                 ARP and ND: host/responder; what was learned: worker/hops, and the other workers' by
//!        │                     worker/handover; what is told unasked: worker/announcing; who else has it: rivals
//!        │  ├ worker/waiting   woken by a frame, or looking again after a moment (turn/rest)
//!        │  ├ worker/sharing   another worker's client: worker/handover takes it there
//!        │  ├ worker/provision memory for connections to come is made ready (by run/memory, another thread)
//!        │  ├ worker/closing   ports that are done with (closed by run/closer, another thread)
//!        │  └ worker/firsts    first segments wait here while more frames come than can be handled
//!        │
//!        ├── engine/known      nearly every packet: of a known connection, and nothing unusual about
//!        │                     it; decided as below, at once
//!        │
//!  engine/classify             ours? whole? to a virtual address, to the host, or through it?
//!        │  └ wire/dissect     (cut in pieces: engine/fragments puts it together first)
//!        ├── to a virtual address ── engine/input:  look up ─┬─ found
//!        │                                                   └─ engine/admit, engine/pick (engine/sched)
//!        │                             engine/track ── engine/forward: nat, tunnel, direct route
//!        │                                             (what FTP says: engine/app)
//!        │                                             (the server is this host: engine/local_server)
//!        ├── from a real server ──── engine/output: look up, engine/track, engine/forward/nat
//!        │                                          (none: engine/begin, for SIP)
//!        ├── an ICMP error ───────── engine/related (about a tunnel: engine/tunnel_errors)
//!        └── an address of ours, no service ─ engine/local: echo reply, reset, unreachable
//!        │
//!  engine/verdict              transmit, consumed, pass, drop, each with its reason counted
//!        │  └ engine/outbox    what engine/emit, fragments and local send of their own accord
//!        │
//!  worker/hops                 next hop to Ethernet address: host/neighbour, host/pending
//!        │
//!  port/af_packet/transmit     many at once: chunks (AF_XDP); whole in a tunnel: tunnel, port/bpf/encapsulation;
//!                              the others by sendmmsg
//! ```
//!
//! # Control's way
//!
//! ```text
//!  ipvsadm/command ─ control/socket ─► run/server, session ─ control/director ─ table/change ─► every
//!  worker/mailbox, turn/messages ─► engine/apply;   listings: worker/question ─► engine/view
//!  host/network ─► run/ports, workers: ports opened ─► worker/mailbox, turn/messages;   closed: worker/closing ─► run/closer
//!  counters: every two seconds engine/view ─► control/estimator, which is what listings show
//! ```
//!
//! # The other director's way
//!
//! ```text
//!  engine/input ─ engine/sync/master ─ lane ─► worker/teller ─ sync/sender ─► multicast
//!  multicast ─► sync/receiver ─ run/listener ─► worker/mailbox ─► engine/sync/backup
//! ```
//!
//! # Lexicon
//!
//! The words of IPVS, ipvsadm(8) and the LVS how-tos, and the few of our own. Words that are not
//! here are used as everybody uses them.
//!
//! | word | meaning |
//! |---|---|
//! | director | the machine, and the process, that balances; one in each network namespace |
//! | VIP, virtual address | the address that clients know; not necessarily one of the director's host |
//! | service, virtual service | protocol, VIP and port, or a firewall mark, with a scheduler |
//! | destination, real server | a machine behind a service, with address, port, weight and forwarding method; *destination* is the entry in a service, *real server* the machine |
//! | scheduler | what picks the destination of a new connection: rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh, twos |
//! | crowd | the connections of a destination with thresholds, as several workers count them together |
//! | weight | a destination's share; 0 means quiesced: no new connections, old ones go on |
//! | forwarding method | NAT (masquerading), direct routing, tunnel; local and bypass where the host takes or forwards the packet |
//! | connection | client, VIP and destination, a state and a timeout; one entry for both directions |
//! | active, inactive connection | in a state that counts as carrying data (TCP: established), or not |
//! | persistence | all connections of a client, or of its network, go to one destination for a while |
//! | template | the entry that remembers a persistent client; it controls the connections made from it |
//! | persistence engine | what recognises a client other than by address: SIP's Call-ID |
//! | helper | what listens to a protocol that announces other connections: FTP |
//! | control connection, data connection | FTP's two kinds; a data connection is announced on the control connection, which controls it as a template does its own |
//! | sequence data | what the two directions of a stream have grown by, as synchronisation messages name it |
//! | one-packet | a UDP service whose connections are forgotten after each packet |
//! | threshold, overload | upper and lower bounds on a destination's connections; overloaded from the upper one until it is below the lower one |
//! | trash | where deleted destinations wait for their connections to end; one that is added again comes back from it |
//! | former destination | one that is deleted, or masqueraded no longer, and may have connections of before: the kernel is kept from them until no worker has any |
//! | mark | a firewall mark: a number that mark rules give to packets, and a service can be known by |
//! | bypass | sending a packet to where it was going anyway, as no destination can take it |
//! | schedule, reschedule | to pick a destination for a first packet; again, for one on a connection that is over |
//! | state | where a protocol's machine stands, judged by flags or chunk types alone |
//! | defence | `drop_entry`, `drop_packet` and `secure_tcp`: what is done about floods, by a mode of each, always or while memory is short |
//! | estimator | takes over what was counted every two seconds, which is what listings show until it does so again, and smooths rates from it |
//! | tally | packets, bytes and connections counted for a service or destination |
//! | link | a network interface, by a number of our own that stays the same |
//! | port | a link's or TUN device's queues of frames (in [`port`]); everywhere else, a transport port |
//! | frame | a packet with its link-layer header and offload metadata, edited in place |
//! | super-frame | a frame of many segments that the sender's hardware was to cut |
//! | virtual MAC | the Ethernet address that belongs to the director's own addresses, so that the kernel takes frames to it for another host's |
//! | guard | the nftables table that keeps the kernel from what the director handles |
//! | barrier | the program at a link's way in that ends frames to the virtual MAC before the kernel's stack looks at them |
//! | shortcut | the way by which the kernel takes a real server's plain tunnels apart itself, by a program at the links |
//! | host link | the TUN device by which packets are handed to this host's own stack, where that is their real server |
//! | owned address | one that the director answers ARP and neighbour discovery for: VIPs the host does not have, gateways |
//! | hop, next hop | the neighbour that a packet is sent to, and how to reach it |
//! | verdict | what the engine decides about a frame: transmit, consumed, pass (not ours), drop |
//! | worker | a thread with an engine, ports and an event loop that no other thread touches |
//! | stray | a frame that came to another worker than its client's, and is handed over |
//! | mailbox | how control reaches a worker |
//! | model | control's engine without traffic, which every change is tried on first |
//! | change, snapshot | a change is one command as every worker applies it, in order; a snapshot replaces the whole (the network, the owned addresses) |
//! | tick | a millisecond of the clock that everything is told the time by |
//! | transcript | a recording of what a real kernel did, replayed as a test |
//! | scenario | what a seed makes up to be done to a director; played to a kernel it gives a transcript |
//! | lab | namespaces with a client, a director and real servers |
//! | synchronisation, sync | telling other directors of connections and templates |
//! | master, backup | the daemon that tells, and the one that takes in; a director may run both |
//! | entry, message | a connection or template as it is told, and the datagram that carries entries |
//! | bound, unbound | a connection whose real server its service has, or (told of by another director) has not yet |
//! | hold, release | to answer for owned addresses, or to leave them to another director (a standby) |
//! | subject | whose director a lab or test asks: `ulvs` or `kernel` |

pub mod base;
pub mod command;
pub mod control;
pub mod engine;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod host;
pub mod ipvsadm;
pub mod lab;
pub mod port;
pub mod procfs;
pub mod random;
pub mod realserver;
pub mod replay;
pub mod run;
pub mod sync;
pub mod table;
pub mod wire;
pub mod worker;

#[cfg(test)]
mod layering {
    //! Holds the picture at the top: who uses whom, and what the pure core may not touch.

    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    /// Each layer with what it may use, lowest first: a layer, or one module of it.
    const ARROWS: &[(&str, &[&str])] = &[
        ("base", &[]),
        ("wire", &["base"]),
        ("table", &["base"]),
        ("engine", &["base", "wire", "table"]),
        ("port", &["base", "wire"]),
        ("host", &["base", "wire", "table"]),
        ("sync", &["table"]),
        (
            "worker",
            // Of the host only what decides: pure machines, no netlink.
            &[
                "base",
                "wire",
                "table",
                "engine",
                "port",
                "sync",
                "host::neighbour",
                "host::pending",
                "host::question",
                "host::responder",
            ],
        ),
        ("control", &["base", "table", "engine", "worker::question"]),
        ("ipvsadm", &["base", "table", "control::message"]),
        ("procfs", &["base", "table", "control::message"]),
        ("run", &["base", "table", "engine", "port", "host", "sync", "worker", "control"]),
        ("replay", &["base", "wire", "table", "engine", "worker::question", "control", "ipvsadm", "procfs"]),
        ("random", &["base", "wire", "table", "control", "replay"]),
        ("lab", &["base"]),
        ("realserver", &["base", "wire", "port::bpf"]),
        ("command", &["base", "table", "control", "ipvsadm", "procfs", "run", "random", "replay", "lab", "realserver"]),
        // Not in the program: what fuzzing calls, of every layer that takes bytes.
        ("fuzzing", &["base", "wire", "table", "engine", "host", "control", "ipvsadm", "replay", "realserver"]),
    ];

    /// Layers and modules that only decide.
    const PURE: &[&str] = &[
        "base",
        "wire",
        "table",
        "engine",
        "host::arp",
        "host::discovery",
        "host::neighbour",
        "host::pending",
        "host::question",
        "host::responder",
    ];

    /// What says that code reaches for the world outside. (Of libc, numbers are taken: errno.)
    const WORLDLY: &[&str] = &[
        "std::thread",
        "std::fs",
        "std::env",
        "std::process",
        "Instant",
        "SystemTime",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "UnixStream",
        "UnixDatagram",
        "log::",
        "println!",
        "eprintln!",
        "static mut",
        "thread_local!",
        "mio::",
        "nix::",
        "socket2::",
        "netlink_sys::",
        "unsafe ",
    ];

    /// A source file of the library, without comments.
    struct Source {
        path: PathBuf,
        /// Its place in the library: `engine::sched::rr`.
        module: Vec<String>,
        text: String,
    }

    impl Source {
        fn layer(&self) -> &str {
            &self.module[0]
        }

        fn is_in(&self, module: &str) -> bool {
            let names: Vec<&str> = module.split("::").collect();
            self.module.len() >= names.len() && names.iter().zip(&self.module).all(|(name, own)| name == own)
        }

        /// The text before the tests, which come last.
        fn without_tests(&self) -> &str {
            match self.text.find("#[cfg(test)]\nmod tests {") {
                Some(at) => &self.text[..at],
                None => &self.text,
            }
        }
    }

    fn sources() -> Vec<Source> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut sources = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let place = path.strip_prefix(&root).unwrap().with_extension("");
                let module: Vec<String> =
                    place.iter().map(|part| part.to_string_lossy().into_owned()).filter(|part| part != "mod").collect();
                // This file says what the layers are, and the binary is a crate of its own.
                if path.extension().is_none_or(|extension| extension != "rs")
                    || ["lib", "main"].contains(&module[0].as_str())
                {
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap();
                sources.push(Source { path, module, text: without_comments(&text) });
            }
        }
        sources.sort_by(|one, other| one.path.cmp(&other.path));
        sources
    }

    fn without_comments(text: &str) -> String {
        text.lines().filter(|line| !line.trim_start().starts_with("//")).fold(String::new(), |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        })
    }

    /// What `source` uses of the crate, as `layer` or `layer::module`.
    fn uses(source: &Source) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (at, start) in source.text.match_indices("crate::") {
            let before = source.text[..at].chars().next_back();
            if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                tree(&mut &source.text[at + start.len()..], "", &mut found);
            }
        }
        // As many `super` as the file is deep lead to the top as well.
        let ups = "super::".repeat(source.module.len());
        for (at, _) in source.text.match_indices(&ups) {
            let mut names = BTreeSet::new();
            tree(&mut &source.text[at + ups.len()..], "", &mut names);
            found.extend(names.into_iter().filter(|name| is_layer(layer_of(name))));
        }
        found
    }

    /// Reads what follows `parent::`, which may branch, and notes it two names deep.
    fn tree(rest: &mut &str, parent: &str, found: &mut BTreeSet<String>) {
        if let Some(inner) = rest.strip_prefix('{') {
            *rest = inner;
            loop {
                *rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
                if rest.is_empty() {
                    return;
                }
                if let Some(after) = rest.strip_prefix('}') {
                    *rest = after;
                    return;
                }
                tree(rest, parent, found);
            }
        }
        // At least one character, so that nothing is read for ever.
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let (name, after) = rest.split_at(length.max(first));
        *rest = after;
        let whole = match parent {
            "" => name.to_owned(),
            module if module.contains("::") => module.to_owned(),
            layer => format!("{layer}::{name}"),
        };
        match after.strip_prefix("::") {
            Some(deeper) => {
                *rest = deeper;
                tree(rest, &whole, found);
            }
            None => {
                found.insert(whole);
            }
        }
    }

    fn layer_of(name: &str) -> &str {
        name.split("::").next().unwrap_or(name)
    }

    fn is_layer(name: &str) -> bool {
        ARROWS.iter().any(|(layer, _)| *layer == name)
    }

    #[test]
    fn arrows_point_down_alone() {
        for (index, (layer, below)) in ARROWS.iter().enumerate() {
            for name in *below {
                let lower = ARROWS[..index].iter().any(|(lower, _)| *lower == layer_of(name));
                assert!(lower, "{layer} may not use {name}, which is not below it");
            }
        }
    }

    #[test]
    fn every_path_in_the_sources_follows_an_arrow() {
        let mut wrong = Vec::new();
        for source in sources() {
            let Some((layer, below)) = ARROWS.iter().find(|(layer, _)| *layer == source.layer()) else {
                wrong.push(format!("{}: a layer that the table lacks", source.path.display()));
                continue;
            };
            for name in uses(&source) {
                if layer_of(&name) != *layer && !below.contains(&layer_of(&name)) && !below.contains(&name.as_str()) {
                    wrong.push(format!("{}: {layer} uses {name}", source.path.display()));
                }
            }
        }
        assert!(wrong.is_empty(), "arrows that the picture does not have:\n{}", wrong.join("\n"));
    }

    #[test]
    fn what_only_decides_does_not_reach_for_the_world() {
        let sources = sources();
        // Modules that are there for tests alone.
        let tests: BTreeSet<String> = sources
            .iter()
            .flat_map(|source| {
                let text = source.text.replace("#[cfg(any(test, fuzzing))]\n", "#[cfg(test)]\n");
                let declared = text.split("#[cfg(test)]\n").skip(1);
                let names = declared.filter_map(|rest| rest.lines().next()?.strip_suffix(';')?.rsplit(' ').next());
                names.map(|name| format!("{}::{name}", source.module.join("::"))).collect::<Vec<_>>()
            })
            .collect();
        let mut wrong = Vec::new();
        for source in &sources {
            if !PURE.iter().any(|module| source.is_in(module)) || tests.iter().any(|module| source.is_in(module)) {
                continue;
            }
            let text = source.without_tests();
            wrong.extend(
                WORLDLY
                    .iter()
                    .filter(|word| text.contains(**word))
                    .map(|word| format!("{}: {word}", source.path.display())),
            );
        }
        assert!(wrong.is_empty(), "the pure core touches the world:\n{}", wrong.join("\n"));
    }

    #[test]
    fn paths_are_read_as_the_compiler_reads_them() {
        let text = "use crate::{base::{Tick, Mac}, host::{neighbour, network::{A, B}}, lab};\n\
                    use crate::worker::question::Question;\nlet x = crate::port::open();\n\
                    use super::super::control::message; use super::engine;";
        let module = ["table", "change"].map(str::to_owned).to_vec();
        let source = Source { path: PathBuf::new(), module, text: text.to_owned() };
        let expected = [
            "base::Mac",
            "base::Tick",
            "control::message",
            "host::neighbour",
            "host::network",
            "lab",
            "port::open",
            "worker::question",
        ];
        assert_eq!(uses(&source).iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }
}
