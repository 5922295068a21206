//! Classic BPF programs: what the kernel runs on each frame for a socket or a fanout group.
//!
//! An accumulator, an index register and sixteen words of memory; jumps go forward only, conditional
//! ones at most 255 instructions, and a program has at most 4096. A load outside the frame ends the
//! program with 0. Mirrors `Documentation/networking/filter.rst`.

use thiserror::Error;

/// Most instructions the kernel takes.
pub const LIMIT: usize = libc::BPF_MAXINSNS as usize;

/// Longer than any frame: the kernel keeps all of it.
const WHOLE_FRAME: u32 = 0x0004_0000;

const RETURN_NUMBER: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const RETURN_ACCUMULATOR: u16 = (libc::BPF_RET | libc::BPF_A) as u16;
const LOAD_LENGTH: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_LEN) as u16;
const JUMP_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;

/// A finished program.
#[derive(Clone)]
pub struct Program(pub(in crate::port) Vec<libc::sock_filter>);

/// Which frames pass, by their length with the Ethernet header.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lengths {
    UpTo(u32),
    Beyond(u32),
}

/// The program would have more instructions than the kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the program needs {0} instructions, the kernel takes {LIMIT}")]
pub struct ProgramTooLong(pub usize);

impl PartialEq for Program {
    fn eq(&self, other: &Program) -> bool {
        let fields = |line: &libc::sock_filter| (line.code, line.jt, line.jf, line.k);
        self.0.iter().map(fields).eq(other.0.iter().map(fields))
    }
}

impl Eq for Program {}

impl Program {
    /// Takes no frame.
    pub(super) const NOTHING: [libc::sock_filter; 1] = [instruction(RETURN_NUMBER, 0)];
    /// Takes every frame.
    pub(super) const EVERYTHING: [libc::sock_filter; 1] = [instruction(RETURN_NUMBER, WHOLE_FRAME)];

    /// A filter that lets every frame through.
    pub fn everything() -> Program {
        Program(Program::EVERYTHING.to_vec())
    }

    /// The program behind a look at the frame's length: other frames are not taken.
    ///
    /// # Errors
    /// The kernel takes no program that is longer by so much.
    pub(super) fn for_lengths(filter: &[libc::sock_filter], lengths: Lengths) -> Result<Program, ProgramTooLong> {
        // Past the return where the length is right.
        let (longer, shorter) = match lengths {
            Lengths::UpTo(_) => (0, 1),
            Lengths::Beyond(_) => (1, 0),
        };
        let (Lengths::UpTo(limit) | Lengths::Beyond(limit)) = lengths;
        let mut all = vec![
            instruction(LOAD_LENGTH, 0),
            libc::sock_filter { code: JUMP_GREATER, jt: longer, jf: shorter, k: limit },
            instruction(RETURN_NUMBER, 0),
        ];
        all.extend_from_slice(filter);
        if all.len() > LIMIT { Err(ProgramTooLong(all.len())) } else { Ok(Program(all)) }
    }

    /// How many instructions it has.
    pub fn length(&self) -> usize {
        self.0.len()
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Program({} instructions)", self.length())
    }
}

/// How many bytes a load takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Width {
    Word = libc::BPF_W as isize,
    Half = libc::BPF_H as isize,
    Byte = libc::BPF_B as isize,
}

/// What is done to the accumulator.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    Multiply = libc::BPF_MUL as isize,
    Remainder = libc::BPF_MOD as isize,
    And = libc::BPF_AND as isize,
    Xor = libc::BPF_XOR as isize,
    ShiftRight = libc::BPF_RSH as isize,
}

/// What the accumulator is tested for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    Equal = libc::BPF_JEQ as isize,
    AtLeast = libc::BPF_JGE as isize,
    AnyBit = libc::BPF_JSET as isize,
}

/// A place to jump to, further down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// Where a branch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Next,
    To(Label),
}

#[derive(Clone, Copy, Debug)]
enum Line {
    Plain { code: u16, number: u32 },
    Jump(Label),
    Branch { code: u16, number: u32, yes: Target, no: Target },
}

/// Writes a program line by line, and finds out at the end how far its jumps go.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    lines: Vec<Line>,
    /// The line that each label stands before.
    labels: Vec<usize>,
}

impl Assembler {
    /// A label that [`Assembler::place`] must be called for later.
    pub fn label(&mut self) -> Label {
        self.labels.push(usize::MAX);
        Label(self.labels.len() - 1)
    }

    /// Puts `label` before the next line.
    pub fn place(&mut self, label: Label) {
        self.labels[label.0] = self.lines.len();
    }

    /// Accumulator := bytes at `offset`, in network order.
    pub fn load(&mut self, width: Width, offset: u32) {
        self.plain(libc::BPF_LD | libc::BPF_ABS | width as u32, offset);
    }

    /// Accumulator := bytes at `offset` plus the index register.
    pub fn load_indexed(&mut self, width: Width, offset: u32) {
        self.plain(libc::BPF_LD | libc::BPF_IND | width as u32, offset);
    }

    /// Index register := four times the low half of the byte at `offset`: an IPv4 header's length.
    pub fn index_header_length(&mut self, offset: u32) {
        self.plain(libc::BPF_LDX | libc::BPF_MSH | libc::BPF_B, offset);
    }

    /// Index register := accumulator.
    pub fn index_accumulator(&mut self) {
        self.plain(libc::BPF_MISC | libc::BPF_TAX, 0);
    }

    /// Accumulator := accumulator `operation` `number`.
    pub fn apply(&mut self, operation: Operation, number: u32) {
        self.plain(libc::BPF_ALU | libc::BPF_K | operation as u32, number);
    }

    /// Accumulator := accumulator `operation` index register.
    pub fn apply_index(&mut self, operation: Operation) {
        self.plain(libc::BPF_ALU | libc::BPF_X | operation as u32, 0);
    }

    pub fn branch(&mut self, test: Test, number: u32, yes: Target, no: Target) {
        let code = (libc::BPF_JMP | libc::BPF_K | test as u32) as u16;
        self.lines.push(Line::Branch { code, number, yes, no });
    }

    pub fn jump(&mut self, label: Label) {
        self.lines.push(Line::Jump(label));
    }

    pub fn return_number(&mut self, number: u32) {
        self.lines.push(Line::Plain { code: RETURN_NUMBER, number });
    }

    pub fn return_whole_frame(&mut self) {
        self.return_number(WHOLE_FRAME);
    }

    pub fn return_accumulator(&mut self) {
        self.lines.push(Line::Plain { code: RETURN_ACCUMULATOR, number: 0 });
    }

    /// The finished program. A branch that goes too far for its one byte becomes a short branch over two
    /// unconditional jumps; that makes others longer, until nothing changes any more.
    pub fn finish(self) -> Result<Program, ProgramTooLong> {
        let mut far = vec![false; self.lines.len()];
        let starts = loop {
            let starts = self.starts(&far);
            let mut grown = false;
            for (line, is_far) in far.iter_mut().enumerate() {
                if let Line::Branch { yes, no, .. } = self.lines[line]
                    && !*is_far
                    && [yes, no].into_iter().any(|to| self.distance(to, starts[line] + 1, &starts) > u8::MAX.into())
                {
                    *is_far = true;
                    grown = true;
                }
            }
            if !grown {
                break starts;
            }
        };
        let length = starts[self.lines.len()];
        if length > LIMIT {
            return Err(ProgramTooLong(length));
        }
        let mut program = Vec::with_capacity(length);
        for (line, is_far) in self.lines.iter().zip(far) {
            let after = program.len() + 1;
            match *line {
                Line::Plain { code, number } => program.push(instruction(code, number)),
                Line::Jump(label) => {
                    program.push(instruction(JUMP, self.distance(Target::To(label), after, &starts) as u32));
                }
                Line::Branch { code, number, yes, no } if is_far => {
                    program.push(libc::sock_filter { code, jt: 0, jf: 1, k: number });
                    // Past both jumps lies the next line.
                    let next = after + 2;
                    for (to, after) in [(yes, after + 1), (no, after + 2)] {
                        let distance = match to {
                            Target::Next => next - after,
                            Target::To(_) => self.distance(to, after, &starts),
                        };
                        program.push(instruction(JUMP, distance as u32));
                    }
                }
                Line::Branch { code, number, yes, no } => {
                    // Both fit a byte, or the branch would be a far one.
                    let [jt, jf] = [yes, no].map(|to| self.distance(to, after, &starts) as u8);
                    program.push(libc::sock_filter { code, jt, jf, k: number });
                }
            }
        }
        Ok(Program(program))
    }

    fn plain(&mut self, code: u32, number: u32) {
        self.lines.push(Line::Plain { code: code as u16, number });
    }

    /// At which instruction each line starts, and where the program ends.
    fn starts(&self, far: &[bool]) -> Vec<usize> {
        let mut starts = Vec::with_capacity(far.len() + 1);
        let mut at = 0;
        for &is_far in far {
            starts.push(at);
            at += if is_far { 3 } else { 1 };
        }
        starts.push(at);
        starts
    }

    /// Instructions to skip for a jump after which instruction `after` follows.
    fn distance(&self, to: Target, after: usize, starts: &[usize]) -> usize {
        let Target::To(label) = to else { return 0 };
        let line = self.labels[label.0];
        debug_assert!(line < starts.len() && starts[line] >= after, "a jump backward or to a label never placed");
        starts.get(line).map_or(0, |start| start.saturating_sub(after))
    }
}

const fn instruction(code: u16, number: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k: number }
}

#[cfg(test)]
mod tests {
    use super::super::interpreter::{Packet, run};
    use super::*;

    #[test]
    fn branches_reach_however_far() {
        for filler in [0, 1, 254, 255, 256, 3000] {
            let mut assembler = Assembler::default();
            let (yes, no) = (assembler.label(), assembler.label());
            assembler.load(Width::Byte, 0);
            assembler.branch(Test::Equal, 7, Target::To(yes), Target::Next);
            assembler.branch(Test::AtLeast, 100, Target::Next, Target::To(no));
            assembler.return_number(3);
            assembler.place(no);
            for _ in 0..filler {
                assembler.index_accumulator();
            }
            assembler.return_number(2);
            assembler.place(yes);
            assembler.return_number(1);
            let program = assembler.finish().unwrap();
            let outcome = |byte| run(&program, &Packet { data: &[byte], ..Packet::default() });
            assert_eq!([outcome(7), outcome(8), outcome(200)], [1, 2, 3], "{filler} lines between");
        }
    }

    #[test]
    fn a_program_beyond_the_limit_says_how_long_it_is() {
        let mut assembler = Assembler::default();
        for _ in 0..LIMIT {
            assembler.index_accumulator();
        }
        assembler.return_accumulator();
        assert_eq!(assembler.finish().err(), Some(ProgramTooLong(4097)));
    }
}
