//! Super-frames in tunnels, sent whole.
//!
//! A virtio-net header cannot say that each segment of a super-frame is to get the outer headers of a tunnel
//! too; the kernel itself can be told. So such frames leave by a socket of their own, which marks them, and a
//! small program at the link's way out ([`encapsulation`]) tells the kernel of
//! their outer headers:
//!
//! ```text
//! socket with mark ─► | Ethernet | outer | inner … |  ─► program: outer headers off, and on again
//!                       "TCP, to be cut"                  as those of a tunnel ─► queue, link
//! ```
//!
//! A link that can cut such frames, or whose other end takes them whole, is given them whole; for all others
//! the kernel cuts them.
//!
//! The program is attached by a BPF link (TCX, Linux 6.6), so that it goes with the process however that ends.
//! Each socket has a mark of its own, picked at random: nobody else's frames carry it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;

use super::{PacketOptions, open_output};
use crate::port::bpf::encapsulation;
use crate::port::error::PortError;
use crate::port::sys::bpf::{Attachment, Hook, LoadedProgram, ProgramKind};
use crate::port::sys::socket::PacketSocket;

/// A way out for super-frames in tunnels.
#[derive(Debug)]
pub(super) struct Tunnel {
    // In this order: no frame leaves that the program would not see.
    socket: PacketSocket,
    _attachment: Attachment,
}

impl Tunnel {
    pub fn open(options: &PacketOptions) -> Result<Tunnel, PortError> {
        // Zero is the mark of all that has none.
        let mark = RandomState::new().build_hasher().finish() as u32 | 1;
        let error = |step| move |source| tunnel_error(options, step, source);
        let program =
            encapsulation::program(mark).map_err(|long| io::Error::new(io::ErrorKind::ArgumentListTooLong, long));
        let program = program.and_then(|program| LoadedProgram::load(ProgramKind::Classifier, &program.bytes()));
        let program = program.map_err(error("loading a program"))?;
        let attachment =
            program.attach(Hook::Egress, options.interface).map_err(|source| match source.raw_os_error() {
                // What a kernel says that knows of no such place.
                Some(libc::EINVAL) => PortError::TunnelsMissing { link: options.name.clone(), source },
                _ => error("attaching a program")(source),
            })?;
        let socket = open_output(options)?;
        socket.set_mark(mark).map_err(error("marking frames"))?;
        Ok(Tunnel { socket, _attachment: attachment })
    }

    pub fn socket(&self) -> &PacketSocket {
        &self.socket
    }
}

fn tunnel_error(options: &PacketOptions, step: &'static str, source: io::Error) -> PortError {
    let link = options.name.clone();
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => PortError::TunnelsNotPermitted { source },
        Some(libc::ENOSYS) => PortError::TunnelsMissing { link, source },
        _ => PortError::Step { step, link, source },
    }
}
