//! Splits a command line into options, by the rules of the popt library that ipvsadm uses.
//!
//! - Short options cluster (`-Lnt 10.0.0.1:80`) and take their value glued (`-p5`), after `=`
//!   (`-p=5`), or from the next word; long ones from `--name=value` or the next word.
//! - A long name is never abbreviated. A required value may start with `-`; an optional one is
//!   taken from the next word only where that does not start with `-`.
//! - Words that are no options may stand anywhere and are kept for later; so are a lone `-` and
//!   all words after `--`.

use super::options::{Argument, Entry, TABLE};

/// An option as found on the command line.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    pub entry: &'static Entry,
    pub value: Option<&'a str>,
    /// The word it was found in, or the one its value was taken from.
    pub word: &'a str,
}

/// A word that is no option, or not used as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// the option needs a value and there is none
    #[error("{word}: missing argument")]
    MissingArgument { word: String },
    /// no option is called like this
    #[error("{word}: unknown option")]
    Unknown { word: String },
    /// a value was given to an option that has none
    #[error("{word}: option does not take an argument")]
    UnwantedArgument { word: String },
}

/// Reads the options of a command line one after the other.
#[derive(Debug)]
pub struct Reader<'a> {
    words: &'a [String],
    next: usize,
    /// What is left of a cluster of short options.
    cluster: Option<&'a str>,
    /// After `--`.
    only_leftovers: bool,
    leftovers: Vec<&'a str>,
}

impl<'a> Reader<'a> {
    /// A reader of the words after the program's name.
    pub fn new(words: &'a [String]) -> Reader<'a> {
        Reader { words, next: 0, cluster: None, only_leftovers: false, leftovers: Vec::new() }
    }

    /// The words seen so far that are no options.
    pub fn leftovers(&self) -> &[&'a str] {
        &self.leftovers
    }

    /// The next option, or `None` at the end of the line.
    pub fn next_option(&mut self) -> Option<Result<Found<'a>, OptionError>> {
        if let Some(cluster) = self.cluster.take() {
            return Some(self.short(cluster));
        }
        while let Some(word) = self.words.get(self.next) {
            self.next += 1;
            if self.only_leftovers || !word.starts_with('-') || word == "-" {
                self.leftovers.push(word);
            } else if word == "--" {
                self.only_leftovers = true;
            } else if let Some(long) = word.strip_prefix("--") {
                return Some(self.long(long));
            } else {
                return Some(self.short(&word[1..]));
            }
        }
        None
    }

    fn long(&mut self, text: &'a str) -> Result<Found<'a>, OptionError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let entry = TABLE.iter().find(|entry| entry.long == name).ok_or_else(|| self.unknown())?;
        if value.is_some() && entry.argument == Argument::None {
            return Err(OptionError::UnwantedArgument { word: self.word().to_owned() });
        }
        self.found(entry, value)
    }

    /// Takes the first letter of `cluster`; the rest is its value or further letters.
    fn short(&mut self, cluster: &'a str) -> Result<Found<'a>, OptionError> {
        let mut letters = cluster.chars();
        let letter = letters.next().ok_or_else(|| self.unknown())?;
        let entry = TABLE.iter().find(|entry| entry.short.contains(letter)).ok_or_else(|| self.unknown())?;
        let rest = letters.as_str();
        let value = match (entry.argument, rest.strip_prefix('=')) {
            (Argument::None, None) => {
                self.cluster = Some(rest).filter(|rest| !rest.is_empty());
                None
            }
            (Argument::None, Some(_)) => {
                return Err(OptionError::UnwantedArgument { word: self.word().to_owned() });
            }
            (_, Some(value)) => Some(value),
            (_, None) => Some(rest).filter(|rest| !rest.is_empty()),
        };
        self.found(entry, value)
    }

    fn found(&mut self, entry: &'static Entry, value: Option<&'a str>) -> Result<Found<'a>, OptionError> {
        let value = match (entry.argument, value) {
            (Argument::None, _) => None,
            (_, Some(value)) => Some(value),
            (Argument::Required(_), None) => match self.words.get(self.next) {
                Some(word) => {
                    self.next += 1;
                    Some(word.as_str())
                }
                None => return Err(OptionError::MissingArgument { word: self.word().to_owned() }),
            },
            (Argument::Optional(_), None) => {
                let next = self.words.get(self.next).filter(|word| !word.starts_with('-'));
                self.next += usize::from(next.is_some());
                next.map(String::as_str)
            }
        };
        Ok(Found { entry, value, word: self.word() })
    }

    /// The word read last.
    fn word(&self) -> &'a str {
        self.next.checked_sub(1).and_then(|last| self.words.get(last)).map_or("", String::as_str)
    }

    fn unknown(&self) -> OptionError {
        OptionError::Unknown { word: self.word().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &[&str]) -> Vec<String> {
        line.iter().map(|word| (*word).to_owned()).collect()
    }

    /// The options as `long=value`, an error as its message, then the leftovers.
    fn read(line: &[&str]) -> Vec<String> {
        let words = words(line);
        let mut reader = Reader::new(&words);
        let mut seen = Vec::new();
        while let Some(option) = reader.next_option() {
            match option {
                Ok(Found { entry, value: Some(value), .. }) => seen.push(format!("{}={value}", entry.long)),
                Ok(Found { entry, value: None, .. }) => seen.push(entry.long.to_owned()),
                Err(error) => {
                    seen.push(error.to_string());
                    break;
                }
            }
        }
        seen.extend(reader.leftovers().iter().map(|word| format!("<{word}>")));
        seen
    }

    #[test]
    fn options_are_found_in_every_spelling() {
        let rows: &[(&[&str], &[&str])] = &[
            (&["-Lnt", "10.0.0.1:80"], &["list", "numeric", "tcp-service=10.0.0.1:80"]),
            (&["-Lnt10.0.0.1:80"], &["list", "numeric", "tcp-service=10.0.0.1:80"]),
            (&["-lt=a", "-s=rr", "-p5"], &["list", "tcp-service=a", "scheduler=rr", "persistent=5"]),
            (&["-At==a"], &["add-service", "tcp-service==a"]),
            (&["-At="], &["add-service", "tcp-service="]),
            (&["--tcp-service==a"], &["tcp-service==a"]),
            (&["--weight", "-1"], &["weight=-1"]),
            (&["-s", "-p"], &["scheduler=-p"]),
            (&["-p", "-o"], &["persistent", "ops"]),
            (&["-p", "wlc"], &["persistent=wlc"]),
            (&["-p"], &["persistent"]),
            (&["-p="], &["persistent="]),
            (&["--persistent="], &["persistent="]),
            (&["a", "-L", "b", "--", "-n", "--"], &["list", "<a>", "<b>", "<-n>", "<-->"]),
            (&["", "-L"], &["list", "<>"]),
            (&["-Lt"], &["list", "-Lt: missing argument"]),
            (&["-t"], &["-t: missing argument"]),
            (&["--weight"], &["--weight: missing argument"]),
            (&["-", "-L", "-"], &["list", "<->", "<->"]),
            (&["-L="], &["-L=: option does not take an argument"]),
            (&["-Ln=1"], &["list", "-Ln=1: option does not take an argument"]),
            (&["-LQ"], &["list", "-LQ: unknown option"]),
            (&["--lis"], &["--lis: unknown option"]),
            (&["--lis=1"], &["--lis=1: unknown option"]),
            (&["--numeric=1"], &["--numeric=1: option does not take an argument"]),
        ];
        for (line, expected) in rows {
            assert_eq!(&read(line), expected, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_ends_and_keeps_every_word(line in prop::collection::vec("[-=A-Za-z0-9é ]{0,6}", 0..8)) {
            let words: Vec<String> = line;
            let mut reader = Reader::new(&words);
            let letters: usize = words.iter().map(|word| word.chars().count() + 1).sum();
            let mut found = 0;
            while let Some(Ok(_)) = reader.next_option() {
                found += 1;
                prop_assert!(found <= letters);
            }
        }
    }
}
