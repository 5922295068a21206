//! The expressions of a rule: small instructions on registers, ended by a verdict.
//!
//! A rule is a list of them, from left to right; the first comparison that fails ends it. Values
//! lie in registers of four bytes each, in the order they have in the packet, so that several
//! loaded side by side make one key for a set.

use super::{Attributes, attribute};

/// A register of four bytes; longer values go on into the next ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(pub u32);

impl Register {
    /// `NFT_REG32_00`.
    pub const FIRST: Register = Register(8);

    /// The register behind a value of `bytes` bytes here.
    pub fn behind(self, bytes: u32) -> Register {
        Register(self.0 + bytes.div_ceil(4))
    }
}

/// What a payload offset counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    Link = 0,
    Network = 1,
    Transport = 2,
}

/// What is known about a packet besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    /// Index of the link it came in by (host order).
    InputIndex = 4,
    /// Name of that link, 16 bytes.
    InputName = 6,
    /// 2 for IPv4, 10 for IPv6.
    NetworkFamily = 15,
    /// The transport protocol, behind any extension headers.
    TransportProtocol = 16,
    /// Whom the frame is addressed to: PACKET_HOST, PACKET_OTHERHOST… (packet(7)), one byte.
    PacketType = 19,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal = 0,
    NotEqual = 1,
    Less = 2,
    AtMost = 3,
    AtLeast = 5,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    Drop,
    /// Go on in another chain, and come back.
    Jump(&'a str),
    /// Back to the chain that jumped here.
    Return,
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expression<'a> {
    /// Loads bytes of the packet; ends the rule where they are not there, as the ports of a
    /// fragment that is not the first.
    Payload {
        base: Base,
        offset: u32,
        length: u32,
        to: Register,
    },
    /// Loads bytes of an IPv6 extension header; ends the rule where the header is not there.
    Extension {
        header: u8,
        offset: u32,
        length: u32,
        to: Register,
    },
    Meta {
        key: Meta,
        to: Register,
    },
    /// Loads what the routing table says about the destination address: a route type.
    DestinationType {
        to: Register,
    },
    /// ANDs in place.
    Mask {
        register: Register,
        mask: &'a [u8],
    },
    Compare {
        register: Register,
        comparison: Comparison,
        value: &'a [u8],
    },
    /// Ends the rule unless the set has the key that starts in the register.
    Lookup {
        set: &'a str,
        key: Register,
    },
    Verdict(Verdict<'a>),
}

/// Writes the expressions of a rule.
pub fn write(expressions: &[Expression], list: &mut Attributes) {
    for expression in expressions {
        list.nest(attribute::LIST_ELEMENT, |element| expression.write(element));
    }
}

const NAME: u16 = 1;
const DATA: u16 = 2;
const DROP: i32 = 0;
const JUMP: i32 = -3;
const RETURN: i32 = -5;
/// The register a verdict is put in.
const VERDICT_REGISTER: u32 = 0;
/// `NFT_FIB_RESULT_ADDRTYPE`, `NFTA_FIB_F_DADDR`.
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_DESTINATION: u32 = 2;

impl Expression<'_> {
    fn name(&self) -> &'static str {
        match self {
            Expression::Payload { .. } => "payload",
            Expression::Extension { .. } => "exthdr",
            Expression::Meta { .. } => "meta",
            Expression::DestinationType { .. } => "fib",
            Expression::Mask { .. } => "bitwise",
            Expression::Compare { .. } => "cmp",
            Expression::Lookup { .. } => "lookup",
            Expression::Verdict(_) => "immediate",
        }
    }

    fn write(&self, element: &mut Attributes) {
        let value = |attributes: &mut Attributes, kind: u16, bytes: &[u8]| {
            attributes.nest(kind, |data| {
                data.bytes(attribute::DATA_VALUE, bytes);
            });
        };
        element.text(NAME, self.name()).nest(DATA, |data| match *self {
            Expression::Payload { base, offset, length, to } => {
                data.number(1, to.0).number(2, base as u32).number(3, offset).number(4, length);
            }
            Expression::Extension { header, offset, length, to } => {
                data.number(1, to.0).bytes(2, &[header]).number(3, offset).number(4, length);
            }
            Expression::Meta { key, to } => {
                data.number(1, to.0).number(2, key as u32);
            }
            Expression::DestinationType { to } => {
                data.number(1, to.0).number(2, FIB_ADDRESS_TYPE).number(3, FIB_DESTINATION);
            }
            Expression::Mask { register, mask } => {
                data.number(1, register.0).number(2, register.0).number(3, mask.len() as u32);
                value(data, 4, mask);
                value(data, 5, &vec![0; mask.len()]);
            }
            Expression::Compare { register, comparison, value: bytes } => {
                data.number(1, register.0).number(2, comparison as u32);
                value(data, 3, bytes);
            }
            Expression::Lookup { set, key } => {
                data.text(1, set).number(2, key.0);
            }
            Expression::Verdict(verdict) => {
                data.number(1, VERDICT_REGISTER).nest(2, |data| {
                    data.nest(attribute::DATA_VERDICT, |body| {
                        let (code, chain) = match verdict {
                            Verdict::Drop => (DROP, None),
                            Verdict::Jump(chain) => (JUMP, Some(chain)),
                            Verdict::Return => (RETURN, None),
                        };
                        body.number(1, code as u32);
                        if let Some(chain) = chain {
                            body.text(2, chain);
                        }
                    });
                });
            }
        });
    }
}
