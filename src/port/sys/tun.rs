//! Opening a queue of a TUN device (Documentation/networking/tuntap.rst).

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Where TUN devices come from.
const CLONE_DEVICE: &str = "/dev/net/tun";

/// Super-frames and unfinished checksums that the kernel may hand us: checksums, TCP over IPv4
/// and IPv6, with ECN.
const OFFLOADS: libc::c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
/// The same of UDP, which kernels know since 6.2.
const UDP_OFFLOADS: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// Opens one nonblocking queue of the device `name`, creating the device where there is none:
/// bare IP packets, each behind a virtio-net header, with every offload the kernel offers.
/// Gives the queue and the device's name (the kernel fills a `%d` in it).
pub fn open_queue(name: &str) -> io::Result<(OwnedFd, String)> {
    let queue: OwnedFd =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(CLONE_DEVICE)?.into();
    let mut request = request(name)?;
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which is ours and outlives the call.
    let outcome = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETIFF, std::ptr::from_mut(&mut request)) };
    check(outcome)?;
    if set_offloads(&queue, OFFLOADS | UDP_OFFLOADS).is_err() {
        set_offloads(&queue, OFFLOADS)?;
    }
    let name = request.ifr_name.iter().take_while(|&&byte| byte != 0).map(|&byte| char::from(byte as u8)).collect();
    Ok((queue, name))
}

/// Whether `queue` still belongs to a device.
///
/// # Errors
/// EBADFD where the device was deleted.
pub fn check_attached(queue: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: all-zero is a valid `ifreq`: numbers and byte arrays.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: TUNGETIFF writes one `ifreq`, which is ours and outlives the call.
    let outcome = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNGETIFF, std::ptr::from_mut(&mut request)) };
    check(outcome)
}

fn set_offloads(queue: &OwnedFd, offloads: libc::c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its flags by value and touches no memory.
    let outcome = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) };
    check(outcome)
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all-zero is a valid `ifreq`: numbers and byte arrays.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays zero: the name's end.
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.bytes().any(|byte| byte == 0) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn check(outcome: libc::c_int) -> io::Result<()> {
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
