//! The packet socket that the flood leaves by: past the queueing discipline, many frames a call.

use std::ffi::CString;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

/// Frames of one system call.
pub const BATCH: usize = 64;

pub struct FloodSocket(Socket);

impl FloodSocket {
    /// A socket that only sends, by the interface called `name`. Needs CAP_NET_RAW.
    pub fn open(name: &str) -> io::Result<FloodSocket> {
        let c_name = CString::new(name)?;
        // SAFETY: `c_name` is a string that lives through the call, which only reads it.
        let index = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("no interface {name}")));
        }
        // Protocol 0: it receives nothing.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        let value: libc::c_int = 1;
        // SAFETY: pointer and length describe `value`, which lives through the call and is only read.
        let outcome = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_QDISC_BYPASS,
                std::ptr::from_ref(&value).cast(),
                size_of_val(&value) as libc::socklen_t,
            )
        };
        if outcome != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: all-zero is a valid `sockaddr_ll`, which is plain numbers.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index.cast_signed();
        // SAFETY: pointer and length describe `address`, which lives through the call and is only read.
        let outcome = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                std::ptr::from_ref(&address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        if outcome != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(FloodSocket(socket))
    }

    /// Sends the first of `frames`, up to [`BATCH`], and says how many went.
    pub fn send(&self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut messages = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
        let count = frames.len().min(BATCH);
        for (message, frame) in messages.iter_mut().zip(frames) {
            // SAFETY: all-zero is a valid `mmsghdr`: null pointers with zero lengths.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            // An IoSlice is guaranteed to be laid out as an iovec.
            header.msg_hdr.msg_iov = std::ptr::from_ref(frame).cast::<libc::iovec>().cast_mut();
            header.msg_hdr.msg_iovlen = 1;
            message.write(header);
        }
        // SAFETY: the first `count` headers were just written; each points at one iovec inside `frames`,
        // which, like the memory it borrows, outlives the call; the kernel only reads through them.
        let sent =
            unsafe { libc::sendmmsg(self.0.as_raw_fd(), messages.as_mut_ptr().cast(), count as libc::c_uint, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}
