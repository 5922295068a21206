"""What comes out: medians with their spread, and a table of them."""

from .machine import BUSY_CORES, BUSY_STEAL
from .measures import median_and_spread

# Measure, what is shown of it, its title, the unit, and a factor.
ROWS = (
    ("packets-one-core", "packets_per_second", "small packets, everything on one core", "kpps", 1e-3),
    ("packets-own-core", "packets_per_second", "small packets, director on its own core", "kpps", 1e-3),
    ("packets-own-core", "cpu_ns_per_packet", "CPU of the machine a packet, own core", "ns", 1),
    ("packets-own-core", "director_ns_per_packet", "CPU of the director a packet, own core", "ns", 1),
    ("loss", "lost_part", "lost at 0.8 of the capacity, own core, worst round", "%", 100),
    ("bulk-1", "bits_per_second", "bulk TCP, 1 stream", "Gbit/s", 1e-9),
    ("bulk-4", "bits_per_second", "bulk TCP, 4 streams", "Gbit/s", 1e-9),
    ("bulk-1", "cpu_s_per_gb", "CPU of the machine a GB, 1 stream", "s", 1),
    ("bulk-4", "cpu_s_per_gb", "CPU of the machine a GB, 4 streams", "s", 1),
    ("bulk-1", "director_s_per_gb", "CPU of the director a GB, 1 stream", "s", 1),
    ("bulk-4", "director_s_per_gb", "CPU of the director a GB, 4 streams", "s", 1),
    ("requests", "connections_per_second", "short HTTP connections", "1/s", 1),
    ("requests", "cpu_us_per_connection", "CPU of the machine a connection", "µs", 1),
    ("requests", "director_us_per_connection", "CPU of the director a connection", "µs", 1),
    ("ping", "p50_us", "UDP round trip, one core, p50", "µs", 1),
    ("ping", "p99_us", "UDP round trip, one core, p99", "µs", 1),
    ("ping", "p999_us", "UDP round trip, one core, p99.9", "µs", 1),
    ("ping-own-core", "p50_us", "UDP round trip, director on its own core, p50", "µs", 1),
    ("ping-own-core", "p99_us", "UDP round trip, director on its own core, p99", "µs", 1),
    ("ping-own-core", "p999_us", "UDP round trip, director on its own core, p99.9", "µs", 1),
    ("memory", "bytes_per_connection", "memory a connection, of a million", "bytes", 1),
    ("memory", "megabytes", "memory with a million connections: the whole process; the kernel's growth", "MB", 1),
)
# Who is named as what the others are compared with.
PEERS = ("nft-dnat", "haproxy")
# The kernel's fastest way of doing what direct routing does.
DIRECT_PEERS = ("nft-dr", *PEERS)
# What counts of a loss is the worst round: losing nothing in most of them is losing something.
WORST = ("lost_part",)


class Summary:
    """Medians and spread by measure, subject and quantity."""

    def __init__(self, taken, subjects):
        self.titles = {subject.name: subject.title for subject in subjects}
        values = {}
        for one in taken:
            place = values.setdefault(one["measure"], {}).setdefault(one["subject"], {})
            for quantity, value in one.items():
                if quantity != "round" and isinstance(value, (int, float)):
                    place.setdefault(quantity, []).append(value)
        self.medians = {
            measure: {
                name: {quantity: median_and_spread(list_) for quantity, list_ in found[name].items()}
                for name in self.titles
                if name in found
            }
            for measure, found in values.items()
        }

    def spread(self, measure, quantity, subject):
        return self.medians.get(measure, {}).get(subject, {}).get(quantity)

    def median(self, measure, quantity, subject):
        found = self.spread(measure, quantity, subject)
        return None if found is None else found["median"]

    def worst(self, measure, quantity, subject):
        found = self.spread(measure, quantity, subject)
        return None if found is None else found["most"]

    def ratio(self, measure, quantity, subject, peer):
        own, other = self.median(measure, quantity, subject), self.median(measure, quantity, peer)
        return None if own is None or not other else own / other

    def disturbed(self, measure, subject):
        """Whether others used the machine in most rounds of a measurement, so that it says little."""
        others, steal = (self.median(measure, name, subject) or 0 for name in ("others_cores", "steal_cores"))
        return others > BUSY_CORES or steal > BUSY_STEAL

    def table(self):
        lines = []
        for measure, quantity, title, unit, factor in ROWS:
            names = [name for name in self.titles if self.spread(measure, quantity, name)]
            if not names:
                continue
            lines.append(f"{title} ({unit})")
            for name in names:
                spread = self.spread(measure, quantity, name)
                headline = "most" if quantity in WORST else "median"
                low, shown, high = (number(spread[which] * factor) for which in ("least", headline, "most"))
                against = self.against(measure, quantity, name) + ("  (disturbed)" if self.disturbed(measure, name) else "")
                lines.append(f"  {self.titles[name]:<38} {shown:>9}   {low + ' … ' + high:<20}{against}".rstrip())
        return "\n".join(lines)

    def against(self, measure, quantity, subject):
        peers = DIRECT_PEERS if subject.startswith("ulvs-dr") else PEERS
        ratios = ((peer, self.ratio(measure, quantity, subject, peer)) for peer in peers if peer != subject)
        return ", ".join(f"{ratio:.2f} of {peer}" for peer, ratio in ratios if ratio is not None)


def number(value):
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"
