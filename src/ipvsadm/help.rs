//! `-h`: what every command and option does, from the table of options.

use std::fmt::Write as _;

use super::messages::VERSION;
use super::options::{Argument, Entry, Section, TABLE};

/// The forms of a command line, in the order of the manual.
const FORMS: [&str; 13] = [
    "-A|E virtual-service [-s scheduler] [-p [timeout]] [-M netmask] [--pe engine] [-o] [-b flags]",
    "-D virtual-service",
    "-C",
    "-R",
    "-S [-n]",
    "-a|e virtual-service -r server-address [-g|i|m] [-w weight] [-x count] [-y count] [tunnel options]",
    "-d virtual-service -r server-address",
    "-L|l [virtual-service] [listing options]",
    "-Z [virtual-service]",
    "--set tcp tcpfin udp",
    "--start-daemon master|backup [daemon options]",
    "--stop-daemon master|backup",
    "-h",
];

/// Where explanations begin.
const INDENT: usize = 40;

/// The whole help for a program that was called as `called_as`.
pub fn text(called_as: &str) -> String {
    let mut text = format!("{VERSION}\nUsage:\n");
    for form in FORMS {
        let _ = writeln!(text, "  {called_as} {form}");
    }
    let sections = [
        (Section::Commands, "Commands:"),
        (Section::VirtualService, "virtual-service:"),
        (Section::Options, "Options:"),
        (Section::DaemonOptions, "Daemon Options:"),
    ];
    for (section, heading) in sections {
        let _ = writeln!(text, "\n{heading}");
        for entry in TABLE.iter().filter(|entry| entry.section == section) {
            let _ = writeln!(text, "  {:<width$}{}", spelling(entry), entry.help, width = INDENT - 2);
        }
    }
    text
}

/// All spellings of an option and its value: `-p, --persistent [timeout]`.
fn spelling(entry: &Entry) -> String {
    let mut text = String::new();
    for letter in entry.short.chars() {
        let _ = write!(text, "-{letter}, ");
    }
    let _ = write!(text, "--{}", entry.long);
    match entry.argument {
        Argument::None => {}
        Argument::Required(value) => text.extend([" ", value]),
        Argument::Optional(value) => text.extend([" [", value, "]"]),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_has_its_fixed_parts() {
        let text = text("/sbin/ipvsadm");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)");
        assert_eq!(lines[1], "Usage:");
        assert!(lines[2..15].iter().all(|line| line.starts_with("  /sbin/ipvsadm -")));
        let headings: Vec<&&str> = lines[2..].iter().filter(|line| line.ends_with(':')).collect();
        assert_eq!(headings, [&"Commands:", &"virtual-service:", &"Options:", &"Daemon Options:"]);
    }

    #[test]
    fn the_help_names_every_word_on_a_line_of_its_own() {
        let text = text("ipvsadm");
        for entry in TABLE {
            let start = format!("  {} ", spelling(entry));
            assert_eq!(text.lines().filter(|line| line.starts_with(&start)).count(), 1, "{start}");
            assert!(!entry.help.is_empty());
        }
        assert!(text.lines().skip(15).all(|line| line.len() <= 110), "{text}");
    }
}
