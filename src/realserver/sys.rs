//! The few socket operations that no safe wrapper offers.
//!
//! Every `unsafe` block here is one call into the kernel with pointers to local values.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_void, sockaddr_ll, socklen_t};

/// `setsockopt` with a number.
///
/// # Errors
/// The kernel's.
pub fn set_option(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: u32) -> io::Result<()> {
    let length = mem::size_of_val(&value) as socklen_t;
    // SAFETY: the descriptor is open for as long as it is borrowed; `value` lives until the call
    // returns, and `length` is its length, beyond which the kernel does not read.
    let done =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast::<c_void>(), length) };
    outcome(done)
}

/// `bind` of a packet socket to one link and one Ethernet type.
///
/// # Errors
/// The kernel's.
pub fn bind_packet(socket: BorrowedFd<'_>, ether_type: u16, link: u32) -> io::Result<()> {
    let address = sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ether_type.to_be(),
        sll_ifindex: link.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = mem::size_of_val(&address) as socklen_t;
    // SAFETY: the descriptor is open for as long as it is borrowed; `address` is a whole
    // sockaddr_ll that lives until the call returns, and `length` is its length.
    let done = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    outcome(done)
}

/// How many packets a packet socket had no room for since this was last asked.
///
/// # Errors
/// The kernel's.
pub fn lost_packets(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // struct tpacket_stats: packets seen, packets lost.
    let mut statistics = [0u32; 2];
    read_option(socket, libc::SOL_PACKET, libc::PACKET_STATISTICS, &mut statistics)?;
    Ok(statistics[1])
}

/// The number that the kernel gives to a network namespace and to no later one.
///
/// # Errors
/// The kernel's; before 5.14 it has no such number.
pub fn namespace_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = [0u64; 1];
    read_option(socket, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, &mut cookie)?;
    Ok(cookie[0])
}

/// An integer that may be overwritten by any bytes.
trait Number: Copy {}
impl Number for u32 {}
impl Number for u64 {}

/// `getsockopt` into `value`.
fn read_option<N: Number>(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: &mut [N]) -> io::Result<()> {
    let mut length = mem::size_of_val(value) as socklen_t;
    // SAFETY: the descriptor is open for as long as it is borrowed; the kernel writes at most
    // `length` bytes, the size of `value`, which is borrowed for the call and takes any bytes.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, value.as_mut_ptr().cast::<c_void>(), &raw mut length)
    };
    outcome(done)
}

fn outcome(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
