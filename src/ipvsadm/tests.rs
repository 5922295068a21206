//! The program as a whole: against recordings of the original, and against what is said of it.

mod behaviour;
mod fake;
mod recorded;
mod round_trip;

use std::ffi::OsString;

use self::fake::{Fake, FakeNames};
use super::*;

/// What a run printed, and its exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    status: u8,
    output: String,
    errors: String,
}

impl Run {
    /// A run that said nothing.
    fn silent(status: u8) -> Run {
        Run { status, output: String::new(), errors: String::new() }
    }

    /// A run that only complained.
    fn failed(status: u8, message: &str) -> Run {
        Run { status, output: String::new(), errors: format!("{message}\n") }
    }

    /// A run that only printed.
    fn printed(output: &str) -> Run {
        Run { status: 0, output: output.to_owned(), errors: String::new() }
    }
}

fn run_program(
    program: Program,
    words: &[&str],
    input: &str,
    connect: &mut dyn FnMut() -> Result<Box<dyn Access>, ConnectError>,
) -> Run {
    let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut io = Io { input: &mut input.as_bytes(), output: &mut output, errors: &mut errors };
    let status = run(program, &arguments, &mut io, &mut FakeNames::new(), connect);
    Run { status, output: String::from_utf8(output).unwrap(), errors: String::from_utf8(errors).unwrap() }
}

impl Fake {
    /// Runs ipvsadm with these words after its name.
    fn words(&self, words: &[&str], input: &str) -> Run {
        let words: Vec<&str> = ["ipvsadm"].iter().chain(words).copied().collect();
        run_program(Program::Ipvsadm, &words, input, &mut || Ok(Box::new(self.clone())))
    }

    /// Runs ipvsadm with a line of words that need no quoting.
    fn line(&self, line: &str) -> Run {
        self.words(&line.split_whitespace().collect::<Vec<_>>(), "")
    }

    /// Runs lines that must succeed and print nothing.
    fn lines(&self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.line(line), Run::silent(0), "{line}");
        }
    }

    /// The numeric listing without its heading.
    fn table(&self) -> String {
        self.line("-Ln").output.lines().skip(3).map(|line| format!("{line}\n")).collect()
    }
}
