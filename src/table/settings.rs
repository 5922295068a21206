//! The `net.ipv4.vs.*` settings and the three timeouts of `ipvsadm --set`.

use serde::{Deserialize, Serialize};

use super::Errno;

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
        /// Every integer setting of `net.ipv4.vs`, by the kernel's names, with its defaults.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Settings {
            $($(#[$doc])* pub $name: i32,)*
            /// Two numbers: after how many packets a connection is first synchronised, and how often again.
            pub sync_threshold: (i32, i32),
        }

        impl Default for Settings {
            fn default() -> Settings {
                Settings { $($name: $default,)* sync_threshold: (3, 50) }
            }
        }

        impl Settings {
            /// The settings' names in alphabetical order of the kernel's directory.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)* "sync_threshold"];

            /// The value of a setting as the kernel's file shows it.
            pub fn show(&self, name: &str) -> Option<String> {
                match name {
                    $(stringify!($name) => Some(self.$name.to_string()),)*
                    "sync_threshold" => Some(format!("{}\t{}", self.sync_threshold.0, self.sync_threshold.1)),
                    _ => None,
                }
            }

            /// Sets `name` from the text an operator wrote.
            ///
            /// # Errors
            /// ENOENT for a name that does not exist, EINVAL for a value outside its range.
            pub fn set(&mut self, name: &str, text: &str) -> Result<(), Errno> {
                match name {
                    $(stringify!($name) => {
                        let value: i32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
                        let range: Range = $range;
                        if !range.takes(value) {
                            return Err(Errno::EINVAL);
                        }
                        self.$name = value;
                        Ok(())
                    })*
                    "sync_threshold" => {
                        let mut words = text.split_whitespace().map(str::parse::<i32>);
                        let (Some(Ok(first)), Some(Ok(period)), None) = (words.next(), words.next(), words.next()) else {
                            return Err(Errno::EINVAL);
                        };
                        if first < 0 || period < 0 || (period != 0 && first >= period) {
                            return Err(Errno::EINVAL);
                        }
                        self.sync_threshold = (first, period);
                        Ok(())
                    }
                    _ => Err(Errno::ENOENT),
                }
            }
        }
    };
}

/// Which values a setting takes.
enum Range {
    Any,
    Between(i32, i32),
    PowerOfTwo,
}

impl Range {
    fn takes(&self, value: i32) -> bool {
        match *self {
            Range::Any => true,
            Range::Between(low, high) => (low..=high).contains(&value),
            Range::PowerOfTwo => value > 0 && value & (value - 1) == 0,
        }
    }
}

settings! {
    /// Rate of `drop_packet` = 3: one of so many attempts is dropped.
    am_droprate: 10, Range::Any;
    /// Free memory, in pages, below which the automatic defences start.
    amemthresh: 1024, Range::Any;
    /// The synchronisation backup leaves packets alone while this is set.
    backup_only: 0, Range::Any;
    /// Send packets of a service without servers to where they were going.
    cache_bypass: 0, Range::Any;
    /// 0: never reschedule a reused connection; 1: from TIME_WAIT and CLOSE; 2: from FIN_WAIT too.
    conn_reuse_mode: 1, Range::Any;
    conntrack: 0, Range::Any;
    drop_entry: 0, Range::Between(0, 3);
    drop_packet: 0, Range::Between(0, 3);
    /// Connections of deleted (or weight-0, for a new SYN) destinations expire instead of waiting.
    expire_nodest_conn: 0, Range::Any;
    /// Templates of destinations at weight 0 are no longer used.
    expire_quiescent_template: 0, Range::Any;
    ignore_tunneled: 0, Range::Any;
    lblc_expiration: 86400, Range::Between(0, i32::MAX);
    lblcr_expiration: 86400, Range::Between(0, i32::MAX);
    /// Answer packets of real servers that belong to no connection with port unreachable.
    nat_icmp_send: 0, Range::Any;
    /// Tunnels: copy DF and enforce the MTU (1), or fragment (0).
    pmtu_disc: 1, Range::Any;
    run_estimation: 1, Range::Any;
    schedule_icmp: 0, Range::Any;
    secure_tcp: 0, Range::Between(0, 3);
    sloppy_sctp: 0, Range::Any;
    sloppy_tcp: 0, Range::Any;
    snat_reroute: 1, Range::Any;
    sync_persist_mode: 0, Range::Any;
    sync_ports: 1, Range::PowerOfTwo;
    sync_qlen_max: 0, Range::Any;
    sync_refresh_period: 0, Range::Any;
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
    }

    #[test]
    fn sync_threshold_is_two_numbers_in_order() {
        let mut settings = Settings::default();
        assert_eq!(settings.show("sync_threshold").as_deref(), Some("3\t50"));
        assert_eq!(settings.set("sync_threshold", "5 5"), Err(Errno::EINVAL));
        assert_eq!(settings.set("sync_threshold", "5 0"), Ok(()));
        assert_eq!(settings.set("sync_threshold", "1"), Err(Errno::EINVAL));
    }

    #[test]
    fn a_zero_timeout_keeps_the_old_one() {
        let mut timeouts = Timeouts::default();
        assert_eq!(timeouts.update(Timeouts { tcp: 60, tcp_fin: 0, udp: 3 }), Ok(()));
        assert_eq!(timeouts, Timeouts { tcp: 60, tcp_fin: 120, udp: 3 });
        assert_eq!(timeouts.update(Timeouts { tcp: u32::MAX, tcp_fin: 0, udp: 0 }), Err(Errno::EINVAL));
    }
}
