//! The system calls of the host layer that no crate of ours wraps, one small function each.
//!
//! Sockets come from `socket2` and `netlink-sys`; what is left is a single call.

use std::ffi::c_int;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use socket2::{Domain, Socket, Type};

/// Moves the calling thread, and only it, into a new, empty network namespace.
///
/// The namespace goes with the last thread, socket or process that is in it.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN; `EINVAL` where the kernel has no network namespaces.
pub fn enter_new_network_namespace() -> io::Result<()> {
    // SAFETY: unshare takes no pointer; with CLONE_NEWNET alone it replaces the calling thread's
    // reference to its network namespace and nothing that Rust code holds.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Asks for huge pages under the memory at these addresses, which are looked up faster where much
/// of it is used without pattern. What cannot have them stays as it is.
pub fn prefer_huge_pages(memory: std::ops::Range<usize>) {
    let start = memory.start.next_multiple_of(HUGE_PAGE);
    let length = memory.end.saturating_sub(start) / HUGE_PAGE * HUGE_PAGE;
    if length > 0 {
        // SAFETY: this advice changes no contents and no mapping, whoever has the memory; addresses
        // that are not mapped are an error, which means nothing here.
        unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_HUGEPAGE) };
    }
}

/// Has the kernel put memory under these addresses now, and not when they are touched first (Linux 5.14). Takes as long
/// as the kernel needs to clear it.
///
/// # Errors
/// `EINVAL` where the kernel does not know how; `ENOMEM` where nothing is mapped, or no memory is left.
pub fn populate(memory: std::ops::Range<usize>) -> io::Result<()> {
    let start = memory.start / PAGE * PAGE;
    let length = memory.end.saturating_sub(start);
    if length == 0 {
        return Ok(());
    }
    // SAFETY: this changes no contents and no mapping, whoever has the memory: it does what a first access does;
    // addresses that are not mapped are an error.
    let result = unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_POPULATE_WRITE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps every open descriptor but the standard three from the programs that this process starts.
///
/// What it opens itself is kept from them anyway; this is about what it was started with.
///
/// # Errors
/// `/proc` is not there to say what is open.
pub fn keep_descriptors() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<c_int>().ok()) else { continue };
        if number > libc::STDERR_FILENO {
            // SAFETY: this takes no pointer and changes nothing about a descriptor but what happens to
            // it when another program is started; on one that was closed meanwhile it is an error,
            // which means nothing here.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// How long a packet may be that leaves by the interface of that name in this thread's network namespace (netdevice(7)).
/// Files below /sys tell of the namespace that they were mounted in.
///
/// # Errors
/// `ENODEV` where there is none of that name.
pub fn interface_mtu(name: &str) -> io::Result<u32> {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    let mut name_bytes = [0; libc::IFNAMSIZ];
    // The last byte stays zero.
    if name.len() >= name_bytes.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (place, byte) in name_bytes.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    let mut request = libc::ifreq { ifr_name: name_bytes, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_mtu: 0 } };
    // SAFETY: the descriptor is open; the pointer is to a local ifreq, which is what SIOCGIFMTU reads and writes, and
    // which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU as _, &raw mut request) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: SIOCGIFMTU has filled in this field; before, it was zero.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    u32::try_from(mtu).map_err(io::Error::other)
}

/// Gives the calling thread, and only it, this niceness (-20 to 19).
///
/// # Errors
/// `EACCES` where it is below what the thread has, without CAP_SYS_NICE and beyond RLIMIT_NICE.
pub fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: setpriority takes no pointer; process 0 is the calling thread on Linux.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives the calling thread, and only it, this much more niceness than it has, which everybody may; the highest is 19.
pub fn add_nice(more: u8) {
    // SAFETY: nice takes no pointer, and on Linux is about the calling thread. What it says is the new niceness.
    unsafe { libc::nice(more.into()) };
}

/// No page is smaller. Where they are larger, a range that does not begin at one is not made ready.
const PAGE: usize = 4096;
/// The size of a huge page; where it is another, some of the memory is left out.
const HUGE_PAGE: usize = 2 << 20;

/// Sets a socket's send buffer to hold `length` bytes, whatever the system's limit
/// (`SO_SNDBUFFORCE`).
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN.
pub fn force_send_buffer(socket: &impl AsFd, length: usize) -> io::Result<()> {
    let value = c_int::try_from(length).unwrap_or(c_int::MAX);
    // SAFETY: the descriptor is open while `socket` is borrowed; the pointer is to a local c_int
    // that outlives the call, and the length given is its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDBUFFORCE,
            (&raw const value).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Leaves the calling thread, and only it, no capabilities but those of `mask` (bits by number).
///
/// # Errors
/// `EPERM` where `mask` has one that the thread does not have.
#[cfg(test)]
pub fn keep_capabilities(mask: u64) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let low = mask as u32;
    let high = (mask >> 32) as u32;
    let header = [VERSION_3, 0];
    // Effective, permitted and inheritable, for the low and the high 32 bits.
    let sets = [low, low, 0, high, high, 0];
    // SAFETY: capset reads a header of two words and, for version 3, two sets of three words
    // each; both arrays have that layout and outlive the call. Process id 0 is this thread.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use nix::fcntl::{FcntlArg, fcntl};

    use super::*;

    #[test]
    fn populated_memory_is_there_before_it_is_touched() {
        // SAFETY: new memory, of no file, where the kernel finds room; it stays mapped until the process ends.
        let memory = unsafe {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            libc::mmap(std::ptr::null_mut(), 16 * PAGE, access, kind, -1, 0)
        };
        assert_ne!(memory, libc::MAP_FAILED);
        let start = memory as usize;
        let resident = || {
            let mut pages = [0u8; 16];
            // SAFETY: the range is part of `memory`, which is mapped, and there is a byte for each of its pages.
            let result =
                unsafe { libc::mincore(start as *mut libc::c_void, pages.len() * PAGE, pages.as_mut_ptr().cast()) };
            assert_eq!(result, 0, "{}", io::Error::last_os_error());
            pages.iter().filter(|&&page| page & 1 == 1).count()
        };
        assert_eq!(resident(), 0);
        match populate(start..start + 16 * PAGE) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => println!("not run: {error}"),
            outcome => {
                outcome.unwrap();
                assert_eq!(resident(), 16);
            }
        }
        populate(0..0).unwrap();
        assert_eq!(populate(0..PAGE).unwrap_err().raw_os_error(), Some(libc::ENOMEM));
    }

    #[test]
    fn a_program_that_is_started_gets_the_standard_descriptors_alone() {
        let flags = |descriptor: &dyn AsFd| fcntl(descriptor.as_fd(), FcntlArg::F_GETFD).ok();
        // Inherited ones are as this: open, and not to be closed by exec.
        let inherited = nix::unistd::dup(io::stdin()).unwrap();
        assert_eq!(flags(&inherited), Some(0));
        let standard = || (flags(&io::stdin()), flags(&io::stdout()), flags(&io::stderr()));
        let before = standard();
        keep_descriptors().unwrap();
        assert_eq!(flags(&inherited), Some(libc::FD_CLOEXEC));
        assert_eq!(standard(), before);
    }
}
