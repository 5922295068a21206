//! What becomes of the congestion mark when a tunnel ends: RFC 6040, section 4.2, figure 4.

/// The ECN field: the low two bits of IPv4's TOS and IPv6's traffic class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// 00: the transport does not take part.
    NotCapable,
    /// 01, called ECT(1).
    Capable1,
    /// 10, called ECT(0).
    Capable0,
    /// 11: congestion was met.
    Congestion,
}

impl Ecn {
    pub const MASK: u8 = 3;

    pub fn of(traffic_class: u8) -> Ecn {
        match traffic_class & Ecn::MASK {
            0 => Ecn::NotCapable,
            1 => Ecn::Capable1,
            2 => Ecn::Capable0,
            _ => Ecn::Congestion,
        }
    }

    pub fn bits(self) -> u8 {
        match self {
            Ecn::NotCapable => 0,
            Ecn::Capable1 => 1,
            Ecn::Capable0 => 2,
            Ecn::Congestion => 3,
        }
    }

    /// The inner packet's field as it leaves a tunnel whose outer field was `outer`; `None` where
    /// congestion could only be told by dropping the packet.
    pub fn leaving_tunnel(self, outer: Ecn) -> Option<Ecn> {
        match (self, outer) {
            (Ecn::NotCapable, Ecn::Congestion) => None,
            (Ecn::NotCapable, _) => Some(Ecn::NotCapable),
            (Ecn::Congestion, _) | (_, Ecn::Congestion) => Some(Ecn::Congestion),
            (Ecn::Capable0, Ecn::Capable1) => Some(Ecn::Capable1),
            (inner, _) => Some(inner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ecn::{self, Capable0, Capable1, Congestion, NotCapable};

    #[test]
    fn the_table_of_rfc_6040() {
        // Columns: outer Not-ECT, ECT(0), ECT(1), CE.
        let table = [
            (NotCapable, [Some(NotCapable), Some(NotCapable), Some(NotCapable), None]),
            (Capable0, [Some(Capable0), Some(Capable0), Some(Capable1), Some(Congestion)]),
            (Capable1, [Some(Capable1), Some(Capable1), Some(Capable1), Some(Congestion)]),
            (Congestion, [Some(Congestion); 4]),
        ];
        for (inner, row) in table {
            for (outer, expected) in [NotCapable, Capable0, Capable1, Congestion].into_iter().zip(row) {
                assert_eq!(inner.leaving_tunnel(outer), expected, "inner {inner:?}, outer {outer:?}");
            }
        }
    }

    #[test]
    fn bits_round_trip() {
        for bits in 0..4 {
            assert_eq!(Ecn::of(0xfc | bits).bits(), bits);
        }
    }
}
