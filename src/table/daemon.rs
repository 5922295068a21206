//! The two daemons of connection synchronisation, as the operator asks for them.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::Errno;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DaemonRole {
    /// Tells other directors of the connections here.
    Master,
    /// Takes in what other directors tell.
    Backup,
}

/// A connection synchronisation daemon, as asked for or as running; 0 or `None` means default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonConfig {
    pub role: DaemonRole,
    pub interface: String,
    pub sync_id: u8,
    pub maximum_length: u16,
    pub group: Option<IpAddr>,
    pub port: u16,
    pub ttl: u8,
}

/// The group that directors meet in where no other is chosen.
const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 81));
const PORT: u16 = 8848;
const TTL: u8 = 1;
/// The MTU that a master counts with, whatever its link has, and the least that a backup does.
const USUAL_MTU: u32 = 1500;
/// Shortest buffer that a backup receives into.
const SHORTEST_BUFFER: u32 = 1024;
const LONGEST_PACKET: u32 = 65535;

impl DaemonConfig {
    /// Most daemons of one role that share a sync id, each with a port of its own.
    pub const MOST_PORTS: u32 = 64;

    /// The configuration with every default filled in, for a link of this MTU.
    ///
    /// # Errors
    /// EINVAL for a group that is none.
    pub fn complete(mut self, mtu: u32) -> Result<DaemonConfig, Errno> {
        let group = self.group.unwrap_or(GROUP);
        if !group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        let headers = match group {
            IpAddr::V4(_) => 20 + 8,
            IpAddr::V6(_) => 40 + 8,
        };
        let (shortest, usual) = match self.role {
            DaemonRole::Master => (1, USUAL_MTU),
            DaemonRole::Backup => (SHORTEST_BUFFER, mtu.clamp(USUAL_MTU, LONGEST_PACKET)),
        };
        let length = match u32::from(self.maximum_length) {
            0 => usual - headers,
            length => length.clamp(shortest, LONGEST_PACKET - headers),
        };
        // At most 65535 less the headers.
        self.maximum_length = length as u16;
        self.group = Some(group);
        if self.port == 0 {
            self.port = PORT;
        }
        if self.ttl == 0 {
            self.ttl = TTL;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(role: DaemonRole, length: u16, group: &str) -> DaemonConfig {
        DaemonConfig {
            role,
            interface: "eth0".into(),
            sync_id: 0,
            maximum_length: length,
            group: (!group.is_empty()).then(|| group.parse().unwrap()),
            port: 0,
            ttl: 0,
        }
    }

    #[test]
    fn lengths_follow_role_family_and_link() {
        use DaemonRole::{Backup, Master};
        for (role, length, group, mtu, expected) in [
            (Master, 0, "", 9000, 1472),
            (Master, 0, "ff02::51", 9000, 1452),
            (Backup, 0, "", 9000, 8972),
            (Backup, 0, "ff02::51", 1300, 1452),
            (Backup, 0, "", 65536, 65507),
            (Master, 1, "", 1500, 1),
            (Backup, 1, "", 1500, 1024),
            (Master, 65507, "ff02::51", 1500, 65487),
        ] {
            let complete = config(role, length, group).complete(mtu).unwrap();
            assert_eq!(complete.maximum_length, expected, "{role:?} {length} {group} {mtu}");
            assert_eq!((complete.port, complete.ttl), (8848, 1));
        }
        assert_eq!(config(Master, 0, "10.0.0.1").complete(1500), Err(Errno::EINVAL));
    }
}
