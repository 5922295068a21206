//! Extended BPF programs, as far as choosing and changing frames needs them: what the kernel runs on each frame
//! at some place of a link.
//!
//! Eleven registers of 64 bits, of which 6 to 9 outlive a call and the last points behind the program's own
//! 512 bytes; jumps go forward only here. The kernel takes a program only where it can prove that every load
//! lies in the frame: compare with the frame's end first. Mirrors `Documentation/bpf/standardization/instruction-set.rst`.

use thiserror::Error;

/// Most instructions a program of ours has: what every kernel takes.
pub const LIMIT: usize = libc::BPF_MAXINSNS as usize;

const CLASS_LOAD: u8 = libc::BPF_LD as u8;
const CLASS_LOAD_INDEXED: u8 = libc::BPF_LDX as u8;
const CLASS_STORE: u8 = libc::BPF_ST as u8;
const CLASS_STORE_INDEXED: u8 = libc::BPF_STX as u8;
const CLASS_JUMP: u8 = libc::BPF_JMP as u8;
/// Jumps that look at the lower half of a register.
const CLASS_JUMP_32: u8 = 0x06;
const CLASS_ALU_64: u8 = 0x07;
const CLASS_ALU: u8 = libc::BPF_ALU as u8;

const MODE_MEMORY: u8 = libc::BPF_MEM as u8;
const MODE_ATOMIC: u8 = 0xc0;
const DOUBLE_WORD: u8 = 0x18;
const BY_REGISTER: u8 = libc::BPF_X as u8;
const MOVE: u8 = 0xb0;
const NEGATE: u8 = 0x80;
/// With the register bit set: to network order, of as many bits as the number says.
const BYTE_ORDER: u8 = 0xd0;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
/// Source "register" of a load that stands for a map.
const MAP: u8 = 1;

/// One instruction, or the second half of a long one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u8,
    pub to: u8,
    pub from: u8,
    pub offset: i16,
    pub number: i32,
}

impl Instruction {
    /// The instruction as the kernel reads it: in the machine's byte order, the two registers in one byte.
    pub fn bytes(self) -> [u8; 8] {
        let registers =
            if cfg!(target_endian = "little") { self.from << 4 | self.to } else { self.to << 4 | self.from };
        let [offset_0, offset_1] = self.offset.to_ne_bytes();
        let [a, b, c, d] = self.number.to_ne_bytes();
        [self.code, registers, offset_0, offset_1, a, b, c, d]
    }
}

/// A finished program.
#[derive(Clone, PartialEq, Eq)]
pub struct Program(pub(in crate::port) Vec<Instruction>);

impl Program {
    /// The whole program as the kernel reads it.
    pub fn bytes(&self) -> Vec<[u8; 8]> {
        self.0.iter().map(|instruction| instruction.bytes()).collect()
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Program({} instructions)", self.0.len())
    }
}

/// The program would have more instructions than every kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the program needs {0} instructions, kernels take {LIMIT}")]
pub struct ProgramTooLong(pub usize);

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(pub u8);

impl Register {
    /// Points behind the program's own 512 bytes of memory; read only.
    pub const STACK_END: Register = Register(10);
}

/// How many bytes a load or store takes.
#[derive(Clone, Copy, Debug)]
pub enum Width {
    Double = DOUBLE_WORD as isize,
    Word = libc::BPF_W as isize,
    Half = libc::BPF_H as isize,
    Byte = libc::BPF_B as isize,
}

/// What a register is tested for.
#[derive(Clone, Copy, Debug)]
pub enum Test {
    Equal = 0x10,
    Above = 0x20,
    AnyBit = 0x40,
    Different = 0x50,
    AtMost = 0xb0,
}

/// A place to jump to, further down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// Writes a program line by line, and finds out at the end how far its jumps go.
#[derive(Debug, Default)]
pub struct Assembler {
    instructions: Vec<Instruction>,
    /// Instructions that jump, and where to.
    jumps: Vec<(usize, Label)>,
    /// The instruction that each label stands before.
    labels: Vec<usize>,
}

impl Assembler {
    /// A label that [`Assembler::place`] must be called for later.
    pub fn label(&mut self) -> Label {
        self.labels.push(usize::MAX);
        Label(self.labels.len() - 1)
    }

    /// Puts `label` before the next instruction.
    pub fn place(&mut self, label: Label) {
        self.labels[label.0] = self.instructions.len();
    }

    /// `to` := the bytes at `base` plus `offset`, in memory order.
    pub fn load(&mut self, width: Width, to: Register, base: Register, offset: i16) {
        self.push(CLASS_LOAD_INDEXED | MODE_MEMORY | width as u8, to, base, offset, 0);
    }

    /// The bytes at `base` plus `offset` := the lowest ones of `from`, in memory order.
    pub fn store(&mut self, width: Width, base: Register, offset: i16, from: Register) {
        self.push(CLASS_STORE_INDEXED | MODE_MEMORY | width as u8, base, from, offset, 0);
    }

    /// The bytes at `base` plus `offset` := `number`, in memory order.
    pub fn store_number(&mut self, width: Width, base: Register, offset: i16, number: i32) {
        self.push(CLASS_STORE | MODE_MEMORY | width as u8, base, Register(0), offset, number);
    }

    /// `to` := `from`.
    pub fn copy(&mut self, to: Register, from: Register) {
        self.push(CLASS_ALU_64 | MOVE | BY_REGISTER, to, from, 0, 0);
    }

    /// `to` := `number`.
    pub fn set(&mut self, to: Register, number: i32) {
        self.push(CLASS_ALU_64 | MOVE, to, Register(0), 0, number);
    }

    pub fn add(&mut self, to: Register, number: i32) {
        self.push(CLASS_ALU_64 | libc::BPF_ADD as u8, to, Register(0), 0, number);
    }

    pub fn add_register(&mut self, to: Register, from: Register) {
        self.push(CLASS_ALU_64 | libc::BPF_ADD as u8 | BY_REGISTER, to, from, 0, 0);
    }

    pub fn subtract_register(&mut self, to: Register, from: Register) {
        self.push(CLASS_ALU_64 | libc::BPF_SUB as u8 | BY_REGISTER, to, from, 0, 0);
    }

    /// `to` := minus `to`.
    pub fn negate(&mut self, to: Register) {
        self.push(CLASS_ALU_64 | NEGATE, to, Register(0), 0, 0);
    }

    pub fn shift_right(&mut self, to: Register, bits: i32) {
        self.push(CLASS_ALU_64 | libc::BPF_RSH as u8, to, Register(0), 0, bits);
    }

    /// Adds `from` to the eight bytes at `base` plus `offset`, whoever else does so at the same time.
    pub fn add_to_memory(&mut self, base: Register, offset: i16, from: Register) {
        self.push(CLASS_STORE_INDEXED | MODE_ATOMIC | DOUBLE_WORD, base, from, offset, libc::BPF_ADD as i32);
    }

    /// Keeps of the lower half of `to` the bits of `mask`, and nothing of the upper one.
    pub fn mask(&mut self, to: Register, mask: u32) {
        self.push(CLASS_ALU | libc::BPF_AND as u8, to, Register(0), 0, mask as i32);
    }

    /// Turns two bytes in network order into a number.
    pub fn from_network_order(&mut self, to: Register) {
        self.push(CLASS_ALU | BYTE_ORDER | BY_REGISTER, to, Register(0), 0, 16);
    }

    /// `to` := the map behind descriptor `map`, as calls take it.
    pub fn load_map(&mut self, to: Register, map: i32) {
        self.push(CLASS_LOAD | DOUBLE_WORD, to, Register(MAP), 0, map);
        self.push(0, Register(0), Register(0), 0, 0);
    }

    /// Goes on at `target` where the lower half of `register` is as tested.
    pub fn branch(&mut self, test: Test, register: Register, number: u32, target: Label) {
        self.jumps.push((self.instructions.len(), target));
        self.push(CLASS_JUMP_32 | test as u8, register, Register(0), 0, number as i32);
    }

    /// Goes on at `target` where all of `register` is as tested: also where it may be an address, which is not zero.
    pub fn branch_whole(&mut self, test: Test, register: Register, number: i32, target: Label) {
        self.jumps.push((self.instructions.len(), target));
        self.push(CLASS_JUMP | test as u8, register, Register(0), 0, number);
    }

    /// Goes on at `target` where `register` compares so with `other`, both of them whole.
    pub fn branch_register(&mut self, test: Test, register: Register, other: Register, target: Label) {
        self.jumps.push((self.instructions.len(), target));
        self.push(CLASS_JUMP | test as u8 | BY_REGISTER, register, other, 0, 0);
    }

    pub fn jump(&mut self, target: Label) {
        self.jumps.push((self.instructions.len(), target));
        self.push(CLASS_JUMP, Register(0), Register(0), 0, 0);
    }

    /// Calls the kernel's function of that number.
    pub fn call(&mut self, function: i32) {
        self.push(CLASS_JUMP | CALL, Register(0), Register(0), 0, function);
    }

    /// Ends the program; register 0 is what it returns.
    pub fn exit(&mut self) {
        self.push(CLASS_JUMP | EXIT, Register(0), Register(0), 0, 0);
    }

    /// The finished program.
    ///
    /// # Errors
    /// It is too long; within the limit every jump's distance fits its field.
    pub fn finish(mut self) -> Result<Program, ProgramTooLong> {
        if self.instructions.len() > LIMIT {
            return Err(ProgramTooLong(self.instructions.len()));
        }
        for (at, Label(label)) in self.jumps {
            let target = self.labels[label];
            debug_assert!(target > at && target < self.instructions.len(), "a jump backward or to no instruction");
            self.instructions[at].offset = target.saturating_sub(at + 1).min(LIMIT) as i16;
        }
        Ok(Program(self.instructions))
    }

    fn push(&mut self, code: u8, to: Register, from: Register, offset: i16, number: i32) {
        self.instructions.push(Instruction { code, to: to.0, from: from.0, offset, number });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_have_the_kernels_layout() {
        let mut assembler = Assembler::default();
        let end = assembler.label();
        assembler.load(Width::Half, Register(4), Register(7), 12);
        assembler.from_network_order(Register(4));
        assembler.branch(Test::Above, Register(4), 1778, end);
        assembler.load_map(Register(1), 5);
        assembler.call(51);
        assembler.place(end);
        assembler.exit();
        let codes: Vec<u64> = assembler.finish().unwrap().bytes().into_iter().map(u64::from_ne_bytes).collect();
        if cfg!(target_endian = "little") {
            // Written by hand from the instruction set's description: number, offset, registers, code.
            let expected: [u64; 7] = [
                0x0000_0000_000c_7469,
                0x0000_0010_0000_04dc,
                0x0000_06f2_0003_0426,
                0x0000_0005_0000_1118,
                0,
                0x0000_0033_0000_0085,
                0x0000_0000_0000_0095,
            ];
            assert_eq!(codes, expected);
        }
    }

    #[test]
    fn a_program_beyond_the_limit_says_how_long_it_is() {
        let mut assembler = Assembler::default();
        for _ in 0..LIMIT {
            assembler.set(Register(0), 2);
        }
        assembler.exit();
        assert_eq!(assembler.finish(), Err(ProgramTooLong(4097)));
    }
}
