//! Frames to the virtual MAC: at which links they end before the kernel's stack looks at them, and why not at others.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{LinkId, Mac};
use crate::host::network::View;
use crate::port::bpf::BpfError;
use crate::port::bpf::barrier::Barrier;
use crate::table::{Link, Network};

/// What a link's barrier depends on: the kernel's number of the link, and the address.
type Place = (u32, Mac);

/// The links that are to have a barrier.
#[derive(Debug, Default)]
pub struct Barriers {
    /// Each with the reason why it has none, if it has none.
    asked: BTreeMap<LinkId, (Place, Result<Barrier, String>)>,
}

impl Barriers {
    /// Has those links have a barrier that it would be right for, and no others; whether that changed anything.
    pub fn keep<'a>(&mut self, view: &View, links: impl Iterator<Item = &'a Link>) -> bool {
        let wanted = wanted(view, links);
        self.keep_by(&wanted, Barrier::open)
    }

    fn keep_by(
        &mut self,
        wanted: &BTreeMap<LinkId, Place>,
        open: impl Fn(u32, Mac) -> Result<Barrier, BpfError>,
    ) -> bool {
        let before = self.asked.len();
        self.asked.retain(|id, (place, _)| wanted.get(id) == Some(place));
        let mut changed = self.asked.len() != before;
        for (&id, &(index, mac)) in wanted {
            self.asked.entry(id).or_insert_with(|| {
                changed = true;
                ((index, mac), open(index, mac).map_err(|error| error.to_string()))
            });
        }
        changed
    }

    /// Which links have one and which do not, in sentences.
    pub fn lines(&self, network: &Network) -> Vec<String> {
        let name = |id: &LinkId| network.link(*id).map_or("?", |link| link.name.as_str());
        let mut standing = Vec::new();
        let mut refused: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (id, (_, outcome)) in &self.asked {
            match outcome {
                Ok(_) => standing.push(name(id)),
                Err(why) => refused.entry(why).or_default().push(name(id)),
            }
        }
        let mut lines = Vec::new();
        if !standing.is_empty() {
            let names = standing.join(", ");
            lines.push(format!("{names}: frames to the virtual MAC end before the kernel's stack looks at them"));
        }
        lines.extend(refused.iter().map(|(why, names)| {
            format!("{}: the kernel's stack looks at frames to the virtual MAC, too: {why}", names.join(", "))
        }));
        lines
    }
}

/// Which of `links` are to have a barrier: those with a virtual MAC that is nobody else's. Not where frames are those
/// of other links as well, which may be reached by any address.
fn wanted<'a>(view: &View, links: impl Iterator<Item = &'a Link>) -> BTreeMap<LinkId, Place> {
    let taken: BTreeSet<Mac> = view.network.links().iter().map(|link| link.mac).collect();
    let is_free = |mac: &Mac| !taken.contains(mac);
    links
        .filter(|link| !view.carriers.contains(&link.id))
        .filter_map(|link| Some((link.id, (link.index, link.virtual_mac.filter(is_free)?))))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::table::network::LinkLayer;

    const VIRTUAL: Mac = Mac([0, 0, 0x5e, 0, 1, 1]);

    fn view() -> View {
        let link = |number: u32| Link {
            id: LinkId(number),
            index: number + 1,
            name: format!("eth{number}"),
            layer: LinkLayer::Ethernet,
            mac: Mac([2, 0, 0, 0, 0, number as u8]),
            virtual_mac: Some(VIRTUAL),
            mtu: 1500,
            up: true,
            addresses: vec![],
        };
        View {
            network: Network::new((0..3).map(link).collect(), vec![]),
            served: (0..3).map(LinkId).collect(),
            carriers: BTreeSet::new(),
            missing: vec![],
            queueless: BTreeSet::new(),
        }
    }

    fn changed(view: &View, change: impl Fn(&mut Link)) -> View {
        let mut links = view.network.links().to_vec();
        links.iter_mut().for_each(change);
        View { network: Network::new(links, vec![]), ..view.clone() }
    }

    #[test]
    fn a_barrier_is_for_a_virtual_mac_that_is_nobody_elses() {
        let view = view();
        let of = |view: &View| wanted(view, view.network.links().iter()).into_iter().collect::<Vec<_>>();
        let all = [0, 1, 2].map(|number| (LinkId(number), (number + 1, VIRTUAL)));
        assert_eq!(of(&view), all);
        let carrying = View { carriers: BTreeSet::from([LinkId(1)]), ..view.clone() };
        assert_eq!(of(&carrying), [all[0], all[2]]);
        assert!(of(&changed(&view, |link| link.virtual_mac = None)).is_empty());
        let shared = changed(&view, |link| link.mac = if link.index == 3 { VIRTUAL } else { link.mac });
        assert!(of(&shared).is_empty(), "a link of this host has it");
    }

    #[test]
    fn links_are_asked_once_and_named_with_the_outcome() {
        let view = view();
        let refuse = |step: &'static str| {
            move |_: u32, _: Mac| Err(BpfError::Step { step, source: io::Error::from_raw_os_error(libc::ENOMEM) })
        };
        let mut barriers = Barriers::default();
        let mut places = wanted(&view, view.network.links().iter());
        assert!(barriers.keep_by(&places, refuse("early")));
        let early =
            "the kernel's stack looks at frames to the virtual MAC, too: early: Cannot allocate memory (os error 12)";
        assert_eq!(barriers.lines(&view.network), [format!("eth0, eth1, eth2: {early}")]);
        assert!(!barriers.keep_by(&places, refuse("late")), "nothing is new");
        places.remove(&LinkId(0));
        assert!(barriers.keep_by(&places, refuse("late")));
        assert_eq!(barriers.lines(&view.network), [format!("eth1, eth2: {early}")]);
        places.get_mut(&LinkId(2)).unwrap().0 = 9;
        assert!(barriers.keep_by(&places, refuse("late")), "it is another link");
        let lines = barriers.lines(&view.network);
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].starts_with("eth1: ") && lines[1].starts_with("eth2: ") && lines[1].contains("late"),
            "{lines:?}"
        );
        assert!(barriers.keep_by(&BTreeMap::new(), refuse("late")));
        assert!(barriers.lines(&view.network).is_empty());
    }
}
