//! A classic BPF machine for tests, written from the instruction set's description and not from
//! the assembler.

use super::program::Program;

/// What a program sees of a frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packet<'a> {
    /// From where positive offsets count: Ethernet for a socket's filter, the IP header for a fanout program.
    pub data: &'a [u8],
    /// From where SKF_NET_OFF counts: the IP header.
    pub network: &'a [u8],
    pub protocol: u16,
    pub outgoing: bool,
    pub tagged: bool,
}

/// What the program returns for the packet.
///
/// # Panics
/// The kernel would refuse the program.
pub fn run(program: &Program, packet: &Packet<'_>) -> u32 {
    let code = &program.0;
    assert!(!code.is_empty() && code.len() <= 4096);
    let (mut a, mut x, mut memory, mut next) = (0u32, 0u32, [0u32; 16], 0);
    loop {
        let instruction = code[next];
        let k = instruction.k;
        next += 1;
        match instruction.code & 0x07 {
            // Loads: into the accumulator, into the index register.
            0x00 => {
                let value = match instruction.code & 0xe0 {
                    0x00 => Some(k),
                    0x20 => load(packet, k, instruction.code),
                    0x40 => load(packet, k.wrapping_add(x), instruction.code),
                    0x60 => Some(memory[k as usize]),
                    other => panic!("load mode {other:#x}"),
                };
                let Some(value) = value else { return 0 };
                a = value;
            }
            0x01 => match instruction.code & 0xe0 {
                0x00 => x = k,
                0x60 => x = memory[k as usize],
                0xa0 => {
                    let Some(byte) = load(packet, k, 0x10) else { return 0 };
                    x = (byte & 0xf) * 4;
                }
                other => panic!("index load mode {other:#x}"),
            },
            0x02 => memory[k as usize] = a,
            0x03 => memory[k as usize] = x,
            0x04 => {
                let operand = if instruction.code & 0x08 == 0 { k } else { x };
                a = match instruction.code & 0xf0 {
                    0x00 => a.wrapping_add(operand),
                    0x10 => a.wrapping_sub(operand),
                    0x20 => a.wrapping_mul(operand),
                    0x30 => a / operand,
                    0x40 => a | operand,
                    0x50 => a & operand,
                    0x60 => a << operand,
                    0x70 => a >> operand,
                    0x90 => a % operand,
                    0xa0 => a ^ operand,
                    other => panic!("operation {other:#x}"),
                };
            }
            0x05 => {
                let operand = if instruction.code & 0x08 == 0 { k } else { x };
                let taken = match instruction.code & 0xf0 {
                    0x00 => {
                        next += k as usize;
                        continue;
                    }
                    0x10 => a == operand,
                    0x20 => a > operand,
                    0x30 => a >= operand,
                    0x40 => a & operand != 0,
                    other => panic!("jump {other:#x}"),
                };
                next += usize::from(if taken { instruction.jt } else { instruction.jf });
            }
            0x06 => return if instruction.code & 0x18 == 0x10 { a } else { k },
            _ => match instruction.code & 0xf8 {
                0x00 => x = a,
                0x80 => a = x,
                other => panic!("miscellaneous {other:#x}"),
            },
        }
    }
}

fn load(packet: &Packet<'_>, offset: u32, code: u16) -> Option<u32> {
    let (bytes, offset) = match offset as i32 {
        0.. => (packet.data, offset as usize),
        // SKF_AD_OFF: what the kernel knows beside the bytes.
        -0x1000..0 => {
            return match offset as i32 + 0x1000 {
                0 => Some(packet.protocol.into()),
                4 => Some(if packet.outgoing { 4 } else { 0 }),
                48 => Some(packet.tagged.into()),
                other => panic!("ancillary {other}"),
            };
        }
        // SKF_NET_OFF.
        -0x100000..-0x1000 => (packet.network, (offset as i32 + 0x100000) as usize),
        other => panic!("offset {other}"),
    };
    let bytes = bytes.get(offset..)?;
    match code & 0x18 {
        0x00 => bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)),
        0x08 => bytes.first_chunk().map(|bytes| u16::from_be_bytes(*bytes).into()),
        _ => bytes.first().map(|&byte| byte.into()),
    }
}
