//! Other machines that have an address of ours: gathered, so that a storm of their frames is a line in the log now and then.

use crate::base::{LinkId, Mac};
use crate::host::responder::Claim;
use crate::table::Network;

/// What was seen since it was told last.
#[derive(Debug, Default)]
pub struct Rivals {
    /// The last that claimed an owned address, and how many frames did.
    claim: Option<Claim>,
    claims: u64,
    /// The last Ethernet address of ours that somebody else sent from, where that came in, and how many frames did.
    double: Option<(LinkId, Mac)>,
    doubles: u64,
}

impl Rivals {
    pub fn claimed(&mut self, claim: Claim) {
        self.claim = Some(claim);
        self.claims += 1;
    }

    pub fn doubled(&mut self, link: LinkId, mac: Mac) {
        self.double = Some((link, mac));
        self.doubles += 1;
    }

    /// What is to be told, in sentences; it is told then.
    pub fn tell(&mut self, network: &Network) -> impl Iterator<Item = String> + use<> {
        let Rivals { claim, claims, double, doubles } = std::mem::take(self);
        let claim = claim.map(|Claim { address, mac }| {
            format!("{address} is claimed by {mac}: two machines answer for it (claims seen: {claims})")
        });
        let double = double.map(|(link, mac)| {
            let name = network.link(link).map_or("?", |link| link.name.as_str());
            format!(
                "{name}: frames come from {mac}, which is ours: another director answers with it, or a VRRP router of the \
                 same number (--vip-mac), or the network brings our own frames back (frames seen: {doubles})"
            )
        });
        claim.into_iter().chain(double)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_frames_are_one_line() {
        let mut rivals = Rivals::default();
        let network = Network::default();
        assert_eq!(rivals.tell(&network).count(), 0);
        let mac = |last| Mac([2, 0, 0, 0, 0, last]);
        for last in 1..4 {
            rivals.claimed(Claim { address: [10, 0, 0, 100].into(), mac: mac(last) });
        }
        rivals.doubled(LinkId(1), mac(9));
        let lines: Vec<String> = rivals.tell(&network).collect();
        assert!(lines[0].starts_with("10.0.0.100 is claimed by 02:00:00:00:00:03: "), "{lines:?}");
        assert!(lines[0].ends_with("(claims seen: 3)") && lines[1].contains("02:00:00:00:00:09"), "{lines:?}");
        assert_eq!((lines.len(), rivals.tell(&network).count()), (2, 0));
    }
}
