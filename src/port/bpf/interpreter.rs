//! An extended BPF machine for tests, written from the instruction set's description and not from the
//! assembler. Stricter than a processor: a load outside of the frame or the context is a panic, as the kernel
//! would refuse a program that may come to one.

use super::program::Program;

/// What a program decides about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Pass,
    Redirect { map: u64, queue: u64 },
}

/// Where context and frame lie in the machine's memory.
const CONTEXT: u64 = 0x1000;
const FRAME: u64 = 0x10_0000;
const STACK_END: u64 = 0x9000;

/// What the program decides about `frame`, which came by `queue`.
///
/// # Panics
/// The kernel would refuse the program.
pub fn run(program: &Program, frame: &[u8], queue: u32) -> Action {
    let code = &program.0;
    assert!(!code.is_empty() && code.len() <= 4096);
    let mut registers: [Option<u64>; 11] = [None; 11];
    registers[1] = Some(CONTEXT);
    registers[10] = Some(STACK_END);
    let end = FRAME + frame.len() as u64;
    let context: Vec<u8> =
        [FRAME as u32, end as u32, 0, 1, queue, 0].into_iter().flat_map(|word: u32| word.to_ne_bytes()).collect();
    let mut redirected = None;
    let mut next = 0;
    loop {
        let instruction = code[next];
        let (to, from) = (usize::from(instruction.to), usize::from(instruction.from));
        let immediate = instruction.number as i64 as u64;
        next += 1;
        let operand = |registers: &[Option<u64>; 11]| match instruction.code & 0x08 {
            0 => immediate,
            _ => registers[from].expect("a register is read before it is written"),
        };
        match instruction.code & 0x07 {
            0x00 => {
                assert_eq!((instruction.code, instruction.from), (0x18, 1), "loads are of maps alone");
                registers[to] = Some(immediate);
                assert_eq!(code[next].code, 0);
                next += 1;
            }
            0x01 => {
                assert_eq!(instruction.code & 0xe0, 0x60, "the load's mode");
                let width = match instruction.code & 0x18 {
                    0x00 => 4,
                    0x08 => 2,
                    0x10 => 1,
                    _ => 8,
                };
                let base = registers[from].expect("a register is read before it is written");
                let address = base.wrapping_add_signed(instruction.offset.into());
                let (bytes, at) = match address {
                    FRAME.. => (frame, address - FRAME),
                    _ => (&context[..], address - CONTEXT),
                };
                let bytes = &bytes[at as usize..at as usize + width];
                let mut whole = [0; 8];
                if cfg!(target_endian = "little") {
                    whole[..width].copy_from_slice(bytes);
                } else {
                    whole[8 - width..].copy_from_slice(bytes);
                }
                registers[to] = Some(u64::from_ne_bytes(whole));
            }
            0x04 | 0x07 => {
                let narrow = instruction.code & 0x07 == 0x04;
                let before = registers[to];
                let value = || before.expect("a register is read before it is written");
                let result = match instruction.code & 0xf0 {
                    0x00 => value().wrapping_add(operand(&registers)),
                    0x50 => value() & operand(&registers),
                    0xb0 => operand(&registers),
                    0xd0 => {
                        assert_eq!((instruction.code, instruction.number), (0xdc, 16), "only halves are turned");
                        u64::from(u16::from_be_bytes((value() as u16).to_ne_bytes()))
                    }
                    other => panic!("operation {other:#x}"),
                };
                registers[to] = Some(if narrow { result & 0xffff_ffff } else { result });
            }
            0x05 | 0x06 => {
                let narrow = instruction.code & 0x07 == 0x06;
                match instruction.code & 0xf0 {
                    0x00 => {
                        next += instruction.offset as usize;
                        continue;
                    }
                    0x80 => {
                        assert_eq!(instruction.number, 51, "the function called");
                        let argument = |number: usize| registers[number].expect("an argument is missing");
                        assert_eq!(argument(3), 2, "what happens where there is no socket");
                        redirected = Some(Action::Redirect { map: argument(1), queue: argument(2) });
                        registers[1..=5].fill(None);
                        registers[0] = Some(4);
                        continue;
                    }
                    0x90 => {
                        return match registers[0].expect("nothing is returned") {
                            2 => Action::Pass,
                            4 => redirected.expect("redirected nowhere"),
                            other => panic!("verdict {other}"),
                        };
                    }
                    _ => {}
                }
                let both = [registers[to].expect("a register is read before it is written"), operand(&registers)];
                let [left, right] = if narrow { both.map(|value| value & 0xffff_ffff) } else { both };
                let taken = match instruction.code & 0xf0 {
                    0x10 => left == right,
                    0x20 => left > right,
                    0x40 => left & right != 0,
                    0x50 => left != right,
                    0xb0 => left <= right,
                    other => panic!("jump {other:#x}"),
                };
                if taken {
                    next += instruction.offset as usize;
                }
            }
            other => panic!("class {other}"),
        }
    }
}
