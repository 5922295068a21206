//! Packet sockets: their options, and many frames in one system call.
//!
//! Mirrors packet(7), socket(7) and sendmmsg(2).

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::socket::MsgFlags;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

/// How many frames one system call sends.
pub const BATCH: usize = 64;

/// EtherType number that means every frame.
const EVERY_PROTOCOL: u16 = libc::ETH_P_ALL as u16;

/// A raw packet socket; closed when dropped.
#[derive(Debug)]
pub struct PacketSocket(Socket);

/// Which frames a socket takes from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    Nothing,
    EveryProtocol,
}

/// What a socket is bound to, as the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The interface; `None` once it was deleted.
    pub interface: Option<u32>,
    /// ARPHRD number: what kind of link it is.
    pub hardware: u16,
}

/// Frames since the last asking, as PACKET_STATISTICS counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    pub dropped: u32,
}

impl PacketSocket {
    /// A nonblocking socket that receives nothing yet.
    pub fn new() -> io::Result<PacketSocket> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        socket.set_nonblocking(true)?;
        Ok(PacketSocket(socket))
    }

    /// Binds to the interface with that index.
    pub fn bind(&self, interface: u32, intake: Intake) -> io::Result<()> {
        let interface = i32::try_from(interface).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: `sockaddr_ll` is one of the address types of this platform, and all-zero is valid for it.
        let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
        address.sll_family = libc::AF_PACKET as libc::sa_family_t;
        address.sll_ifindex = interface;
        address.sll_protocol = match intake {
            Intake::Nothing => 0,
            Intake::EveryProtocol => EVERY_PROTOCOL.to_be(),
        };
        // SAFETY: family and length are those of the `sockaddr_ll` that was just written into the storage.
        let address = unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) };
        self.0.bind(&address)
    }

    /// Asks what the socket is bound to.
    pub fn binding(&self) -> io::Result<Binding> {
        let address = self.0.local_addr()?;
        if address.family() != libc::AF_PACKET as libc::sa_family_t {
            return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
        }
        let mut storage = address.as_storage();
        // SAFETY: the kernel said AF_PACKET, so the storage holds a `sockaddr_ll`; any bytes are valid for it.
        let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
        Ok(Binding {
            interface: u32::try_from(address.sll_ifindex).ok().filter(|&index| index != 0),
            hardware: address.sll_hatype,
        })
    }

    /// Takes the socket's pending error, if any.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.take_error()
    }

    /// Attaches a filter program, or replaces the one there is, in one step.
    pub fn attach_filter(&self, program: &[libc::sock_filter]) -> io::Result<()> {
        let program = filter_program(program)?;
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    /// Sets one of the packet options that take a number.
    pub fn set_number(&self, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        self.set(libc::SOL_PACKET, option, &value)
    }

    /// Has everything that is sent carry `mark` within this host. Needs CAP_NET_ADMIN.
    pub fn set_mark(&self, mark: u32) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_MARK, &mark)
    }

    /// Asks for a receive ring.
    pub fn set_ring(&self, request: &libc::tpacket_req) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_RX_RING, request)
    }

    /// Sets the program that picks a member of the socket's fanout group.
    pub fn set_fanout_program(&self, program: &[libc::sock_filter]) -> io::Result<()> {
        let program = filter_program(program)?;
        self.set(libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, &program)
    }

    /// Number of the fanout group the socket is in.
    pub fn fanout_group(&self) -> io::Result<u16> {
        let value: libc::c_int = self.read(libc::PACKET_FANOUT)?;
        Ok(value as u16)
    }

    /// Has the interface receive all that pass on the link, until the socket's end.
    pub fn join_promiscuous(&self, interface: u32) -> io::Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: interface as libc::c_int,
            mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Reads the kernel's counts, which start again from zero.
    pub fn statistics(&self) -> io::Result<Statistics> {
        let counts: libc::tpacket_stats = self.read(libc::PACKET_STATISTICS)?;
        Ok(Statistics { dropped: counts.tp_drops })
    }

    /// Enlarges the send buffer to `bytes`: beyond the system's limit where that is permitted,
    /// else up to it.
    pub fn set_send_buffer(&self, bytes: usize) -> io::Result<()> {
        let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        match self.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &value) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => self.0.set_send_buffer_size(bytes),
            outcome => outcome,
        }
    }

    /// Enlarges the receive buffer to `bytes`, beyond the system's limit.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_ADMIN.
    pub fn set_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &value)
    }

    /// Reads the oldest frame of the socket's queue, and says how long it was: more than `buffer` has, where its end was
    /// cut off. Never waits.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        nix::sys::socket::recv(self.as_raw_fd(), buffer, flags).map_err(io::Error::from)
    }

    /// Sends the first of `frames`, as many as one call takes and the link accepts, and says how
    /// many that were; never waits.
    ///
    /// # Errors
    /// What befell the first frame; the others were not tried.
    #[inline]
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
        let sent = unsafe {
            libc::sendmmsg(self.as_raw_fd(), messages.as_mut_ptr().cast(), count as libc::c_uint, libc::MSG_DONTWAIT)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        let length = size_of::<T>() as libc::socklen_t;
        // SAFETY: pointer and length describe `value`, which lives through the call and is only read.
        let outcome =
            unsafe { libc::setsockopt(self.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length) };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Reads a packet option; `T` must be plain numbers, for which any bytes are valid.
    fn read<T: Plain>(&self, option: libc::c_int) -> io::Result<T> {
        // SAFETY: `T` is plain numbers, so all-zero is a valid value.
        let mut value: T = unsafe { std::mem::zeroed() };
        let mut length = size_of::<T>() as libc::socklen_t;
        // SAFETY: pointer and length describe `value`, which is ours; the kernel writes at most that many
        // bytes, and any bytes are valid for `T`.
        let outcome = unsafe {
            libc::getsockopt(
                self.as_raw_fd(),
                libc::SOL_PACKET,
                option,
                std::ptr::from_mut(&mut value).cast(),
                &mut length,
            )
        };
        if outcome == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Values that any bytes are valid for.
trait Plain {}
impl Plain for libc::c_int {}
impl Plain for libc::tpacket_stats {}

/// The program as the kernel takes it; it borrows `program` in spirit only, so use it at once.
fn filter_program(program: &[libc::sock_filter]) -> io::Result<libc::sock_fprog> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    Ok(libc::sock_fprog { len, filter: program.as_ptr().cast_mut() })
}
