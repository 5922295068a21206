//! Super-frames in tunnels: by which links they leave whole, and why not by the others.
//!
//! Nothing is asked of the kernel before a destination is reached by tunnel.

use std::collections::BTreeMap;
use std::error::Error as _;

use crate::base::LinkId;
use crate::table::Network;

use super::workers::Workers;

/// The links that were asked about.
#[derive(Debug, Default)]
pub struct Tunnels {
    /// Each with the reason why not, if it does not carry them.
    asked: BTreeMap<LinkId, Result<(), String>>,
}

impl Tunnels {
    /// Asks for what is needed, now that there are tunnels, on those of `links` that were not asked about; whether there were any.
    pub fn keep(&mut self, workers: &Workers, links: impl Iterator<Item = LinkId>) -> bool {
        let new: Vec<LinkId> = links.filter(|link| !self.asked.contains_key(link)).collect();
        if new.is_empty() {
            return false;
        }
        for &link in &new {
            self.asked.insert(link, carry(workers, link));
        }
        true
    }

    /// Forgets the links that `keep` does not know any more.
    pub fn retain(&mut self, keep: impl Fn(LinkId) -> bool) {
        self.asked.retain(|&link, _| keep(link));
    }

    /// Who carries them and who does not, in sentences.
    pub fn lines(&self, network: &Network) -> Vec<String> {
        let name = |id: &LinkId| network.link(*id).map_or("?", |link| link.name.as_str());
        let carrying: Vec<&str> =
            self.asked.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(id, _)| name(id)).collect();
        let mut lines = Vec::new();
        if !carrying.is_empty() {
            lines.push(format!("{}: TCP super-frames leave in tunnels whole", carrying.join(", ")));
        }
        let refused = self.asked.iter().filter_map(|(id, outcome)| Some((id, outcome.as_ref().err()?)));
        lines.extend(refused.map(|(id, why)| format!("{}: super-frames are cut for tunnels: {why}", name(id))));
        lines
    }
}

/// Has every worker carry them; each says the same, as all have the same privileges.
fn carry(workers: &Workers, link: LinkId) -> Result<(), String> {
    for worker in 0..workers.count() {
        let outcome = workers.carry_tunnels(worker, link).map_err(|error| error.to_string())?;
        outcome.map_err(|error| {
            error.source().map_or_else(|| error.to_string(), |source| format!("{error} ({source})"))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Mac;
    use crate::table::Link;
    use crate::table::network::LinkLayer;

    #[test]
    fn links_are_named_with_what_they_do() {
        let link = |id: u32, name: &str| Link {
            id: LinkId(id),
            index: id + 1,
            name: name.into(),
            layer: LinkLayer::Ethernet,
            mac: Mac([2, 0, 0, 0, 0, id as u8]),
            virtual_mac: None,
            mtu: 1500,
            up: true,
            addresses: vec![],
        };
        let network = Network::new(vec![link(0, "eth0"), link(1, "eth1"), link(2, "eth2")], vec![]);
        let mut tunnels = Tunnels::default();
        assert!(tunnels.lines(&network).is_empty());
        tunnels.asked =
            BTreeMap::from([(LinkId(0), Ok(())), (LinkId(1), Err("it is Tuesday".into())), (LinkId(2), Ok(()))]);
        assert_eq!(
            tunnels.lines(&network),
            [
                "eth0, eth2: TCP super-frames leave in tunnels whole",
                "eth1: super-frames are cut for tunnels: it is Tuesday",
            ]
        );
        tunnels.retain(|id| id == LinkId(1));
        assert_eq!(tunnels.lines(&network).len(), 1);
    }
}
