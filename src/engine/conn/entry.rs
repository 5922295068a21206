//! One connection or persistence template.

use crate::base::{Address, ConnectionId, DestinationId, Family, Port, Protocol, Tick};
use crate::table::ForwardingMethod;

/// Flag bits of a connection, with the numbers that synchronisation messages carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ConnFlags(pub u32);

impl ConnFlags {
    pub const METHOD_MASK: u32 = 0x0007;
    /// Made by synchronisation.
    pub const SYNC: u32 = 0x0020;
    /// No packet of the real server has been seen (it answers the client directly).
    pub const NO_OUTPUT: u32 = 0x0080;
    /// Counts as inactive at its destination.
    pub const INACTIVE: u32 = 0x0100;
    /// The numbers of the server's stream are changed on their way.
    pub const OUT_SEQ: u32 = 0x0200;
    /// The numbers of the client's stream are changed on their way.
    pub const IN_SEQ: u32 = 0x0400;
    /// The client's port is not known yet.
    pub const NO_CLIENT_PORT: u32 = 0x0800;
    pub const TEMPLATE: u32 = 0x1000;
    pub const ONE_PACKET: u32 = 0x2000;
    /// The kernel's connection tracking would know it: a helper's, or one that was announced there.
    pub const TRACKED: u32 = 0x1_0000;
    /// A helper listens to it (our own bit; those of synchronisation are the lower 16).
    pub const HELPED: u32 = 0x2_0000;

    #[inline]
    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    #[inline]
    pub fn set(&mut self, bit: u32) {
        self.0 |= bit;
    }

    #[inline]
    pub fn clear(&mut self, bit: u32) {
        self.0 &= !bit;
    }

    #[inline]
    pub fn method(self) -> ForwardingMethod {
        ForwardingMethod::from_number(self.0).unwrap_or(ForwardingMethod::Masquerading)
    }
}

/// What a packet from a client is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TupleKey {
    pub family: Family,
    pub protocol: Protocol,
    pub client: Address,
    pub client_port: Port,
    pub virtual_address: Address,
    pub virtual_port: Port,
}

/// An entry of the table; two cache lines, and never a part of a third.
#[derive(Clone, Debug)]
#[repr(C, align(128))]
pub struct Connection {
    pub client: Address,
    pub virtual_address: Address,
    pub client_port: Port,
    pub virtual_port: Port,
    pub destination_port: Port,
    pub protocol: Protocol,
    pub family: Family,
    /// Next entry of the same chain, or [`super::table::NONE`].
    pub(super) next: u32,
    pub flags: ConnFlags,
    pub state: u8,
    /// Family of the destination's address; differs from `family` in mixed tunnels only.
    pub destination_family: Family,
    pub(super) in_use: bool,
    /// Whether the entry hangs in its hash chain: one-packet connections do not.
    pub(super) hashed: bool,
    // The second cache line.
    pub destination_address: Address,
    /// What other directors were last told of it.
    pub sent: Sent,
    /// When it expires unless something happens before.
    pub expires: Tick,
    /// Seconds until expiry after each packet.
    pub timeout: u32,
    pub in_packets: u32,
    /// The real server; `None` for bypass connections.
    pub destination: Option<DestinationId>,
    /// See [`Connection::controller`]; [`super::table::NONE`] where there is none. An option would not fit.
    pub(super) controller: u32,
    /// How many connections belong to this one.
    pub controls: u32,
    pub mark: u32,
    pub(super) timer: super::timer::TimerLink,
    /// The entry before in its chain, as `next` is the one behind: nobody looks for it but who takes one out.
    pub(super) previous: u32,
}

impl Connection {
    /// A connection that no packet has been handled for yet.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        key: TupleKey,
        destination: Option<DestinationId>,
        destination_family: Family,
        destination_address: Address,
        destination_port: Port,
        flags: ConnFlags,
        mark: u32,
    ) -> Connection {
        Connection {
            client: key.client,
            virtual_address: key.virtual_address,
            client_port: key.client_port,
            virtual_port: key.virtual_port,
            destination_port,
            protocol: key.protocol,
            family: key.family,
            next: super::table::NONE,
            flags,
            state: 0,
            destination_family,
            in_use: true,
            hashed: false,
            destination_address,
            sent: Sent::default(),
            expires: Tick::ZERO,
            timeout: INITIAL_TIMEOUT,
            in_packets: 0,
            destination,
            controller: super::table::NONE,
            controls: 0,
            mark,
            timer: super::timer::TimerLink::default(),
            previous: super::table::NONE,
        }
    }

    pub fn key(&self) -> TupleKey {
        TupleKey {
            family: self.family,
            protocol: self.protocol,
            client: self.client,
            client_port: self.client_port,
            virtual_address: self.virtual_address,
            virtual_port: self.virtual_port,
        }
    }

    /// The connection or template that this one belongs to.
    #[inline(always)]
    pub fn controller(&self) -> Option<ConnectionId> {
        (self.controller != super::table::NONE).then_some(ConnectionId(self.controller))
    }

    pub fn set_controller(&mut self, controller: ConnectionId) {
        self.controller = controller.0;
    }

    pub fn is_template(&self) -> bool {
        self.flags.has(ConnFlags::TEMPLATE)
    }

    /// Whole seconds until it expires, rounded down.
    pub fn seconds_left(&self, now: Tick) -> u32 {
        // Of the milliseconds the kernel keeps 32 bits, which shows in expiries of more than 49 days.
        self.expires.since(now) as u32 / 1000
    }
}

/// What synchronisation last told of a connection: state, expiry, and how often that was repeated.
/// Before anything was told, the expiry is the moment at which the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sent(u32);

impl Sent {
    const STATE_BITS: u32 = 4;
    const REPEAT_BITS: u32 = 2;
    const EXPIRY_SHIFT: u32 = Sent::STATE_BITS + Sent::REPEAT_BITS;
    const STATE_MASK: u32 = (1 << Sent::STATE_BITS) - 1;
    const REPEAT_MASK: u32 = (1 << Sent::REPEAT_BITS) - 1;
    /// Milliseconds of a unit of the expiry, which comes around in 97 days.
    const UNIT: u64 = 125;

    pub fn new(state: u8, expiry: Tick, repeats: u8) -> Sent {
        let expiry = (expiry.0 / Sent::UNIT) as u32;
        let low = u32::from(repeats) & Sent::REPEAT_MASK;
        Sent(expiry << Sent::EXPIRY_SHIFT | low << Sent::STATE_BITS | u32::from(state) & Sent::STATE_MASK)
    }

    /// The same with another state.
    pub fn with_state(self, state: u8) -> Sent {
        Sent(self.0 & !Sent::STATE_MASK | u32::from(state) & Sent::STATE_MASK)
    }

    pub fn state(self) -> u8 {
        (self.0 & Sent::STATE_MASK) as u8
    }

    pub fn repeats(self) -> u8 {
        (self.0 >> Sent::STATE_BITS & Sent::REPEAT_MASK) as u8
    }

    /// Milliseconds from the expiry that was told to `moment`, whichever comes first.
    pub fn until(self, moment: Tick) -> i64 {
        let moment = (moment.0 / Sent::UNIT) as u32;
        // The difference of two numbers of 26 bits, with its sign.
        let difference = (moment << Sent::EXPIRY_SHIFT).wrapping_sub(self.0 & !(u32::MAX >> (32 - Sent::EXPIRY_SHIFT)));
        i64::from(difference as i32 >> Sent::EXPIRY_SHIFT) * Sent::UNIT as i64
    }
}

/// Seconds a connection lives until its first state transition.
pub const INITIAL_TIMEOUT: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_two_cache_lines() {
        assert_eq!((size_of::<Connection>(), align_of::<Connection>()), (128, 128));
    }

    #[test]
    fn what_was_told_fits_into_a_word() {
        let sent = Sent::new(13, Tick(1_000_000), 3);
        assert_eq!((sent.state(), sent.repeats()), (13, 3));
        assert_eq!(sent.until(Tick(1_000_000)), 0);
        assert_eq!(sent.until(Tick(1_012_500)), 12_500);
        assert_eq!(sent.until(Tick(900_000)), -100_000);
        assert_eq!(sent.with_state(1).state(), 1);
        assert_eq!(sent.with_state(1).until(Tick(1_012_500)), 12_500);
        // Around the end of the numbers.
        let end = (1u64 << 26) * 125;
        assert_eq!(Sent::new(0, Tick(end - 125), 0).until(Tick(end + 125)), 250);
        assert_eq!(Sent::new(0, Tick(end + 125), 0).until(Tick(end - 125)), -250);
    }
}
