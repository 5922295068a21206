//! An engine that is told what bytes spell: changes of every kind, packets of every kind, whole,
//! in pieces, mutated, answered, quoted in errors; other networks, and time.
//!
//! After each step the engine's invariants hold, and every packet that left is sound: its IP
//! header always, all of it where everything that ever came in was right. All is done twice, the
//! second time without the short way that known connections' packets take: nothing may differ.

mod change;
mod frame;

use std::sync::Arc;

use arbitrary::{Result, Unstructured};

use crate::base::Family;
use crate::engine::{HostStack, Verdict};
use crate::wire::dissect::dissect_quoted;

use super::sound;
use super::world::{self, ETH0, LINK_LENGTH, Sent, TUN0, World};

use frame::{Incoming, Manner};

pub use change::any as any_change;

/// More steps than that teach nothing new.
const MOST_STEPS: usize = 96;
/// Longest packet that can leave: an IPv6 header and what its length field can say.
const LONGEST: usize = 40 + 65_535;
/// The longest jump of the clock that every timer is stepped through.
const LONGEST_WALK: u64 = 400_000;
/// The longest leap, in milliseconds: the timers' wheel turns through all of it.
const LONGEST_LEAP: u64 = 700_000;
/// Timeouts in seconds that the end waits for; engines with longer ones are not seen to theirs.
const LONGEST_TIMEOUT: u32 = 1_000;

/// Runs the engine that `data` spells.
pub fn run(data: &[u8]) {
    let [short, long] = [Ways::Both, Ways::LongOnly].map(|ways| Driver::drive(&mut Unstructured::new(data), ways));
    for (number, (short, long)) in short.iter().zip(&long).enumerate() {
        assert_eq!(short, long, "the short way and the long one differ at {number}");
    }
    assert_eq!(short.len(), long.len());
}

/// The ways that packets may take through the engine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ways {
    Both,
    LongOnly,
}

/// The network that the engine is on.
pub fn network() -> crate::table::Network {
    world::network(1500)
}

struct Driver {
    world: World,
    /// Where everything that comes in is right, what goes out has to be.
    manner: Manner,
    /// Something may have a timeout that nobody waits for.
    patient: bool,
    /// Packets that left, to be answered or quoted.
    left: Vec<Vec<u8>>,
    /// What became of each packet, and what the engine knew at the end.
    log: Vec<String>,
}

impl Driver {
    /// Drives an engine as the bytes say; what became of everything.
    fn drive(u: &mut Unstructured, ways: Ways) -> Vec<String> {
        let Ok(mut driver) = Driver::new(u) else { return Vec::new() };
        driver.world.engine.set_long_way_only(ways == Ways::LongOnly);
        for _ in 0..MOST_STEPS {
            // Bytes that end in the middle of a step have simply ended.
            if u.is_empty() || driver.step(u).is_err() {
                break;
            }
            driver.world.engine.check_invariants();
        }
        driver.note_state();
        driver.end();
        driver.log
    }

    fn new(u: &mut Unstructured) -> Result<Driver> {
        let host_stack = if u.arbitrary()? { HostStack::Absent } else { HostStack::Beside };
        let mut world = World::with(u.int_in_range(1..=64)?, host_stack, *u.choose(&[1500, 1300, 9000, 65_535])?);
        if u.ratio(1, 8)? {
            world.headroom = u.int_in_range(0..=96)?;
        }
        let manner = if u.arbitrary()? { Manner::Proper } else { Manner::Any };
        Ok(Driver { world, manner, patient: false, left: Vec::new(), log: Vec::new() })
    }

    fn note_state(&mut self) {
        let engine = &self.world.engine;
        self.log.extend(engine.connection_table().iter().map(|entry| format!("{entry:?}")));
        self.log.extend(engine.service_table().destinations.iter().map(|entry| format!("{entry:?}")));
        self.log.extend(engine.service_table().iter().map(|service| format!("{:?}", service.tally)));
        self.log.push(format!("{:?} {:?}", engine.service_table().total, engine.counts()));
    }

    fn step(&mut self, u: &mut Unstructured) -> Result<()> {
        match u.int_in_range(0..=15u8)? {
            0..=3 => {
                let mut change = change::any(u)?;
                if self.manner == Manner::Proper {
                    change::without_remote_checksums(&mut change);
                }
                self.patient |= change::longest_timeout(&change) > LONGEST_TIMEOUT;
                // A change that is refused leaves everything as it is, which is checked.
                let _ = self.world.try_apply(change);
            }
            4 | 5 => {
                let milliseconds = *u.choose(&[3, 250, 4_000, 61_000, 130_000, LONGEST_WALK])?;
                self.world.pass(milliseconds);
                let sent = self.world.drain();
                self.judge(&sent, LINK_LENGTH);
            }
            6 => {
                // A machine that slept: everything is due at once, and done in portions.
                self.world.now = self.world.now + u.int_in_range(0..=LONGEST_LEAP)?;
                let budget = u.int_in_range(1..=8)?;
                while self.world.engine.tick(self.world.now, budget) {}
                let sent = self.world.drain();
                self.judge(&sent, LINK_LENGTH);
            }
            7 => {
                let mtu = u.int_in_range(0..=9_000)?;
                let network = world::network(if u.arbitrary()? { 1500 } else { mtu });
                self.world.engine.set_network(Arc::new(network));
            }
            _ => {
                let incoming = Incoming::any(u, &self.left, self.manner)?;
                assert!(incoming.right || self.manner == Manner::Any);
                for (bytes, offload) in &incoming.frames {
                    self.take(&incoming, bytes, *offload);
                    self.world.engine.check_invariants();
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, incoming: &Incoming, bytes: &[u8], offload: crate::wire::Offload) {
        let tagged = [0x81, 0, 0, 5, 8, 0];
        let outcome = match incoming.tagged {
            true => {
                let frame = [&world::MAC.0[..], &[2, 9, 9, 9, 9, 9], &tagged, bytes].concat();
                self.world.handle_frame(ETH0, &frame, offload)
            }
            false => self.world.handle_on(incoming.link, bytes, offload),
        };
        let link_length = if incoming.link == TUN0 { 0 } else { LINK_LENGTH };
        self.judge(&outcome.sent, link_length);
        self.log.push(format!("{outcome:?}"));
        if let (Verdict::Transmit(_), Some(sent)) = (outcome.verdict, outcome.sent.first())
            && sent.packet.len() < 2_000
            && is_told_apart(&sent.packet)
        {
            self.left.push(sent.packet.clone());
        }
    }

    /// Whether what left is what may leave.
    fn judge(&self, sent: &[Sent], link_length: usize) {
        for Sent { packet, offload, .. } in sent {
            assert!(packet.len() <= LONGEST, "a packet of {} bytes", packet.len());
            sound::header(packet).unwrap_or_else(|what| panic!("{what}: {:02x?}", &packet[..packet.len().min(120)]));
            if self.manner == Manner::Proper && !sound::is_fragment(packet) {
                let outcome = sound::with_offload(packet, offload, link_length);
                outcome.unwrap_or_else(|what| panic!("{what}: {:02x?}", &packet[..packet.len().min(120)]));
            }
        }
    }

    /// Time alone is left: every timer runs out, and everything that was deleted is forgotten.
    fn end(&mut self) {
        let _ = self.world.try_apply(crate::table::Change::Flush);
        self.world.now = self.world.now + u64::from(2 * LONGEST_TIMEOUT) * 1000;
        while self.world.engine.tick(self.world.now, usize::MAX) {}
        self.world.engine.check_invariants();
        // Controllers outlive what they controlled, and the trash is looked through twice.
        for _ in 0..8 {
            self.world.now = self.world.now + 130_000;
            while self.world.engine.tick(self.world.now, usize::MAX) {}
        }
        self.world.engine.check_invariants();
        if !self.patient {
            assert_eq!(self.world.engine.connection_table().len(), 0, "connections that nothing ends");
            assert_eq!(self.world.engine.service_table().destinations.iter().count(), 0, "destinations in the trash");
        }
        let sent = self.world.drain();
        self.judge(&sent, LINK_LENGTH);
    }
}

/// Whether a packet's ends can be read, so that it can be answered.
fn is_told_apart(packet: &[u8]) -> bool {
    let family = if packet[0] >> 4 == 4 { Family::V4 } else { Family::V6 };
    dissect_quoted(family, packet).is_ok()
}
