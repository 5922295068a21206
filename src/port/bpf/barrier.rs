//! The barrier: frames to a virtual MAC end at a link's way in, before the kernel's stack looks at them.
//!
//! ```text
//! card, veth ─► XDP ─► packet sockets ─► barrier ─┬─ to the virtual MAC ──► dropped: the director has its copy
//!                                                 └─ all others ──────────► the guard, the kernel's stack
//! ```
//!
//! To the kernel these frames are another host's, and it drops them, too; but only after a way through its stack that
//! costs their sender (over veth) or the core that takes interrupts a twelfth of all that a small packet costs. Not
//! stopped are frames that the kernel takes for its own, and those with a VLAN tag, which are for the link of that VLAN.
//!
//! Needs CAP_BPF and CAP_NET_ADMIN, and Linux 6.6 (TCX). The barrier goes with the process, however that ends.
//! Mirrors bpf-helpers(7) and `Documentation/bpf/libbpf/program_types.rst`.

use std::io;

use crate::base::Mac;
use crate::wire::frame::ETHERNET_LENGTH;

use super::program::{Assembler, Program, ProgramTooLong, Register, Test, Width};
use super::{ATTACHING, Attachment, BpfError, Hook, LOADING, LoadedProgram, ProgramKind, refused};

/// Fields of `struct __sk_buff`.
mod context {
    pub const PACKET_TYPE: i16 = 4;
    pub const HAS_VLAN_TAG: i16 = 20;
    pub const DATA: i16 = 76;
    pub const DATA_END: i16 = 80;
}

/// What the program returns: the next program decides (TCX_NEXT), or the frame is dropped (TCX_DROP).
const NEXT: i32 = -1;
const DROP: i32 = 2;

const RESULT: Register = Register(0);
const CONTEXT: Register = Register(1);
const SCRATCH: Register = Register(2);
const FRAME: Register = Register(3);
const END: Register = Register(4);

/// A barrier at a link, for as long as this lives.
#[derive(Debug)]
pub struct Barrier {
    _attachment: Attachment,
}

impl Barrier {
    /// Puts one up at the link of this kernel's number, for frames to `mac`.
    ///
    /// # Errors
    /// The kernel cannot, or this process may not.
    pub fn open(interface: u32, mac: Mac) -> Result<Barrier, BpfError> {
        let program = program(mac).map_err(|long| BpfError::Step {
            step: "writing a program",
            source: io::Error::new(io::ErrorKind::ArgumentListTooLong, long),
        })?;
        let program = LoadedProgram::load(ProgramKind::Classifier, &program.bytes()).map_err(refused(LOADING))?;
        let _attachment = program.attach(Hook::Ingress, interface).map_err(refused(ATTACHING))?;
        Ok(Barrier { _attachment })
    }
}

/// The program for frames to `mac`.
///
/// # Errors
/// It is too long, which it never is.
pub fn program(mac: Mac) -> Result<Program, ProgramTooLong> {
    let [a, b, c, d, e, f] = mac.0;
    let mut assembler = Assembler::default();
    let code = &mut assembler;
    let next = code.label();
    code.load(Width::Word, SCRATCH, CONTEXT, context::PACKET_TYPE);
    code.branch(Test::Different, SCRATCH, libc::PACKET_OTHERHOST.into(), next);
    code.load(Width::Word, SCRATCH, CONTEXT, context::HAS_VLAN_TAG);
    code.branch(Test::Different, SCRATCH, 0, next);
    code.load(Width::Word, FRAME, CONTEXT, context::DATA);
    code.load(Width::Word, END, CONTEXT, context::DATA_END);
    code.copy(SCRATCH, FRAME);
    code.add(SCRATCH, ETHERNET_LENGTH as i32);
    code.branch_register(Test::Above, SCRATCH, END, next);
    code.load(Width::Word, SCRATCH, FRAME, 0);
    code.branch(Test::Different, SCRATCH, u32::from_ne_bytes([a, b, c, d]), next);
    code.load(Width::Half, SCRATCH, FRAME, 4);
    code.branch(Test::Different, SCRATCH, u16::from_ne_bytes([e, f]).into(), next);
    code.set(RESULT, DROP);
    code.exit();
    code.place(next);
    code.set(RESULT, NEXT);
    code.exit();
    assembler.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::bpf::interpreter::{CONTEXT as CONTEXT_AT, FRAME as FRAME_AT, Memory, execute};

    const VIRTUAL: Mac = Mac([0x00, 0x00, 0x5e, 0x00, 0x01, 0xfe]);

    /// Whether a frame of `length` bytes to `mac` is stopped.
    fn is_stopped(mac: Mac, length: usize, packet_type: u8, has_tag: bool) -> bool {
        let mut frame = vec![0xaa; length];
        let known = length.min(6);
        frame[..known].copy_from_slice(&mac.0[..known]);
        let mut context = [0u32; 48];
        let mut set = |field: i16, value: u32| context[field as usize / 4] = value;
        set(context::PACKET_TYPE, packet_type.into());
        set(context::HAS_VLAN_TAG, has_tag.into());
        set(context::DATA, FRAME_AT as u32);
        set(context::DATA_END, (FRAME_AT + length as u64) as u32);
        let bytes: Vec<u8> = context.into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut memory = Memory::new(&[(CONTEXT_AT, &bytes), (FRAME_AT, &frame)]);
        let verdict = execute(&program(VIRTUAL).unwrap(), &mut memory, |call, _| panic!("{call:?}"));
        match verdict as i32 {
            DROP => true,
            NEXT => false,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn frames_to_the_virtual_mac_end_and_all_others_go_on() {
        const OTHER: u8 = libc::PACKET_OTHERHOST;
        assert!(is_stopped(VIRTUAL, 60, OTHER, false) && is_stopped(VIRTUAL, ETHERNET_LENGTH, OTHER, false));
        for byte in 0..6 {
            let mut mac = VIRTUAL;
            mac.0[byte] ^= 0x80;
            assert!(!is_stopped(mac, 60, OTHER, false), "{mac}");
        }
        for kind in [libc::PACKET_HOST, libc::PACKET_BROADCAST, libc::PACKET_MULTICAST] {
            assert!(!is_stopped(VIRTUAL, 60, kind, false), "the kernel has a use for it");
        }
        assert!(!is_stopped(VIRTUAL, 60, OTHER, true), "another link's");
        assert!((0..ETHERNET_LENGTH).all(|length| !is_stopped(VIRTUAL, length, OTHER, false)));
    }
}
