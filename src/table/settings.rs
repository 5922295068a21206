//! The `net.ipv4.vs.*` settings and the three timeouts of `ipvsadm --set`.

mod number;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Errno;
use number::Number;

/// Timeouts that `ipvsadm --set` changes, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// TCP ESTABLISHED.
    pub tcp: u32,
    /// TCP FIN_WAIT.
    pub tcp_fin: u32,
    pub udp: u32,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts { tcp: 900, tcp_fin: 120, udp: 300 }
    }
}

impl Timeouts {
    /// Largest timeout the kernel takes: its clock counts 250 ticks a second in a signed 32-bit number.
    pub const MAXIMUM: u32 = i32::MAX as u32 / 250;

    /// Takes over every value of `new` that is not 0.
    ///
    /// # Errors
    /// EINVAL when one is beyond [`Timeouts::MAXIMUM`]; then nothing changes.
    pub fn update(&mut self, new: Timeouts) -> Result<(), Errno> {
        if [new.tcp, new.tcp_fin, new.udp].iter().any(|&value| value > Timeouts::MAXIMUM) {
            return Err(Errno::EINVAL);
        }
        for (value, new) in [(&mut self.tcp, new.tcp), (&mut self.tcp_fin, new.tcp_fin), (&mut self.udp, new.udp)] {
            if new != 0 {
                *value = new;
            }
        }
        Ok(())
    }
}

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $default:expr, $range:expr;)*) => {
        /// Every setting of `net.ipv4.vs`, by the kernel's names, with its defaults.
        ///
        /// Those of Linux 6.1: what later kernels added (`est_cpulist`, `est_nice`, load factors)
        /// tunes threads and tables that there are none of here.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Settings {
            $($(#[$doc])* pub $name: i32,)*
            /// How many messages may wait to be sent. (The kernel begins with a thirty-second of
            /// its free pages.)
            pub sync_qlen_max: u64,
            /// Two numbers: after how many packets a connection is first synchronised, and how often again.
            pub sync_threshold: (i32, i32),
        }

        impl Default for Settings {
            fn default() -> Settings {
                Settings { $($name: $default,)* sync_qlen_max: 16384, sync_threshold: (3, 50) }
            }
        }

        impl Settings {
            /// The settings' names.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)* "sync_qlen_max", "sync_threshold"];

            /// The value of a setting as the kernel's file shows it.
            pub fn show(&self, name: &str) -> Option<String> {
                match name {
                    $(stringify!($name) => Some(self.$name.to_string()),)*
                    "sync_qlen_max" => Some(self.sync_qlen_max.to_string()),
                    "sync_threshold" => Some(format!("{}\t{}", self.sync_threshold.0, self.sync_threshold.1)),
                    _ => None,
                }
            }

            /// What a setting takes, in words.
            pub fn takes(name: &str) -> Option<String> {
                match name {
                    $(stringify!($name) => Some($range.to_string()),)*
                    "sync_qlen_max" => Some(format!("a number from 0 to {}", u64::MAX)),
                    "sync_threshold" => {
                        Some("two numbers, not negative, the first below the second unless that is 0".to_owned())
                    }
                    _ => None,
                }
            }

            /// Sets `name` from the text an operator wrote, as if it were written to the kernel's
            /// file: nothing at all changes nothing.
            ///
            /// # Errors
            /// ENOENT for a name that does not exist, EINVAL for a value outside its range; then
            /// it stays as it was.
            pub fn set(&mut self, name: &str, mut text: &str) -> Result<(), Errno> {
                if !Settings::NAMES.contains(&name) {
                    return Err(Errno::ENOENT);
                }
                if text.is_empty() {
                    return Ok(());
                }
                let first = number::next(&mut text)?.ok_or(Errno::EINVAL)?;
                match name {
                    $(stringify!($name) => {
                        let (value, range): (i32, Range) = (first.int()?, $range);
                        if !range.takes(value) {
                            return Err(Errno::EINVAL);
                        }
                        self.$name = value;
                    })*
                    "sync_qlen_max" if first.negative => return Err(Errno::EINVAL),
                    "sync_qlen_max" => self.sync_qlen_max = first.amount,
                    _ => {
                        // One number alone leaves the second as it is.
                        let first = first.int()?;
                        let second = number::next(&mut text)?.map_or(Ok(self.sync_threshold.1), Number::int)?;
                        if first < 0 || second < 0 || (second != 0 && first >= second) {
                            return Err(Errno::EINVAL);
                        }
                        self.sync_threshold = (first, second);
                    }
                }
                Ok(())
            }
        }
    };
}

/// Which values a setting takes.
enum Range {
    Any,
    Between(i32, i32),
    /// A mode of a defence.
    Mode,
    PowerOfTwo,
    /// Kept by the kernel in ticks.
    Seconds,
}

impl Range {
    const MOST_SECONDS: i32 = i32::MAX / 250;

    fn takes(&self, value: i32) -> bool {
        match *self {
            Range::Any => true,
            Range::Between(low, high) => (low..=high).contains(&value),
            Range::Mode => (0..=3).contains(&value),
            Range::PowerOfTwo => value > 0 && value & (value - 1) == 0,
            Range::Seconds => (-Range::MOST_SECONDS..=Range::MOST_SECONDS).contains(&value),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Range::Any => write!(out, "a number from {} to {}", i32::MIN, i32::MAX),
            Range::Between(low, high) => write!(out, "a number from {low} to {high}"),
            Range::Mode => write!(out, "0 (off), 1 or 2 (while memory is short), or 3 (always)"),
            Range::PowerOfTwo => write!(out, "a power of two from 1 to {}", 1 << 30),
            Range::Seconds => write!(out, "seconds, from -{0} to {0}", Range::MOST_SECONDS),
        }
    }
}

settings! {
    /// Rate of `drop_packet` = 3: one of so many attempts is dropped.
    am_droprate: 10, Range::Any;
    /// Free memory, in pages of 32 connections, below which the automatic defences start.
    amemthresh: 1024, Range::Any;
    /// The synchronisation backup leaves packets alone while this is set.
    backup_only: 0, Range::Any;
    /// Send packets of a service without servers to where they were going.
    cache_bypass: 0, Range::Any;
    /// 0: never reschedule a reused connection; 1: from TIME_WAIT and CLOSE; 2: from FIN_WAIT too.
    conn_reuse_mode: 1, Range::Any;
    conntrack: 0, Range::Any;
    /// Which entries are dropped at random, to make room: none, or when.
    drop_entry: 0, Range::Mode;
    /// Whether one of so many scheduling attempts is dropped.
    drop_packet: 0, Range::Mode;
    /// Connections of deleted (or weight-0, for a new SYN) destinations expire instead of waiting.
    expire_nodest_conn: 0, Range::Any;
    /// Templates of destinations at weight 0 are no longer used.
    expire_quiescent_template: 0, Range::Any;
    ignore_tunneled: 0, Range::Any;
    lblc_expiration: 86400, Range::Seconds;
    lblcr_expiration: 86400, Range::Seconds;
    /// Answer packets of real servers that belong to no connection with port unreachable.
    nat_icmp_send: 0, Range::Any;
    /// Tunnels: copy DF and enforce the MTU (1), or fragment (0).
    pmtu_disc: 1, Range::Any;
    /// Whether the counters and rates shown are kept up to date.
    run_estimation: 1, Range::Any;
    schedule_icmp: 0, Range::Any;
    /// Whether only a real server's answer makes a TCP connection established.
    secure_tcp: 0, Range::Mode;
    sloppy_sctp: 0, Range::Any;
    sloppy_tcp: 0, Range::Any;
    snat_reroute: 1, Range::Any;
    sync_persist_mode: 0, Range::Any;
    sync_ports: 1, Range::PowerOfTwo;
    sync_refresh_period: 0, Range::Seconds;
    sync_retries: 0, Range::Between(0, 3);
    sync_sock_size: 0, Range::Any;
    sync_version: 1, Range::Between(0, 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_keep_their_ranges() {
        let mut settings = Settings::default();
        assert_eq!(settings.set("drop_entry", "4"), Err(Errno::EINVAL));
        assert_eq!(settings.set("drop_entry", "3\n"), Ok(()));
        assert_eq!(settings.set("sync_ports", "3"), Err(Errno::EINVAL));
        assert_eq!(settings.set("sync_ports", "8"), Ok(()));
        assert_eq!(settings.set("nosuch", "1"), Err(Errno::ENOENT));
        assert_eq!(settings.set("sloppy_tcp", "x"), Err(Errno::EINVAL));
        assert_eq!(settings.show("drop_entry").as_deref(), Some("3"));
        assert_eq!(Settings::takes("sync_version").as_deref(), Some("a number from 0 to 1"));
        assert!(Settings::NAMES.iter().all(|name| Settings::takes(name).is_some() && settings.show(name).is_some()));
    }

    #[test]
    fn sync_threshold_is_two_numbers_in_order() {
        let mut settings = Settings::default();
        assert_eq!(settings.show("sync_threshold").as_deref(), Some("3\t50"));
        assert_eq!(settings.set("sync_threshold", "5 5"), Err(Errno::EINVAL));
        assert_eq!(settings.set("sync_threshold", "5 0"), Ok(()));
        assert_eq!(settings.set("sync_threshold", "1"), Ok(()));
        assert_eq!(settings.set("sync_threshold", "9 x"), Err(Errno::EINVAL));
        assert_eq!(settings.sync_threshold, (1, 0));
    }

    proptest::proptest! {
        /// Whatever is written, it is taken or refused; what is refused changes nothing, and what
        /// is taken is taken again as it is read.
        #[test]
        fn any_text_is_taken_or_changes_nothing(which in 0..Settings::NAMES.len(), text in "[-0-9a-fxX \\t\\n\\x0b²]{0,24}|\\PC*") {
            let (name, mut settings) = (Settings::NAMES[which], Settings::default());
            match settings.set(name, &text) {
                Ok(()) => {
                    let shown = settings.show(name).unwrap();
                    let mut again = Settings::default();
                    proptest::prop_assert_eq!(again.set(name, &shown), Ok(()));
                    proptest::prop_assert_eq!(again, settings);
                }
                Err(errno) => {
                    proptest::prop_assert_eq!(errno, Errno::EINVAL);
                    proptest::prop_assert_eq!(settings, Settings::default());
                }
            }
        }
    }

    #[test]
    fn a_zero_timeout_keeps_the_old_one() {
        let mut timeouts = Timeouts::default();
        assert_eq!(timeouts.update(Timeouts { tcp: 60, tcp_fin: 0, udp: 3 }), Ok(()));
        assert_eq!(timeouts, Timeouts { tcp: 60, tcp_fin: 120, udp: 3 });
        assert_eq!(timeouts.update(Timeouts { tcp: u32::MAX, tcp_fin: 0, udp: 0 }), Err(Errno::EINVAL));
    }
}
