//! Where tunnels lead: what tells an error about one of ours from an error about anything else.
//!
//! Only destinations that are in a service count: one in the trash is nobody any more.

use crate::base::sharded::Sharded;
use crate::base::{Address, Family, Port};
use crate::table::{DestinationKey, ForwardingMethod, Tunnel, TunnelKind};

/// An end; the port is that of GUE.
type End = (Family, Address, TunnelKind, Port);

/// The ends of all tunnels, with how many destinations have each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TunnelEnds {
    counts: Sharded<End, u32>,
    addresses: Sharded<(Family, Address), u32>,
}

impl TunnelEnds {
    /// Notes a destination that now is in a service, if its method is tunnelling.
    pub fn add(&mut self, key: &DestinationKey, method: ForwardingMethod, tunnel: Tunnel) {
        if method == ForwardingMethod::Tunneling {
            self.counts.count(end(key, tunnel));
            self.addresses.count((Family::of(&key.address), key.address.into()));
        }
    }

    /// Takes back what [`TunnelEnds::add`] noted.
    pub fn remove(&mut self, key: &DestinationKey, method: ForwardingMethod, tunnel: Tunnel) {
        if method == ForwardingMethod::Tunneling {
            self.counts.release(end(key, tunnel));
            self.addresses.release((Family::of(&key.address), key.address.into()));
        }
    }

    /// Whether no destination is reached by tunnel.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Whether a tunnel of this kind leads there. `port` is looked at for GUE alone.
    pub fn lead_to(&self, family: Family, address: Address, kind: TunnelKind, port: Port) -> bool {
        self.counts.contains_key(&(family, address, kind, port_of(kind, port)))
    }

    /// Whether a tunnel of any kind leads there.
    pub fn lead_to_address(&self, family: Family, address: Address) -> bool {
        self.addresses.contains_key(&(family, address))
    }
}

fn end(key: &DestinationKey, tunnel: Tunnel) -> End {
    (Family::of(&key.address), key.address.into(), tunnel.kind, port_of(tunnel.kind, tunnel.port))
}

fn port_of(kind: TunnelKind, port: Port) -> Port {
    if kind == TunnelKind::Gue { port } else { Port::ANY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_known_as_long_as_somebody_has_it() {
        let key = DestinationKey { address: "172.16.0.11".parse().unwrap(), port: Port(80) };
        let address = Address::from(key.address);
        let gue = Tunnel { kind: TunnelKind::Gue, port: Port(6080), ..Tunnel::default() };
        let mut ends = TunnelEnds::default();
        for _ in 0..2 {
            ends.add(&key, ForwardingMethod::Tunneling, gue);
        }
        ends.remove(&key, ForwardingMethod::Tunneling, gue);
        assert!(ends.lead_to_address(Family::V4, address));
        assert!(ends.lead_to(Family::V4, address, TunnelKind::Gue, Port(6080)));
        assert!(!ends.lead_to(Family::V4, address, TunnelKind::Gue, Port(6081)));
        assert!(!ends.lead_to(Family::V4, address, TunnelKind::Ipip, Port(6080)));
        ends.remove(&key, ForwardingMethod::Tunneling, gue);
        assert_eq!(ends, TunnelEnds::default());
        ends.add(&key, ForwardingMethod::DirectRouting, gue);
        assert_eq!(ends, TunnelEnds::default());
        ends.add(&key, ForwardingMethod::Tunneling, Tunnel::default());
        assert!(ends.lead_to(Family::V4, address, TunnelKind::Ipip, Port(4)));
    }
}
