//! What the flood leaves by, past the queueing discipline and many frames a call: AF_XDP where it can be had, else a
//! packet socket. AF_XDP takes less of the core that the flood shares with the director's input.

use std::ffi::CString;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use socket2::{Domain, Socket, Type};
use ulvs::port::{XdpSender, XdpStep};
use ulvs::wire::offload::Completion;

/// Frames of one system call.
pub const BATCH: usize = 64;
/// Frames that AF_XDP has room for: several calls' worth.
const CHUNKS: u32 = 256;
/// How long the kernel may take to set a queue free whose socket was closed.
const PATIENCE: Duration = Duration::from_secs(2);

/// What frames leave by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// An AF_XDP socket; needs CAP_NET_RAW, and half a megabyte of memory that may be locked.
    Xdp,
    /// A packet socket; needs CAP_NET_RAW.
    Packet,
}

/// A socket that only sends.
pub enum FloodSocket {
    Xdp(Box<XdpSender>),
    Packet(PacketSocket),
}

impl FloodSocket {
    /// One for the interface called `name`: of that kind, or else of the first that can be had.
    pub fn open(name: &str, way: Option<Way>) -> io::Result<FloodSocket> {
        let c_name = CString::new(name)?;
        // SAFETY: `c_name` is a string that lives through the call, which only reads it.
        let index = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("no interface {name}")));
        }
        let packet = || PacketSocket::open(index).map(FloodSocket::Packet);
        let xdp = || open_xdp(index).map(|sender| FloodSocket::Xdp(Box::new(sender)));
        match way {
            Some(Way::Packet) => packet(),
            Some(Way::Xdp) => xdp().map_err(|(step, error)| {
                io::Error::new(error.kind(), format!("AF_XDP on {name}: {step}: {error}; --by packet needs none"))
            }),
            None => xdp().or_else(|_| packet()),
        }
    }

    /// What it is.
    pub fn way(&self) -> Way {
        match self {
            FloodSocket::Xdp(_) => Way::Xdp,
            FloodSocket::Packet(_) => Way::Packet,
        }
    }

    /// Takes the first of `frames`, up to [`BATCH`], and says how many. ENOBUFS says that there is no room now.
    pub fn send(&mut self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
        let sender = match self {
            FloodSocket::Packet(socket) => return socket.send(frames),
            FloodSocket::Xdp(sender) => sender,
        };
        let mut pushed = 0;
        for frame in frames.iter().take(BATCH) {
            if !sender.push(frame, Completion::Complete) {
                break;
            }
            pushed += 1;
        }
        sender.flush().1?;
        if pushed == 0 { Err(io::Error::from_raw_os_error(libc::ENOBUFS)) } else { Ok(pushed) }
    }

    /// Frames taken by [`FloodSocket::send`] that never left. To be asked at the end.
    pub fn left_behind(&mut self) -> io::Result<u64> {
        match self {
            FloodSocket::Packet(_) => Ok(0),
            FloodSocket::Xdp(sender) => {
                sender.flush().1?;
                Ok(sender.pending().into())
            }
        }
    }
}

/// A sender at the first queue, once it is free.
fn open_xdp(index: u32) -> Result<XdpSender, (XdpStep, io::Error)> {
    let start = Instant::now();
    loop {
        match XdpSender::open(index, 0, CHUNKS) {
            Err((XdpStep::Bind, error)) if error.raw_os_error() == Some(libc::EBUSY) && start.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(1));
            }
            outcome => break outcome,
        }
    }
}

/// A packet socket that only sends.
pub struct PacketSocket(Socket);

impl PacketSocket {
    fn open(index: u32) -> io::Result<PacketSocket> {
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
        Ok(PacketSocket(socket))
    }

    fn send(&self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
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
