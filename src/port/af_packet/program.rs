//! Classic BPF programs: what the kernel runs on each frame for a socket or a fanout group.

/// A finished program.
#[derive(Clone, Debug)]
pub struct Program(pub(in crate::port) Vec<libc::sock_filter>);

/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;
/// Longer than any frame: the kernel keeps all of it.
const WHOLE_FRAME: u32 = 0x0004_0000;

impl Program {
    /// Takes no frame.
    pub(super) const NOTHING: [libc::sock_filter; 1] = [libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: 0 }];
    /// Takes every frame.
    pub(super) const EVERYTHING: [libc::sock_filter; 1] =
        [libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: WHOLE_FRAME }];
}
