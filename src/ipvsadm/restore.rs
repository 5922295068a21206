//! Splits the input of `-R` into command lines.
//!
//! Words are separated by blanks, tabs and carriage returns; there is no quoting and there are
//! no comments. The word `ipvsadm` is dropped wherever it stands, so that a list of whole
//! commands can be read, and lines without words are skipped. A last line that is not ended may
//! still end in one blank; with more than one it is lost, as the original loses it.

use std::io::{self, BufRead, BufReader, Read};

/// How much of the input is read at once: as long as it is there, thousands of lines.
const READ_AT_ONCE: usize = 1 << 20;
/// Longest word in bytes; a longer one is taken for several.
const LONGEST_WORD: usize = 4096;
/// The word that is dropped.
const PROGRAM: &[u8] = b"ipvsadm";

/// What is done with lines that begin with `#`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comments {
    /// Nothing: `#` is a word like any other.
    Kept,
    /// `ipvsadm-restore` drops them, and ends the last line.
    Dropped,
}

/// The command lines of an input, one after the other.
pub struct Lines<R> {
    input: BufReader<R>,
    comments: Comments,
    line: Vec<u8>,
}

impl<R: Read> Lines<R> {
    pub fn new(input: R, comments: Comments) -> Lines<R> {
        Lines { input: BufReader::with_capacity(READ_AT_ONCE, input), comments, line: Vec::new() }
    }

    /// Whether a whole line is there already: the next one need not be waited for.
    pub fn has_line(&self) -> bool {
        self.input.buffer().contains(&b'\n')
    }

    /// The words of the next line that has any; `None` at the end of the input.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<Vec<String>>> {
        loop {
            self.line.clear();
            if self.input.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            if self.comments == Comments::Dropped && self.line.starts_with(b"#") {
                continue;
            }
            if self.comments == Comments::Dropped && self.line.last() != Some(&b'\n') {
                self.line.push(b'\n');
            }
            let words = words(&self.line);
            if !words.is_empty() && !is_lost(&self.line) {
                return Ok(Some(words));
            }
        }
    }
}

/// Whether the original would not carry out this line.
fn is_lost(line: &[u8]) -> bool {
    matches!(line, [.., b' ' | b'\t' | b'\r', b' ' | b'\t' | b'\r'])
}

fn words(line: &[u8]) -> Vec<String> {
    line.split(|byte| b" \t\r\n".contains(byte))
        .flat_map(|word| word.chunks(LONGEST_WORD))
        // To the original, a NUL ends a word.
        .filter_map(|word| word.split(|&byte| byte == 0).next())
        .filter(|&word| word != PROGRAM)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], comments: Comments) -> Vec<Vec<String>> {
        let mut reader = Lines::new(input, comments);
        std::iter::from_fn(|| reader.next_line().unwrap()).collect()
    }

    #[test]
    fn words_are_what_stands_between_blanks() {
        let input = b"\n  \t\nipvsadm -A -t\t 1.1.1.1:1\r\n-a 'x y' # z\n-C";
        let expected: [&[&str]; 3] = [&["-A", "-t", "1.1.1.1:1"], &["-a", "'x", "y'", "#", "z"], &["-C"]];
        assert_eq!(lines(input, Comments::Kept), expected);
    }

    #[test]
    fn a_last_line_without_an_end_is_lost_where_it_ends_in_two_blanks() {
        for input in ["-C", "-C ", "-C\t", "-C  \n", "\n-C"] {
            assert_eq!(lines(input.as_bytes(), Comments::Kept), [["-C"]], "{input:?}");
        }
        for input in ["-C  ", "-C \t", "-C\r ", "-C \t "] {
            assert_eq!(lines(input.as_bytes(), Comments::Kept), [[""; 0]; 0], "{input:?}");
            assert_eq!(lines(input.as_bytes(), Comments::Dropped), [["-C"]], "{input:?}");
        }
    }

    #[test]
    fn the_wrapper_drops_lines_that_begin_with_a_hash() {
        let expected: [&[&str]; 2] = [&["#", "b"], &["-C", "#"]];
        assert_eq!(lines(b"# a\n # b\n#\n-C #\n", Comments::Dropped), expected);
    }

    #[test]
    fn odd_bytes_make_odd_words() {
        let mut long = vec![b'x'; LONGEST_WORD + 1];
        long.extend(b" a\0b \xff\n");
        let words = &lines(&long, Comments::Kept)[0];
        assert_eq!(words.iter().map(String::len).collect::<Vec<_>>(), [LONGEST_WORD, 1, 1, 3]);
        assert_eq!(words[2..], ["a", "\u{fffd}"]);
    }
}
