//! An extended BPF machine for tests, written from the instruction set's description and not from the
//! assembler. Stricter than a processor: a load from what is not there, or was never written, is a panic, as the
//! kernel would refuse a program that may come to one.

use super::program::Program;

/// What an XDP program decides about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Pass,
    Redirect { map: u64, queue: u64 },
}

/// Where context and frame lie in the machine's memory.
pub const CONTEXT: u64 = 0x1000;
pub const FRAME: u64 = 0x10_0000;
/// Numbers that maps answered.
const NUMBERS: u64 = 0x8000_0000;
const STACK_END: u64 = 0x9000;
const STACK_LENGTH: usize = 512;

/// A call of one of the kernel's functions.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub function: i32,
    arguments: [Option<u64>; 5],
}

impl Call {
    /// The argument of that number, from 1.
    ///
    /// # Panics
    /// The program set none.
    pub fn argument(&self, number: usize) -> u64 {
        self.arguments[number - 1].expect("an argument is missing")
    }
}

/// Pieces of memory, each at its address; a byte that nobody has written is none.
#[derive(Clone, Debug)]
pub struct Memory(Vec<(u64, Vec<Option<u8>>)>);

impl Memory {
    /// The program's own memory, and `pieces`.
    pub fn new(pieces: &[(u64, &[u8])]) -> Memory {
        let own = (STACK_END - STACK_LENGTH as u64, vec![None; STACK_LENGTH]);
        let others = pieces.iter().map(|(start, bytes)| (*start, bytes.iter().copied().map(Some).collect()));
        Memory(others.chain([own]).collect())
    }

    /// `bytes` are at `address` from now on, where nothing was.
    pub fn add(&mut self, address: u64, bytes: &[u8]) {
        self.0.push((address, bytes.iter().copied().map(Some).collect()));
    }

    /// The bytes from `address` on, as far as they are written.
    ///
    /// # Panics
    /// There is no such memory.
    pub fn written(&self, address: u64) -> Vec<u8> {
        let (piece, from) = self.place(address);
        self.0[piece].1[from..].iter().map_while(|&byte| byte).collect()
    }

    /// The bytes from `address` on.
    ///
    /// # Panics
    /// They are not there, or not written.
    pub fn read(&mut self, address: u64, length: usize) -> Vec<u8> {
        self.at(address, length).iter().map(|byte| byte.expect("memory is read before it is written")).collect()
    }

    /// Writes `bytes` to `address`.
    ///
    /// # Panics
    /// There is no such memory.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        for (place, byte) in self.at(address, bytes.len()).iter_mut().zip(bytes) {
            *place = Some(*byte);
        }
    }

    fn at(&mut self, address: u64, length: usize) -> &mut [Option<u8>] {
        let (piece, from) = self.place(address);
        &mut self.0[piece].1[from..from + length]
    }

    /// The piece that `address` is in, and how far into it.
    fn place(&self, address: u64) -> (usize, usize) {
        let into = |(start, _): &(u64, _)| usize::try_from(address.checked_sub(*start)?).ok();
        let places = self.0.iter().enumerate().filter_map(|(piece, memory)| Some((piece, into(memory)?)));
        let mut inside = places.filter(|&(piece, from)| from < self.0[piece].1.len());
        inside.next().unwrap_or_else(|| panic!("there is no memory at {address:#x}"))
    }
}

/// What the XDP program decides about `frame`, which came by `queue`. `look_up` is told a map and what was written
/// on from where the key begins, and says what number the map has for it.
///
/// # Panics
/// The kernel would refuse the program.
pub fn run(program: &Program, frame: &[u8], queue: u32, look_up: impl Fn(u64, &[u8]) -> Option<u32>) -> Action {
    let end = FRAME + frame.len() as u64;
    let context: Vec<u8> =
        [FRAME as u32, end as u32, 0, 1, queue, 0].into_iter().flat_map(|word: u32| word.to_ne_bytes()).collect();
    let mut redirected = None;
    let mut memory = Memory::new(&[(CONTEXT, &context), (FRAME, frame)]);
    let mut next_number = NUMBERS;
    let verdict = execute(program, &mut memory, |call, memory| match call.function {
        1 => look_up(call.argument(1), &memory.written(call.argument(2))).map_or(0, |number| {
            let address = next_number;
            memory.add(address, &number.to_ne_bytes());
            next_number += 4;
            address
        }),
        51 => {
            assert_eq!(call.argument(3), 2, "what happens where there is no socket");
            redirected = Some(Action::Redirect { map: call.argument(1), queue: call.argument(2) });
            4
        }
        other => panic!("function {other}"),
    });
    match verdict {
        2 => Action::Pass,
        4 => redirected.expect("redirected nowhere"),
        other => panic!("verdict {other}"),
    }
}

/// What the program returns, with its context at [`CONTEXT`]; `kernel` answers its calls.
///
/// # Panics
/// The kernel would refuse the program.
pub fn execute(program: &Program, memory: &mut Memory, mut kernel: impl FnMut(Call, &mut Memory) -> u64) -> u64 {
    let code = &program.0;
    assert!(!code.is_empty() && code.len() <= 4096);
    let mut registers: [Option<u64>; 11] = [None; 11];
    registers[1] = Some(CONTEXT);
    registers[10] = Some(STACK_END);
    let mut next = 0;
    loop {
        let instruction = code[next];
        let (to, from) = (usize::from(instruction.to), usize::from(instruction.from));
        let immediate = instruction.number as i64 as u64;
        next += 1;
        let value = |register: usize| registers[register].expect("a register is read before it is written");
        let operand = || if instruction.code & 0x08 == 0 { immediate } else { value(from) };
        let width = match instruction.code & 0x18 {
            0x00 => 4,
            0x08 => 2,
            0x10 => 1,
            _ => 8,
        };
        let place = |base: usize| {
            let address = value(base).wrapping_add_signed(instruction.offset.into());
            // Of frames the kernel knows how far they are from being aligned, and does not mind.
            assert!(address >= FRAME || address % width as u64 == 0, "memory is not aligned");
            address
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
                registers[to] = Some(number(&memory.read(place(from), width)));
            }
            0x02 => {
                assert_eq!(instruction.code & 0xe0, 0x60, "the store's mode");
                memory.write(place(to), &bytes(immediate, width));
            }
            0x03 => {
                let address = place(to);
                let result = match instruction.code & 0xe0 {
                    0x60 => value(from),
                    0xc0 => {
                        assert_eq!(instruction.number, 0, "what is done to memory is adding");
                        assert!(width >= 4, "only words are added to");
                        number(&memory.read(address, width)).wrapping_add(value(from))
                    }
                    other => panic!("the store's mode {other:#x}"),
                };
                memory.write(address, &bytes(result, width));
            }
            0x04 | 0x07 => {
                let narrow = instruction.code & 0x07 == 0x04;
                let before = || if narrow { value(to) & 0xffff_ffff } else { value(to) };
                let result = match instruction.code & 0xf0 {
                    0x00 => before().wrapping_add(operand()),
                    0x10 => before().wrapping_sub(operand()),
                    0x50 => before() & operand(),
                    0x70 => before() >> operand(),
                    0x80 => before().wrapping_neg(),
                    0xb0 => operand(),
                    0xd0 => {
                        assert_eq!((instruction.code, instruction.number), (0xdc, 16), "only halves are turned");
                        u64::from(u16::from_be_bytes((before() as u16).to_ne_bytes()))
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
                        let arguments = std::array::from_fn(|index| registers[index + 1]);
                        let answer = kernel(Call { function: instruction.number, arguments }, memory);
                        registers[1..=5].fill(None);
                        registers[0] = Some(answer);
                        continue;
                    }
                    0x90 => return registers[0].expect("nothing is returned"),
                    _ => {}
                }
                let both = [value(to), operand()];
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

/// Bytes of memory as a number.
fn number(bytes: &[u8]) -> u64 {
    let mut whole = [0; 8];
    if cfg!(target_endian = "little") {
        whole[..bytes.len()].copy_from_slice(bytes);
    } else {
        whole[8 - bytes.len()..].copy_from_slice(bytes);
    }
    u64::from_ne_bytes(whole)
}

/// The lowest `width` bytes of a number as memory has them.
fn bytes(number: u64, width: usize) -> Vec<u8> {
    let whole = number.to_ne_bytes();
    if cfg!(target_endian = "little") { whole[..width].to_vec() } else { whole[8 - width..].to_vec() }
}
