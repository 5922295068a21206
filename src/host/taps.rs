//! Whether somebody watches the packets that leave (tcpdump, wireshark): packet sockets of every
//! protocol, other than this process's own.
//!
//! Frames that pass by the queueing discipline are not shown to such sockets (packet(7),
//! PACKET_QDISC_BYPASS), so that none may while somebody listens. Read from `/proc/net/packet`, where the
//! kernel lists the packet sockets of this network namespace; it says nothing when one is opened.

use std::collections::HashSet;
use std::fs;

/// Whether there are such sockets; where that cannot be known, there may be.
pub fn somebody_watches() -> bool {
    let Ok(table) = fs::read_to_string("/proc/net/packet") else { return true };
    let Ok(own) = own_sockets() else { return true };
    has_others(&table, &own)
}

/// Inode numbers of this process's sockets.
fn own_sockets() -> std::io::Result<HashSet<u64>> {
    let mut own = HashSet::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        // One that was closed meanwhile is none.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let inode: Option<u64> =
            target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        own.extend(inode);
    }
    Ok(own)
}

/// Whether the table has a socket of every protocol that is not one of `own`.
fn has_others(table: &str, own: &HashSet<u64>) -> bool {
    /// Columns of the protocol (hexadecimal) and the inode.
    const PROTOCOL: usize = 3;
    const INODE: usize = 8;
    const EVERY_PROTOCOL: &str = "0003";
    table.lines().skip(1).any(|line| {
        let mut columns = line.split_ascii_whitespace();
        let protocol = columns.nth(PROTOCOL);
        let inode = columns.nth(INODE - PROTOCOL - 1).and_then(|text| text.parse::<u64>().ok());
        protocol == Some(EVERY_PROTOCOL) && inode.is_none_or(|inode| !own.contains(&inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_sockets_of_every_protocol_watch() {
        let own = HashSet::from([100, 101]);
        let head = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n";
        let line = |protocol: &str, inode: u64| {
            format!("0000000000000000 3      3    {protocol}   2     1 0      0      {inode}\n")
        };
        let rows = [
            (String::new(), false),
            (line("0003", 100) + &line("0003", 101), false),
            (line("0000", 7) + &line("0800", 8), false),
            (line("0003", 100) + &line("0003", 9), true),
        ];
        for (lines, expected) in rows {
            assert_eq!(has_others(&format!("{head}{lines}"), &own), expected, "{lines}");
        }
    }
}
