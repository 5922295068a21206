//! TCP resets: what a port that nobody serves answers (RFC 9293 section 3.10.7.1).

use pnet::packet::Packet;
use pnet::packet::tcp::{MutableTcpPacket, TcpFlags, TcpPacket};

use crate::base::{Family, Protocol};

use super::super::offload::Completion;
use super::{Identity, Question, Silence};

/// Length of a TCP header without options.
const TCP_LENGTH: usize = 20;
/// What is copied of the traffic class: a reset is not ECN-capable.
const DSCP: u8 = 0xfc;

/// Writes the reset that answers the TCP segment in `packet` and returns its length. `checksum`
/// is what is known of the segment's: unless somebody vouches for it, it is verified.
///
/// A segment that acknowledges something is answered with the sequence number it expects; any
/// other with an acknowledgement of all it holds.
///
/// # Errors
/// The [`Silence`] to be kept instead.
pub fn reset(packet: &[u8], checksum: Completion, buffer: &mut [u8]) -> Result<usize, Silence> {
    let question = Question::read(packet, |_| Protocol::TCP)?;
    let segment = question.transport;
    let tcp = TcpPacket::new(segment).ok_or(Silence::Malformed)?;
    let data_at = usize::from(tcp.get_data_offset()) * 4;
    if data_at < TCP_LENGTH || data_at > segment.len() {
        return Err(Silence::Malformed);
    }
    let verified = match checksum {
        Completion::Complete => question.pseudo_header(Protocol::TCP, segment.len()).add_bytes(segment).is_valid(),
        Completion::Verified | Completion::Partial { .. } => true,
    };
    if !verified {
        return Err(Silence::Checksum);
    }
    let flags = tcp.get_flags();
    if flags & TcpFlags::RST != 0 {
        return Err(Silence::Reset);
    }
    let (sequence, acknowledgement, reset_flags) = if flags & TcpFlags::ACK != 0 {
        (tcp.get_acknowledgement(), 0, TcpFlags::RST)
    } else {
        let controls = (flags & (TcpFlags::SYN | TcpFlags::FIN)).count_ones();
        let held = (segment.len() - data_at) as u32 + controls;
        (0, tcp.get_sequence().wrapping_add(held), TcpFlags::RST | TcpFlags::ACK)
    };
    let header = question.header_length();
    let answer = buffer.get_mut(..header + TCP_LENGTH).ok_or(Silence::NoRoom)?;
    let mut reset = MutableTcpPacket::new(&mut answer[header..]).ok_or(Silence::NoRoom)?;
    reset.set_source(tcp.get_destination());
    reset.set_destination(tcp.get_source());
    reset.set_sequence(sequence);
    reset.set_acknowledgement(acknowledgement);
    reset.set_data_offset((TCP_LENGTH / 4) as u8);
    reset.set_reserved(0);
    reset.set_flags(reset_flags);
    reset.set_window(0);
    reset.set_checksum(0);
    reset.set_urgent_ptr(0);
    let sum = question.pseudo_header(Protocol::TCP, TCP_LENGTH).add_bytes(reset.packet());
    // A stack leaves IPv6's to the device, whose rule is UDP's: never zero.
    let sum = if question.family == Family::V6 { sum.checksum().not_zero() } else { sum.checksum() };
    reset.set_checksum(sum.number());
    let length = answer.len();
    question.write_header(answer, Protocol::TCP, question.traffic_class & DSCP, Identity::Unfragmentable)?;
    Ok(length)
}
