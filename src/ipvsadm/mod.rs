//! The drop-in `ipvsadm`: the commands, options, messages, listings and exit statuses of
//! version 1.31, byte for byte, in front of a director of ours instead of the kernel.
//!
//! ```text
//! arguments ─ grammar ─ command ──┬─ change ────────────── director
//!             (options, rules,    └─ listing, connections, save ── standard output
//!              address, numbers)
//! ```
//!
//! What a user of `ipvsadm(8)` should know, and the manual does not say:
//! - The director is contacted before the arguments are looked at; without one, even `-h` fails.
//! - `-p` alone means 360 seconds. Editing resets everything that is not given again.
//! - Except with NAT, a real server's port is replaced by the service's, without a word.
//! - `-Z` of service 0.0.0.0:0 zeroes everything.
//! - `-S` does not save thresholds.
//!
//! Where we differ from the original on purpose: output that cannot be written is an error,
//! words that are not UTF-8 are shown with replacement characters, persistence data longer than
//! the original's buffer does not break its row, and the list of scheduler flags `,` is refused.

mod address;
mod command;
mod connections;
mod director;
mod grammar;
mod help;
mod listing;
mod messages;
mod names;
mod numbers;
mod options;
mod order;
mod restore;
mod rules;
mod save;
mod session;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

pub use self::names::{Names, SystemNames};

use self::director::Director;
use self::messages::Operation;
use self::restore::Comments;
use self::session::Session;
use crate::control::message::Access;
use crate::table::Errno;

/// Exit statuses.
mod exit {
    pub const DONE: u8 = 0;
    /// A listing failed, or reading and writing did.
    pub const FAILED: u8 = 1;
    /// The command line is wrong, or there is no director.
    pub const WRONG: u8 = 2;
    /// What a shell reports for a program that the original would be: ended by SIGPIPE.
    pub const BROKEN_PIPE: u8 = 141;
    /// The director refused, or a word is no option.
    pub const REFUSED: u8 = 255;
}

/// The oldest version of IPVS that the original works with: 1.1.4.
const OLDEST_VERSION: u32 = 0x01_01_04;

/// The programs of the ipvsadm package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Ipvsadm,
    /// `ipvsadm-save`: `ipvsadm -S`, with `-n` if that is given.
    Save,
    /// `ipvsadm-restore`: `ipvsadm -C`, then `ipvsadm -R` without lines that begin with `#`.
    Restore,
}

impl Program {
    /// The program that is called by this path, if it is one of ours.
    pub fn called(path: &Path) -> Option<Program> {
        match path.file_name()?.to_str()? {
            "ipvsadm" => Some(Program::Ipvsadm),
            "ipvsadm-save" => Some(Program::Save),
            "ipvsadm-restore" => Some(Program::Restore),
            _ => None,
        }
    }
}

/// Why there is no way to a director.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// no director runs here; the hint says how to start one
    #[error("no director runs here: {hint}")]
    NoDirector { hint: String },
    /// the caller may not command the director, or (the hint says it) not start one
    #[error("permission denied")]
    NotPermitted { hint: Option<String> },
    /// the way to the director is broken
    #[error("{0}")]
    Broken(#[source] io::Error),
}

/// Where a program reads and writes.
pub struct Io<'a> {
    pub input: &'a mut dyn Read,
    pub output: &'a mut dyn Write,
    pub errors: &'a mut dyn Write,
}

/// Runs a program of the package and returns its exit status.
///
/// `arguments` begins with the name the program was called by, which messages repeat; `connect`
/// makes a way to the director (`ipvsadm-restore` needs two, one after the other).
pub fn run<'a>(
    program: Program,
    arguments: &[OsString],
    io: &mut Io<'_>,
    names: &mut dyn Names,
    connect: &mut dyn FnMut() -> Result<Box<dyn Access + 'a>, ConnectError>,
) -> u8 {
    let mut arguments = arguments.iter().map(|word| word.to_string_lossy().into_owned());
    let called_as = arguments.next().unwrap_or_default();
    let words: Vec<String> = arguments.collect();
    let mut ipvsadm =
        |called_as: &str, words: &[String], comments| run_ipvsadm(called_as, words, comments, io, names, connect);
    match program {
        Program::Ipvsadm => ipvsadm(&called_as, &words, Comments::Kept),
        Program::Save => match save_words(&words) {
            Some(words) => ipvsadm("ipvsadm", &words, Comments::Kept),
            None => {
                let _ = io.errors.write_all(SAVE_HELP.as_bytes());
                exit::FAILED
            }
        },
        Program::Restore => {
            ipvsadm("ipvsadm", &["-C".to_owned()], Comments::Kept);
            ipvsadm("ipvsadm", &["-R".to_owned()], Comments::Dropped)
        }
    }
}

const SAVE_HELP: &str = "ipvsadm-save: Script to save the IPVS table to stdout.\n   \
                         With the -n option, prints out the table in numeric format.\n";

/// What `ipvsadm-save` hands on of its words; `None` where one is an option it does not know.
fn save_words(words: &[String]) -> Option<Vec<String>> {
    if words.iter().any(|word| word.starts_with('-') && word != "-n") {
        return None;
    }
    let numeric = words.iter().any(|word| word == "-n");
    Some(["-S"].into_iter().chain(numeric.then_some("-n")).map(str::to_owned).collect())
}

fn run_ipvsadm<'a>(
    called_as: &str,
    words: &[String],
    comments: Comments,
    io: &mut Io<'_>,
    names: &mut dyn Names,
    connect: &mut dyn FnMut() -> Result<Box<dyn Access + 'a>, ConnectError>,
) -> u8 {
    let director = match start(connect) {
        Ok((director, version)) => {
            if version < OLDEST_VERSION {
                warn_of_version(version, io.errors);
            }
            director
        }
        Err((reason, hint)) => {
            let _ = writeln!(io.errors, "Can't initialize ipvs: {reason}");
            let _ = writeln!(io.errors, "Are you sure that IP Virtual Server is built in the kernel or as module?");
            if let Some(hint) = hint {
                let _ = writeln!(io.errors, "{hint}");
            }
            return exit::WRONG;
        }
    };
    let mut out = BufWriter::new(&mut *io.output);
    let session = Session { called_as, director, names, out: &mut out, errors: &mut *io.errors };
    session.run(words, io.input, comments)
}

/// Finds the director and its version; otherwise the reason, and a hint what to do.
fn start<'a>(
    connect: &mut dyn FnMut() -> Result<Box<dyn Access + 'a>, ConnectError>,
) -> Result<(Director<'a>, u32), (String, Option<String>)> {
    let refusal = |errno| messages::refusal(Operation::Other, errno).to_owned();
    let access = connect().map_err(|error| match error {
        ConnectError::NoDirector { hint } => (refusal(Errno::ENOPROTOOPT), Some(hint)),
        ConnectError::NotPermitted { hint } => (refusal(Errno::EPERM), hint),
        ConnectError::Broken(error) => (error.to_string(), None),
    })?;
    let mut director = Director::new(access);
    let info = director.info().map_err(|failure| (failure.to_string(), None))?;
    Ok((director, info.version))
}

fn warn_of_version(version: u32, errors: &mut dyn Write) {
    let _ = writeln!(
        errors,
        "Warning: IPVS version mismatch: \n  Kernel compiled with IPVS version {}\n  \
         ipvsadm v1.31  requires minimum IPVS version {}\n",
        listing::Version(version),
        listing::Version(OLDEST_VERSION)
    );
}
