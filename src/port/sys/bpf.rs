//! Extended BPF in the kernel: loading a program, attaching it to a link, leading frames to sockets.
//!
//! Mirrors bpf(2) and `include/uapi/linux/bpf.h`. Everything made here is a descriptor, and is undone when
//! the last copy of it is closed: also when the process ends in whatever way.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const MAP_DELETE: libc::c_int = 3;
const PROGRAM_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;

const PROGRAM_XDP: u32 = 6;
const MAP_OF_SOCKETS: u32 = 17;
const HASH_MAP: u32 = 1;
const PREFIX_MAP: u32 = 11;
/// Memory is taken for each entry, not for all that may come (BPF_F_NO_PREALLOC).
const AS_NEEDED: u32 = 1;
const ATTACH_XDP: u32 = 37;
/// The program sees long frames by their beginning (BPF_F_XDP_HAS_FRAGS, Linux 5.18): without it the kernel copies
/// each super-frame into one piece, for which it needs that much memory in one piece.
const LONG_FRAMES: u32 = 1 << 5;
/// The kernel's own code runs the program, whatever the driver can (XDP_FLAGS_SKB_MODE).
const GENERIC: u32 = 1 << 1;

/// Of no consequence to the kernel but for functions that only GPL programs may call; none is called.
const LICENCE: &CStr = c"Apache-2.0 OR MIT";

/// A map from queue numbers to AF_XDP sockets.
#[derive(Debug)]
pub struct SocketMap(OwnedFd);

impl SocketMap {
    /// A map for the queues below `queues`.
    pub fn new(queues: u32) -> io::Result<SocketMap> {
        new_map(MAP_OF_SOCKETS, 4, queues, 0).map(SocketMap)
    }

    /// Leads the frames of `queue` to `socket`, which is bound to it.
    pub fn lead(&self, queue: u32, socket: &impl AsRawFd) -> io::Result<()> {
        let (queue, socket) = (queue.to_ne_bytes(), socket.as_raw_fd().to_ne_bytes());
        // SAFETY: key and value have four bytes each, as the map was made for.
        unsafe { change_map(MAP_UPDATE, self.0.as_raw_fd(), queue.as_ptr(), socket.as_ptr()) }
    }
}

impl AsRawFd for SocketMap {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// How a [`NumberMap`] finds an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// By the same key.
    Exact,
    /// By the longest prefix that the key looked up begins with. A key is the number of bits that count, four
    /// bytes in the machine's order, and those bits.
    Prefix,
}

/// A map from keys of so many bytes to numbers, which a program looks up.
#[derive(Debug)]
pub struct NumberMap<const KEY: usize>(OwnedFd);

impl<const KEY: usize> NumberMap<KEY> {
    /// A map for up to `entries` entries.
    ///
    /// # Errors
    /// The process may not, or there is no memory.
    pub fn new(matching: Matching, entries: u32) -> io::Result<NumberMap<KEY>> {
        let kind = match matching {
            Matching::Exact => HASH_MAP,
            Matching::Prefix => PREFIX_MAP,
        };
        new_map(kind, KEY as u32, entries, AS_NEEDED).map(NumberMap)
    }

    /// Has `key` stand for `number`, whatever it stood for before.
    ///
    /// # Errors
    /// The map is full, or there is no memory.
    pub fn set(&self, key: &[u8; KEY], number: u32) -> io::Result<()> {
        // SAFETY: the map was made for keys of `KEY` bytes and values of four.
        unsafe { change_map(MAP_UPDATE, self.0.as_raw_fd(), key.as_ptr(), std::ptr::from_ref(&number).cast()) }
    }

    /// Takes out what `key` stands for.
    ///
    /// # Errors
    /// There is no such entry.
    pub fn remove(&self, key: &[u8; KEY]) -> io::Result<()> {
        // SAFETY: the map was made for keys of `KEY` bytes; the command reads no value.
        unsafe { change_map(MAP_DELETE, self.0.as_raw_fd(), key.as_ptr(), std::ptr::null()) }
    }
}

impl<const KEY: usize> AsRawFd for NumberMap<KEY> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A map with values of four bytes.
fn new_map(kind: u32, key_size: u32, entries: u32, flags: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        kind: u32,
        key_size: u32,
        value_size: u32,
        entries: u32,
        flags: u32,
    }
    // SAFETY: the command reads numbers alone.
    let map = unsafe { call(MAP_CREATE, &Attributes { kind, key_size, value_size: 4, entries, flags }) }?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(map) })
}

/// Changes one entry of a map.
///
/// # Safety
/// `key` points at as many bytes as the map's keys have, and `value` at as many as its values, where the command
/// reads one.
unsafe fn change_map(command: libc::c_int, map: RawFd, key: *const u8, value: *const u8) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        map: u32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let attributes = Attributes { map: map as u32, padding: 0, key: key as u64, value: value as u64, flags: 0 };
    // SAFETY: key and value are as the caller promises; both outlive the call and are only read.
    unsafe { call(command, &attributes) }.map(drop)
}

/// A program that the kernel has taken.
#[derive(Debug)]
pub struct XdpProgram(OwnedFd);

impl XdpProgram {
    /// Loads `instructions`.
    pub fn load(instructions: &[[u8; 8]]) -> io::Result<XdpProgram> {
        match XdpProgram::load_with(instructions, LONG_FRAMES) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => XdpProgram::load_with(instructions, 0),
            outcome => outcome,
        }
    }

    fn load_with(instructions: &[[u8; 8]], flags: u32) -> io::Result<XdpProgram> {
        #[repr(C)]
        struct Attributes {
            kind: u32,
            count: u32,
            instructions: u64,
            licence: u64,
            log_level: u32,
            log_size: u32,
            log: u64,
            kernel_version: u32,
            flags: u32,
        }
        let count = u32::try_from(instructions.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
        let attributes = Attributes {
            kind: PROGRAM_XDP,
            count,
            instructions: instructions.as_ptr() as u64,
            licence: LICENCE.as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
            kernel_version: 0,
            flags,
        };
        // SAFETY: `instructions` points at `count` instructions of eight bytes and `licence` at a string that
        // ends with zero; both outlive the call and are only read.
        let program = unsafe { call(PROGRAM_LOAD, &attributes) }?;
        // SAFETY: the kernel has just made this descriptor for us alone.
        Ok(XdpProgram(unsafe { OwnedFd::from_raw_fd(program) }))
    }

    /// Has the kernel run the program on each frame that comes in by `interface`, for as long as the answer lives.
    pub fn attach(&self, interface: u32) -> io::Result<Attachment> {
        #[repr(C)]
        struct Attributes {
            program: u32,
            interface: u32,
            kind: u32,
            flags: u32,
        }
        let program = self.0.as_raw_fd() as u32;
        let attributes = Attributes { program, interface, kind: ATTACH_XDP, flags: GENERIC };
        // SAFETY: the command reads numbers alone.
        let link = unsafe { call(LINK_CREATE, &attributes) }?;
        // SAFETY: the kernel has just made this descriptor for us alone.
        Ok(Attachment(unsafe { OwnedFd::from_raw_fd(link) }))
    }
}

/// A program at a link; it leaves the link when this is dropped.
#[derive(Debug)]
pub struct Attachment(#[allow(dead_code, reason = "it is closed in time, and nothing else")] OwnedFd);

/// One bpf(2) call.
///
/// # Safety
/// `attributes` begins as the union of that command does, without padding bytes, and the addresses in it
/// are good for what the command does with them.
unsafe fn call<T>(command: libc::c_int, attributes: &T) -> io::Result<RawFd> {
    let size = size_of::<T>() as libc::c_uint;
    // SAFETY: pointer and length describe `attributes`, which is only read; the rest is the caller's promise.
    let outcome = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size) };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(outcome as RawFd) }
}
