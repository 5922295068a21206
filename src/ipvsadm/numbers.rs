//! Numbers as ipvsadm reads and prints them.
//!
//! Numbers are read as C's `strtol` reads base 10: blanks and a sign may stand before, nothing
//! after. Counters are printed in nine columns; large ones in thousands and upwards, cut off
//! rather than rounded.

use std::fmt;
use std::ops::RangeInclusive;

/// A decimal number that is the whole of `text` and lies in `range`.
pub fn decimal(text: &str, range: RangeInclusive<i64>) -> Option<i64> {
    let (value, rest) = leading_number(text)?;
    (rest.is_empty() && range.contains(&value)).then_some(value)
}

/// The number `text` begins with, 0 where there is none (C's `atoi`); what follows is ignored.
pub fn leading_decimal(text: &str) -> i64 {
    leading_number(text).map_or(0, |(value, _)| i64::from(value as i32))
}

/// A number and what follows it. Where it does not fit, the nearest that does.
fn leading_number(text: &str) -> Option<(i64, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 {
        return None;
    }
    let sign = if negative { -1 } else { 1 };
    let value = digits[..end]
        .bytes()
        .fold(0i64, |value, digit| value.saturating_mul(10).saturating_add(sign * i64::from(digit - b'0')));
    Some((value, &digits[end..]))
}

/// Whether a listing shortens large numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Shortened,
    /// Every digit (`-X`).
    Exact,
}

/// A counter in its column: a blank and at least eight characters.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    pub value: u64,
    pub precision: Precision,
}

impl fmt::Display for Counter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const K: u64 = 1000;
        const M: u64 = 1000 * K;
        const G: u64 = 1000 * M;
        const T: u64 = 1000 * G;
        match (self.precision, self.value) {
            (Precision::Exact, value) => write!(out, " {value:>8}"),
            (_, value) if value < 100 * M => write!(out, "{value:>9}"),
            (_, value) if value < G => write!(out, "{:>8}K", value / K),
            (_, value) if value < 100 * G => write!(out, "{:>8}M", value / M),
            (_, value) if value < 100 * T => write!(out, "{:>8}G", value / G),
            (_, value) => write!(out, "{:>8}T", value / T),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_as_strtol_reads_them() {
        let rows: &[(&str, Option<i64>)] = &[
            ("80", Some(80)),
            ("080", Some(80)),
            ("+81", Some(81)),
            (" 82", Some(82)),
            ("\t\n 83", Some(83)),
            ("82 ", None),
            ("0x50", None),
            ("", None),
            (" ", None),
            ("+", None),
            ("-1", None),
            ("- 1", None),
            ("5x", None),
            ("é", None),
            ("65535", Some(65535)),
            ("65536", None),
            ("99999999999999999999999", None),
            ("-99999999999999999999999", None),
        ];
        for (text, expected) in rows {
            assert_eq!(decimal(text, 0..=65535), *expected, "{text:?}");
        }
    }

    #[test]
    fn trailing_junk_is_ignored_where_atoi_is_used() {
        assert_eq!(leading_decimal("64x"), 64);
        assert_eq!(leading_decimal(" +64"), 64);
        assert_eq!(leading_decimal("x"), 0);
        assert_eq!(leading_decimal("4294967297"), 1);
    }

    #[test]
    fn counters_are_cut_off_at_each_unit() {
        let rows: &[(u64, &str, &str)] = &[
            (0, "        0", "        0"),
            (99_999_999, " 99999999", " 99999999"),
            (100_000_000, "  100000K", " 100000000"),
            (999_999_999, "  999999K", " 999999999"),
            (1_000_000_000, "    1000M", " 1000000000"),
            (99_999_999_999, "   99999M", " 99999999999"),
            (100_000_000_000, "     100G", " 100000000000"),
            (99_999_999_999_999, "   99999G", " 99999999999999"),
            (100_000_000_000_000, "     100T", " 100000000000000"),
            (u64::MAX, "18446744T", " 18446744073709551615"),
        ];
        for (value, shortened, exact) in rows {
            assert_eq!(Counter { value: *value, precision: Precision::Shortened }.to_string(), *shortened);
            assert_eq!(Counter { value: *value, precision: Precision::Exact }.to_string(), *exact);
        }
    }
}
