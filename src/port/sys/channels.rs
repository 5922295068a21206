//! How many queues a link sends by, as its driver tells: `ethtool -l`, `linux/ethtool.h`.

use std::io;
use std::os::fd::AsRawFd;

use super::socket::PacketSocket;

/// Asks a driver for its channels.
const GET_CHANNELS: u32 = 0x3c;

/// What the kernel answers, `struct ethtool_channels`.
#[repr(C)]
#[derive(Debug, Default)]
struct Channels {
    command: u32,
    most_receive: u32,
    most_transmit: u32,
    most_other: u32,
    most_combined: u32,
    receive: u32,
    transmit: u32,
    other: u32,
    combined: u32,
}

/// Queues that `interface` sends by; `None` where its driver does not tell.
///
/// # Errors
/// There is no such interface, or no socket to ask by.
pub fn transmit_queues(interface: u32) -> io::Result<Option<u32>> {
    let name = nix::net::if_::if_indextoname(interface)?;
    let mut channels = Channels { command: GET_CHANNELS, ..Channels::default() };
    // SAFETY: all-zero is a valid `ifreq`: numbers, byte arrays and a null pointer.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays zero: the name's end.
    let room = request.ifr_name.len() - 1;
    for (to, &from) in request.ifr_name.iter_mut().take(room).zip(name.to_bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(&mut channels).cast();
    let socket = PacketSocket::new()?;
    // SAFETY: SIOCETHTOOL reads one `ifreq` and, for this command, writes one `ethtool_channels` where that points;
    // both are ours and outlive the call, and any bytes are valid for their plain numbers.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, std::ptr::from_mut(&mut request)) };
    if outcome < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::EOPNOTSUPP) { Ok(None) } else { Err(error) };
    }
    let queues = channels.transmit.saturating_add(channels.combined);
    Ok(Some(queues).filter(|&queues| queues > 0))
}
