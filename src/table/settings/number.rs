//! Numbers as the kernel reads them from the files under `/proc/sys`.
//!
//! Words between white space. A word is `-` or nothing, then digits: decimal, octal behind a 0,
//! hexadecimal behind 0x. What follows it must be white space; what comes after the words that
//! are wanted is not looked at.

use crate::table::Errno;

/// Characters of the longest word.
const LONGEST: usize = 20;

/// A number in its parts, as large as the kernel reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    pub negative: bool,
    pub amount: u64,
}

impl Number {
    /// # Errors
    /// EINVAL outside the range of 32 bits.
    pub fn int(self) -> Result<i32, Errno> {
        let amount = i128::from(self.amount);
        i32::try_from(if self.negative { -amount } else { amount }).map_err(|_| Errno::EINVAL)
    }
}

/// Takes the next word off the front of `text`; `None` where only white space is left.
///
/// # Errors
/// EINVAL for what is no number.
pub fn next(text: &mut &str) -> Result<Option<Number>, Errno> {
    // Of the characters the kernel skips, all of ASCII; the sixth is the vertical tab.
    let rest = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    if rest.is_empty() {
        *text = rest;
        return Ok(None);
    }
    let end = rest.find([' ', '\t', '\n']).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    let (base, figures) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(figures) => (16, figures),
        None if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        None => (10, digits),
    };
    // The standard library would take a sign here.
    if word.len() > LONGEST || !figures.bytes().all(|figure| figure.is_ascii_hexdigit()) {
        return Err(Errno::EINVAL);
    }
    let amount = u64::from_str_radix(figures, base).map_err(|_| Errno::EINVAL)?;
    *text = after;
    Ok(Some(Number { negative, amount }))
}
