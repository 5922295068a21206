//! `ulvs sysctl`: the `net.ipv4.vs` settings, with the options of sysctl(8) that scripts use.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use crate::control::message::{Access, Reply, Request};
use crate::table::{Errno, Settings};

use super::ask::{connect, refused};
use super::complain;

/// What the names start with, as sysctl(8) prints them.
const PREFIX: &str = "net.ipv4.vs.";
/// The ways to write that.
const PREFIXES: [&str; 3] = [PREFIX, "net/ipv4/vs/", "/proc/sys/net/ipv4/vs/"];

#[derive(Args, Debug, Default)]
pub struct Options {
    /// Show all settings
    #[arg(short, long, visible_short_alias = 'A')]
    all: bool,
    /// Print values alone
    #[arg(short = 'n', long, conflicts_with = "names")]
    values: bool,
    /// Print names alone
    #[arg(short = 'N', long)]
    names: bool,
    /// Pass over unknown names in silence
    #[arg(short = 'e', long)]
    ignore: bool,
    /// Do not print what was set
    #[arg(short, long)]
    quiet: bool,
    /// Only set: every word must be NAME=VALUE
    #[arg(short, long)]
    write: bool,
    /// Settings to show, or to set with =VALUE; `net.ipv4.vs.` in front may be left out
    #[arg(value_name = "NAME[=VALUE]", required_unless_present = "all")]
    settings: Vec<String>,
}

/// Does what the words say, one after the other. One that is refused does not keep the others
/// from being done; the exit status tells.
pub fn command(options: &Options) -> ExitCode {
    let outcome =
        connect().and_then(|mut client| run(options, &mut client, &mut io::stdout().lock(), &mut io::stderr().lock()));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

/// Returns whether everything was done.
fn run(options: &Options, access: &mut dyn Access, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<bool> {
    let mut well = true;
    if options.all {
        match access.ask(Request::Settings { name: None })? {
            Ok(Reply::Settings(mut settings)) => {
                settings.sort_unstable();
                settings.iter().try_for_each(|(name, value)| print(options, name, value, out))?;
            }
            Ok(_) => {}
            Err(errno) => return Err(refused(errno)),
        }
    }
    for word in &options.settings {
        match one(options, word, access) {
            Ok(Some((name, value))) => print(options, &name, &value, out)?,
            Ok(None) => {}
            Err(Trouble::Broken(error)) => return Err(error),
            Err(Trouble::Word(what)) => {
                well = false;
                // Whether anybody reads it or not, the others are done.
                let _ = writeln!(errors, "ulvs: {what}");
            }
        }
    }
    Ok(well)
}

/// Why a word is not done.
enum Trouble {
    /// What, where, and what to do about it.
    Word(String),
    /// The way to the director broke, or is not for this user.
    Broken(io::Error),
}

/// Shows or sets one; returns what is to be printed.
fn one(options: &Options, word: &str, access: &mut dyn Access) -> Result<Option<(String, String)>, Trouble> {
    let (written, value) = match word.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (word.trim(), None),
    };
    let name = PREFIXES.iter().find_map(|prefix| written.strip_prefix(prefix)).unwrap_or(written);
    let Some(takes) = Settings::takes(name) else {
        if options.ignore {
            return Ok(None);
        }
        return Err(Trouble::Word(unknown(written, name)));
    };
    let mut ask = |request| access.ask(request).map_err(Trouble::Broken);
    match value {
        None if options.write => {
            return Err(Trouble::Word(format!("{PREFIX}{name}: with -w a value must follow: {name}=VALUE")));
        }
        None => {}
        Some("") => {
            return Err(Trouble::Word(format!("{PREFIX}{name}: no value behind the `='; it takes {takes}")));
        }
        Some(value) => {
            let request = Request::SetSetting { name: name.to_owned(), value: value.to_owned() };
            if let Err(errno) = ask(request)? {
                return Err(match errno {
                    Errno::EINVAL => Trouble::Word(format!("{PREFIX}{name}: `{value}' is not taken; it takes {takes}")),
                    errno => trouble(name, errno),
                });
            }
            if options.quiet {
                return Ok(None);
            }
        }
    }
    match ask(Request::Settings { name: Some(name.to_owned()) })? {
        Ok(Reply::Settings(settings)) => Ok(settings.into_iter().next()),
        Ok(_) => Ok(None),
        Err(errno) => Err(trouble(name, errno)),
    }
}

fn unknown(written: &str, name: &str) -> String {
    let elsewhere = name.starts_with("net.") || name.contains('/') || name.contains('.');
    match elsewhere {
        true => format!("{written}: not a setting of ip_vs; sysctl(8) knows the others"),
        false => format!("{PREFIX}{name}: no such setting; `ulvs sysctl -a' shows those that there are"),
    }
}

/// Why one that was asked for is refused. Who may not command will be refused all the others too.
fn trouble(name: &str, errno: Errno) -> Trouble {
    match errno {
        Errno::EPERM => Trouble::Broken(refused(errno)),
        errno => Trouble::Word(format!("{PREFIX}{name}: {errno}")),
    }
}

fn print(options: &Options, name: &str, value: &str, out: &mut dyn Write) -> io::Result<()> {
    if options.values {
        writeln!(out, "{value}")
    } else if options.names {
        writeln!(out, "{PREFIX}{name}")
    } else {
        writeln!(out, "{PREFIX}{name} = {value}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::message::Answer;

    /// Settings, and nothing else.
    struct Fake(Settings);

    impl Access for Fake {
        fn ask(&mut self, request: Request) -> io::Result<Answer> {
            Ok(match request {
                Request::SetSetting { name, value } => self.0.set(&name, &value).map(|()| Reply::Done),
                Request::Settings { name: Some(name) } => {
                    let value = self.0.show(&name).ok_or(Errno::ENOENT);
                    value.map(|value| Reply::Settings(vec![(name, value)]))
                }
                Request::Settings { name: None } => {
                    let all = Settings::NAMES.iter().map(|name| (name.to_string(), self.0.show(name).unwrap()));
                    Ok(Reply::Settings(all.collect()))
                }
                _ => Err(Errno::EPERM),
            })
        }
    }

    /// Whether all went well, what was printed, and the complaints.
    fn call(options: Options, words: &[&str]) -> (bool, String, String) {
        let options = Options { settings: words.iter().map(|word| (*word).to_owned()).collect(), ..options };
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let well = run(&options, &mut Fake(Settings::default()), &mut out, &mut errors).unwrap();
        (well, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
    }

    #[test]
    fn several_are_set_and_shown_by_any_of_their_names() {
        let words = ["sloppy_tcp=1", "net.ipv4.vs.sloppy_tcp", "net/ipv4/vs/sync_threshold = 5 60", "sync_threshold"];
        let (well, out, errors) = call(Options::default(), &words);
        assert_eq!((well, errors.as_str()), (true, ""));
        let expected = "net.ipv4.vs.sloppy_tcp = 1\nnet.ipv4.vs.sloppy_tcp = 1\n\
                        net.ipv4.vs.sync_threshold = 5\t60\nnet.ipv4.vs.sync_threshold = 5\t60\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn one_bad_word_does_not_keep_the_others_from_being_done() {
        let words = ["drop_entry=7", "nosuch", "drop_packet=3", "net.ipv4.ip_forward=1", "sync_ports="];
        let (well, out, errors) = call(Options::default(), &words);
        assert!(!well);
        assert_eq!(out, "net.ipv4.vs.drop_packet = 3\n");
        let expected = "\
ulvs: net.ipv4.vs.drop_entry: `7' is not taken; it takes 0 (off), 1 or 2 (while memory is short), or 3 (always)
ulvs: net.ipv4.vs.nosuch: no such setting; `ulvs sysctl -a' shows those that there are
ulvs: net.ipv4.ip_forward: not a setting of ip_vs; sysctl(8) knows the others
ulvs: net.ipv4.vs.sync_ports: no value behind the `='; it takes a power of two from 1 to 1073741824
";
        assert_eq!(errors, expected);
    }

    #[test]
    fn who_may_not_command_is_told_so_once() {
        struct Refusing;
        impl Access for Refusing {
            fn ask(&mut self, _request: Request) -> io::Result<Answer> {
                Ok(Err(Errno::EPERM))
            }
        }
        let settings = vec!["sloppy_tcp=1".to_owned(), "drop_packet=3".to_owned()];
        for all in [false, true] {
            let options = Options { settings: settings.clone(), all, ..Options::default() };
            let (mut out, mut errors) = (Vec::new(), Vec::new());
            let error = run(&options, &mut Refusing, &mut out, &mut errors).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(out.is_empty() && errors.is_empty());
        }
    }

    #[test]
    fn options_as_scripts_give_them() {
        let quiet = Options { quiet: true, write: true, ..Options::default() };
        assert_eq!(call(quiet, &["sloppy_tcp=1"]), (true, String::new(), String::new()));
        let write = Options { write: true, ..Options::default() };
        let (well, out, errors) = call(write, &["sloppy_tcp"]);
        assert!(!well && out.is_empty() && errors.contains("sloppy_tcp=VALUE"), "{errors}");
        let values = Options { values: true, ..Options::default() };
        assert_eq!(call(values, &["sloppy_tcp=0x10"]).1, "16\n");
        let ignore = Options { ignore: true, ..Options::default() };
        assert_eq!(call(ignore, &["nosuch", "debug_level=1"]), (true, String::new(), String::new()));
        let all = Options { all: true, names: true, ..Options::default() };
        let (well, out, _) = call(all, &[]);
        assert!(well && out.lines().is_sorted());
        assert_eq!(out.lines().count(), Settings::NAMES.len());
    }
}
