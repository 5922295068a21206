//! Extended BPF in the kernel: maps, loading a program, attaching it to a link, leading frames to sockets.
//!
//! Mirrors bpf(2) and `include/uapi/linux/bpf.h`. Everything made here is a descriptor, and is undone when
//! the last copy of it is closed: also when the process ends in whatever way.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP: libc::c_int = 1;
const MAP_UPDATE: libc::c_int = 2;
const MAP_DELETE: libc::c_int = 3;
const PROGRAM_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const LINK_UPDATE: libc::c_int = 29;

const PROGRAM_CLASSIFIER: u32 = 3;
const PROGRAM_XDP: u32 = 6;
const MAP_HASH: u32 = 1;
const MAP_ARRAY: u32 = 2;
const MAP_PREFIXES: u32 = 11;
const MAP_OF_SOCKETS: u32 = 17;
/// Memory is taken for each entry, not for all that may come (BPF_F_NO_PREALLOC).
const AS_NEEDED: u32 = 1;
const ATTACH_XDP: u32 = 37;
const ATTACH_INGRESS: u32 = 46;
const ATTACH_EGRESS: u32 = 47;
/// The program sees long frames by their beginning (BPF_F_XDP_HAS_FRAGS, Linux 5.18): without it the kernel copies
/// each super-frame into one piece, for which it needs that much memory in one piece.
const LONG_FRAMES: u32 = 1 << 5;
/// The kernel's own code runs the program, whatever the driver can (XDP_FLAGS_SKB_MODE).
const GENERIC: u32 = 1 << 1;
/// Of the programs at one place this one is run before those that are there (BPF_F_BEFORE).
const BEFORE: u32 = 1 << 3;

/// Of no consequence to the kernel but for functions that only GPL programs may call; none is called.
const LICENCE: &CStr = c"Apache-2.0 OR MIT";

/// A map from queue numbers to AF_XDP sockets.
#[derive(Debug)]
pub struct SocketMap(OwnedFd);

impl SocketMap {
    /// A map for the queues below `queues`.
    pub fn new(queues: u32) -> io::Result<SocketMap> {
        new_map(MAP_OF_SOCKETS, [4, 4], queues, 0).map(SocketMap)
    }

    /// Leads the frames of `queue` to `socket`, which is bound to it.
    pub fn lead(&self, queue: u32, socket: &impl AsRawFd) -> io::Result<()> {
        let (queue, mut socket) = (queue.to_ne_bytes(), socket.as_raw_fd().to_ne_bytes());
        // SAFETY: key and value have four bytes each, as the map was made for.
        unsafe { map_entry(MAP_UPDATE, &self.0, queue.as_ptr(), socket.as_mut_ptr()) }
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
            Matching::Exact => MAP_HASH,
            Matching::Prefix => MAP_PREFIXES,
        };
        new_map(kind, [KEY, 4], entries, AS_NEEDED).map(NumberMap)
    }

    /// Has `key` stand for `number`, whatever it stood for before.
    ///
    /// # Errors
    /// The map is full, or there is no memory.
    pub fn set(&self, key: &[u8; KEY], number: u32) -> io::Result<()> {
        let mut number = number.to_ne_bytes();
        // SAFETY: the map was made for keys of `KEY` bytes and values of four.
        unsafe { map_entry(MAP_UPDATE, &self.0, key.as_ptr(), number.as_mut_ptr()) }
    }

    /// Takes out what `key` stands for.
    ///
    /// # Errors
    /// There is no such entry.
    pub fn remove(&self, key: &[u8; KEY]) -> io::Result<()> {
        // SAFETY: the map was made for keys of `KEY` bytes; the command looks at no value.
        unsafe { map_entry(MAP_DELETE, &self.0, key.as_ptr(), std::ptr::null_mut()) }
    }
}

impl<const KEY: usize> AsRawFd for NumberMap<KEY> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Words of a pair of counters in the kernel: each has a cache line of its own.
const COUNTER_WORDS: usize = 8;

/// Pairs of counters that programs add to.
#[derive(Debug)]
pub struct CounterMap {
    map: OwnedFd,
    entries: u32,
}

impl CounterMap {
    /// A map of that many pairs, all of them zero.
    ///
    /// # Errors
    /// The process may not, or there is no memory.
    pub fn new(entries: u32) -> io::Result<CounterMap> {
        Ok(CounterMap { map: new_map(MAP_ARRAY, [4, size_of::<[u64; COUNTER_WORDS]>()], entries, 0)?, entries })
    }

    /// The sum of all pairs.
    pub fn sum(&self) -> [u64; 2] {
        (0..self.entries).fold([0; 2], |sum, entry| {
            // An entry of such a map is always there.
            let pair = self.read(entry).unwrap_or_default();
            std::array::from_fn(|index| sum[index].wrapping_add(pair[index]))
        })
    }

    fn read(&self, entry: u32) -> io::Result<[u64; COUNTER_WORDS]> {
        let mut value = [0u64; COUNTER_WORDS];
        // SAFETY: the key has four bytes and the value as many as the map was made for; any bytes will do for it.
        unsafe { map_entry(MAP_LOOKUP, &self.map, entry.to_ne_bytes().as_ptr(), value.as_mut_ptr().cast()) }?;
        Ok(value)
    }
}

impl AsRawFd for CounterMap {
    fn as_raw_fd(&self) -> RawFd {
        self.map.as_raw_fd()
    }
}

/// A map with keys and values of that many bytes.
fn new_map(kind: u32, [key, value]: [usize; 2], entries: u32, flags: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        kind: u32,
        key_size: u32,
        value_size: u32,
        entries: u32,
        flags: u32,
    }
    let attributes = Attributes { kind, key_size: key as u32, value_size: value as u32, entries, flags };
    // SAFETY: the command reads numbers alone.
    let map = unsafe { call(MAP_CREATE, &attributes) }?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(map) })
}

/// Reads, writes or takes out one entry of a map.
///
/// # Safety
/// `key` points at as many bytes as the map's keys have. Unless the command is [`MAP_DELETE`], `value` points at as
/// many as its values, which any bytes will do for where it is [`MAP_LOOKUP`], which writes there.
unsafe fn map_entry(command: libc::c_int, map: &OwnedFd, key: *const u8, value: *mut u8) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        map: u32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let map = map.as_raw_fd() as u32;
    let attributes = Attributes { map, padding: 0, key: key as u64, value: value as u64, flags: 0 };
    // SAFETY: key and value are as the caller promises, and outlive the call; the key is only read.
    unsafe { call(command, &attributes) }.map(drop)
}

/// What a program is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// Frames as they come in, before the kernel makes packets of them.
    Xdp,
    /// Packets of the kernel's at a link (BPF_PROG_TYPE_SCHED_CLS).
    Classifier,
}

impl ProgramKind {
    fn number(self) -> u32 {
        match self {
            ProgramKind::Xdp => PROGRAM_XDP,
            ProgramKind::Classifier => PROGRAM_CLASSIFIER,
        }
    }

    /// What is asked for where the kernel knows of it.
    fn flags(self) -> u32 {
        match self {
            ProgramKind::Xdp => LONG_FRAMES,
            ProgramKind::Classifier => 0,
        }
    }
}

/// Where at a link a program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// An XDP program, by the kernel's generic code.
    Xdp,
    /// A classifier, on what comes in, behind those that are there (TCX, Linux 6.6).
    Ingress,
    /// A classifier, on what leaves by way of the queueing discipline, before those that are there (TCX, Linux 6.6).
    Egress,
}

/// A program that the kernel has taken.
#[derive(Debug)]
pub struct LoadedProgram(OwnedFd);

impl LoadedProgram {
    /// Loads `instructions`.
    ///
    /// # Errors
    /// The process may not, or the kernel cannot prove that the program is harmless.
    pub fn load(kind: ProgramKind, instructions: &[[u8; 8]]) -> io::Result<LoadedProgram> {
        let is = |error: &io::Error, number| error.raw_os_error() == Some(number);
        let mut flags = kind.flags();
        let mut interruptions = 0;
        loop {
            match load_with(kind, instructions, flags) {
                Err(error) if is(&error, libc::EINVAL) && flags != 0 => flags = 0,
                // A signal came while the kernel looked at the program.
                Err(error) if is(&error, libc::EAGAIN) && interruptions < INTERRUPTIONS => interruptions += 1,
                outcome => break outcome,
            }
        }
    }

    /// Has the kernel run the program at `hook` of `interface`, for as long as the answer lives.
    ///
    /// # Errors
    /// The process may not, the kernel has no such hook, or another program occupies it.
    pub fn attach(&self, hook: Hook, interface: u32) -> io::Result<Attachment> {
        #[repr(C)]
        struct Attributes {
            program: u32,
            interface: u32,
            kind: u32,
            flags: u32,
            /// Before or behind which program; none is named, so before or behind all.
            relative: u32,
            padding: u32,
            revision: u64,
        }
        let (kind, flags) = match hook {
            Hook::Xdp => (ATTACH_XDP, GENERIC),
            Hook::Ingress => (ATTACH_INGRESS, 0),
            Hook::Egress => (ATTACH_EGRESS, BEFORE),
        };
        let program = self.0.as_raw_fd() as u32;
        let attributes = Attributes { program, interface, kind, flags, relative: 0, padding: 0, revision: 0 };
        // SAFETY: the command reads numbers alone.
        let link = unsafe { call(LINK_CREATE, &attributes) }?;
        // SAFETY: the kernel has just made this descriptor for us alone.
        Ok(Attachment(unsafe { OwnedFd::from_raw_fd(link) }))
    }
}

/// How often a program is loaded again that the kernel did not look at to its end.
const INTERRUPTIONS: u32 = 5;

fn load_with(kind: ProgramKind, instructions: &[[u8; 8]], flags: u32) -> io::Result<LoadedProgram> {
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
        kind: kind.number(),
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
    Ok(LoadedProgram(unsafe { OwnedFd::from_raw_fd(program) }))
}

/// A program at a link; it leaves the link when this is dropped.
#[derive(Debug)]
pub struct Attachment(OwnedFd);

impl Attachment {
    /// Puts another program in the place of the one there is, in one step.
    pub fn replace(&self, program: &LoadedProgram) -> io::Result<()> {
        #[repr(C)]
        struct Attributes {
            link: u32,
            program: u32,
            flags: u32,
            old_program: u32,
        }
        let program = program.0.as_raw_fd() as u32;
        let attributes = Attributes { link: self.0.as_raw_fd() as u32, program, flags: 0, old_program: 0 };
        // SAFETY: the command reads numbers alone.
        unsafe { call(LINK_UPDATE, &attributes) }.map(drop)
    }
}

/// How many programs are at `hook`, a place of classifiers, of `interface`.
#[cfg(test)]
pub fn programs_at(hook: Hook, interface: u32) -> io::Result<u32> {
    const QUERY: libc::c_int = 16;
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        interface: u32,
        kind: u32,
        query_flags: u32,
        attach_flags: u32,
        programs: u64,
        count: u32,
        padding: u32,
        unused: [u64; 4],
    }
    let kind = if hook == Hook::Ingress { ATTACH_INGRESS } else { ATTACH_EGRESS };
    let mut attributes = Attributes { interface, kind, ..Attributes::default() };
    let size = size_of::<Attributes>() as libc::c_uint;
    // SAFETY: pointer and length describe `attributes`, which is ours; the kernel writes numbers into it, and
    // follows no address, as none is given.
    let outcome = unsafe { libc::syscall(libc::SYS_bpf, QUERY, std::ptr::from_mut(&mut attributes), size) };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(attributes.count) }
}

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
