//! How long a scenario may wait, so that what follows is decided.
//!
//! A kernel's timer may ring later than it was set for, the later the longer it was set for: an
//! eighth of it at most. Until then the connection lives on, and a packet makes it young again. An
//! engine ends it in time. So a scenario never looks into that span: a pause ends before the first
//! of it or after the last.

use super::dice::Dice;
use super::world::Entry;

/// What a look at the connections and the frames around it may be off by, in milliseconds.
const SLACK: u64 = 700;

/// After how many milliseconds a timer has certainly rung that was set for so many seconds.
///
/// Linux sorts timers into eight levels of 64 slots each; each level is eight times as coarse as
/// the one before (`kernel/time/timer.c` describes it), and Debian counts 250 ticks a second.
fn lateness(seconds: u64) -> u64 {
    let ticks = seconds * 250;
    let mut coarse = 1;
    while ticks >= coarse * 63 {
        coarse *= 8;
    }
    coarse * 4
}

/// The longest that the timer of such an entry can have been set for.
fn longest(entry: &Entry) -> u64 {
    let usual = match entry.state.as_str() {
        "CLOSE" => 10,
        "LAST_ACK" => 30,
        "SYN_RECV" | "CLOSE_WAIT" => 60,
        "FIN_WAIT" | "TIME_WAIT" | "SYN_SENT" | "LISTEN" | "SYNACK" => 120,
        "INIT1" | "REJECTED" => 4,
        "ESTABLISHED" => 900,
        _ if entry.protocol == "SCTP" => 61,
        _ => 300,
    };
    usual.max(entry.left + 1)
}

/// Milliseconds from now in which something may or may not have ended.
struct Span {
    from: u64,
    to: u64,
    is_template: bool,
}

fn spans(entries: &[Entry]) -> Vec<Span> {
    let mut spans = Vec::new();
    let last = entries.iter().map(|entry| entry.left).max().unwrap_or(0);
    for entry in entries {
        let from = (entry.left * 1000).saturating_sub(SLACK);
        let to = (entry.left + 1) * 1000 + lateness(longest(entry)) + SLACK;
        spans.push(Span { from, to, is_template: entry.is_template });
        // A template whose connections are still there gets another minute, and so on.
        if entry.is_template {
            let mut late = lateness(longest(entry));
            for round in 1..=(last / 60 + 2) {
                late += lateness(60);
                let to = (entry.left + 1 + round * 60) * 1000 + late + SLACK;
                spans.push(Span { from: from + round * 60_000, to, is_template: true });
            }
        }
    }
    spans
}

/// Whether something may end any moment, or may have.
pub fn is_delicate(entries: &[Entry]) -> bool {
    spans(entries).iter().any(|span| span.from < 2 * SLACK)
}

/// A pause between two lengths, or of more, after which everything is decided again.
pub fn pause(dice: &mut Dice, entries: &[Entry], least: u64, most: u64) -> u64 {
    let spans = spans(entries);
    // A template that rings about when its last connection does may go, or get another minute. From
    // the first such pair on nothing is sure, until all that has long gone.
    let (templates, others): (Vec<&Span>, Vec<&Span>) = spans.iter().partition(|span| span.is_template);
    let meets = |template: &&&Span| others.iter().any(|other| template.from < other.to && other.from < template.to);
    let undecided = templates.iter().filter(meets).map(|template| template.from).min().unwrap_or(u64::MAX);
    let settled = spans.iter().map(|span| span.to).max().unwrap_or(0) + 70_000;
    let is_good = |length: u64| {
        spans.iter().all(|span| length + 2 * SLACK < span.from || length > span.to)
            && !(length > undecided && length < settled)
    };
    let mut most = most;
    for attempt in 0..200 {
        let length = dice.between(least, most);
        if is_good(length) {
            return length;
        }
        if attempt % 20 == 19 {
            most = most * 2 + 1000;
        }
    }
    settled.max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: &str, left: u64, is_template: bool) -> Entry {
        Entry { protocol: "TCP".into(), state: state.into(), left, is_template }
    }

    #[test]
    fn a_pause_never_ends_where_a_timer_may_ring() {
        let entries = [entry("CLOSE", 9, false), entry("ESTABLISHED", 890, false), entry("NONE", 30, true)];
        for seed in 0..500 {
            let length = pause(&mut Dice::new(seed), &entries, 1000, 60_000);
            assert!(!(9_000..10_260).contains(&length), "{length}");
            assert!(!(30_000..33_000).contains(&length), "{length}");
            assert!(!(90_000..95_000).contains(&length), "{length}");
            assert!(!(890_000..917_000).contains(&length), "{length}");
        }
    }

    #[test]
    fn the_later_the_longer() {
        assert!(lateness(10) <= 300 && lateness(120) > 2000 && lateness(900) > 16_000);
    }

    #[test]
    fn what_ends_soon_is_delicate() {
        assert!(is_delicate(&[entry("CLOSE", 1, false)]));
        assert!(!is_delicate(&[entry("CLOSE", 5, false)]));
    }
}
