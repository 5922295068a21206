//! May this packet begin a connection? The tests that come before any scheduler is asked.

use crate::base::{Port, Protocol};
use crate::table::{ServiceFlags, Settings};
use crate::wire::transport::{TcpFlags, sctp, tcp, udp};

use super::verdict::{PassReason, Verdict};

/// What the transport header says about beginning a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    Allowed,
    /// Not a first packet: the host's stack answers it.
    NotFirst,
    /// Too short to tell.
    Truncated,
}

/// Whether a segment of `protocol` may begin a connection.
pub(super) fn opening(settings: &Settings, protocol: Protocol, segment: &[u8]) -> Opening {
    match protocol {
        Protocol::TCP => {
            if segment.len() < tcp::LENGTH {
                return Opening::Truncated;
            }
            let flags = TcpFlags(segment[tcp::FLAGS]);
            let may = (settings.sloppy_tcp != 0 || flags.has(TcpFlags::SYN)) && !flags.has(TcpFlags::RST);
            if may { Opening::Allowed } else { Opening::NotFirst }
        }
        Protocol::UDP if segment.len() < udp::LENGTH => Opening::Truncated,
        Protocol::UDP => Opening::Allowed,
        Protocol::SCTP => {
            if segment.len() < sctp::LENGTH + sctp::CHUNK_LENGTH {
                return Opening::Truncated;
            }
            match segment[sctp::LENGTH] {
                sctp::ABORT => Opening::NotFirst,
                sctp::INIT => Opening::Allowed,
                _ if settings.sloppy_sctp != 0 => Opening::Allowed,
                _ => Opening::NotFirst,
            }
        }
        _ => Opening::NotFirst,
    }
}

/// Whether a segment starts a connection anew (TCP SYN, SCTP INIT): what makes a closed one be
/// scheduled again.
pub(super) fn starts_anew(protocol: Protocol, segment: &[u8]) -> bool {
    match protocol {
        Protocol::TCP => segment.len() >= tcp::LENGTH && TcpFlags(segment[tcp::FLAGS]).has(TcpFlags::SYN),
        Protocol::SCTP => segment.len() > sctp::LENGTH && segment[sctp::LENGTH] == sctp::INIT,
        _ => false,
    }
}

/// Whether a connection of a service is forgotten after one packet.
pub(super) fn is_one_packet(flags: ServiceFlags, protocol: Protocol) -> bool {
    flags.has(ServiceFlags::ONE_PACKET) && protocol == Protocol::UDP
}

/// Packets from FTP's data port never begin a connection.
pub(super) fn check_source_port(port: Port) -> Result<(), Verdict> {
    if port == Port::FTP_DATA { Err(Verdict::Pass(PassReason::FtpData)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_begin() {
        let mut settings = Settings::default();
        let mut segment = [0; 20];
        assert_eq!(opening(&settings, Protocol::TCP, &segment[..19]), Opening::Truncated);
        for (flags, expected) in [
            (TcpFlags::SYN, Opening::Allowed),
            (TcpFlags::SYN | TcpFlags::ACK, Opening::Allowed),
            (TcpFlags::SYN | TcpFlags::RST, Opening::NotFirst),
            (TcpFlags::ACK, Opening::NotFirst),
        ] {
            segment[tcp::FLAGS] = flags;
            assert_eq!(opening(&settings, Protocol::TCP, &segment), expected);
        }
        settings.sloppy_tcp = 1;
        assert_eq!(opening(&settings, Protocol::TCP, &segment), Opening::Allowed);
        assert_eq!(opening(&settings, Protocol::UDP, &segment[..7]), Opening::Truncated);
        assert_eq!(opening(&settings, Protocol::ESP, &segment), Opening::NotFirst);
    }
}
