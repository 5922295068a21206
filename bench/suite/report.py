"""What comes out: a table, ratios against the targets, JSON, and charts as SVG."""

import contextlib
import datetime
import html
import os
import platform
import subprocess

# Measure, what is shown of it, the unit, a factor, and whether more is better.
ROWS = (
    ("packets-one-core", "packets_per_second", "small packets, everything on one core", "kpps", 1e-3, True),
    ("packets-own-core", "packets_per_second", "small packets, director on its own core", "kpps", 1e-3, True),
    ("packets-own-core", "cpu_ns_per_packet", "CPU of the machine a packet, own core", "ns", 1, False),
    ("loss", "lost_part", "lost at 0.8 of the capacity, own core", "%", 100, False),
    ("bulk-1", "bits_per_second", "bulk TCP, 1 stream", "Gbit/s", 1e-9, True),
    ("bulk-4", "bits_per_second", "bulk TCP, 4 streams", "Gbit/s", 1e-9, True),
    ("bulk-1", "cpu_s_per_gb", "CPU of the machine a GB, 1 stream", "s", 1, False),
    ("bulk-1", "director_s_per_gb", "CPU of the director a GB, 1 stream", "s", 1, False),
    ("requests", "connections_per_second", "short HTTP connections", "1/s", 1, True),
    ("ping", "p50_us", "UDP round trip, one core, p50", "µs", 1, False),
    ("ping", "p99_us", "UDP round trip, one core, p99", "µs", 1, False),
    ("ping", "p999_us", "UDP round trip, one core, p99.9", "µs", 1, False),
    ("memory", "bytes_per_connection", "memory a connection, of a million", "bytes", 1, False),
)

# Measure, quantity, subject, peer, and the ratio that is asked for (at least, or at most).
TARGETS = (
    ("packets-one-core", "packets_per_second", "ulvs-nat", "nft-dnat", ">=", 1.0),
    ("packets-one-core", "packets_per_second", "ulvs-dr", "nft-dnat", ">=", 1.0),
    ("packets-own-core", "packets_per_second", "ulvs-nat", "nft-dnat", ">=", 1.9),
    ("packets-own-core", "packets_per_second", "ulvs-dr", "nft-dnat", ">=", 1.9),
    ("bulk-1", "bits_per_second", "ulvs-nat", "nft-dnat", ">=", 1.0),
    ("bulk-4", "bits_per_second", "ulvs-nat", "nft-dnat", ">=", 0.5),
    ("bulk-1", "bits_per_second", "ulvs-nat", "haproxy", ">=", 2.0),
    ("bulk-4", "bits_per_second", "ulvs-nat", "haproxy", ">=", 2.5),
    ("bulk-1", "director_s_per_gb", "ulvs-nat", "haproxy", "<=", 0.35),
    ("bulk-4", "director_s_per_gb", "ulvs-nat", "haproxy", "<=", 0.35),
    ("requests", "connections_per_second", "ulvs-nat", "nft-dnat", ">=", 1.2),
    ("requests", "connections_per_second", "ulvs-dr", "nft-dnat", ">=", 1.45),
    ("requests", "connections_per_second", "ulvs-nat", "haproxy", ">=", 1.3),
    ("requests", "connections_per_second", "ulvs-dr", "haproxy", ">=", 1.5),
    ("ping", "p50_us", "ulvs-nat", "nft-dnat", "<=", 1.5),
    ("ping", "p999_us", "ulvs-nat", "nft-dnat", "<=", 1.2),
    ("packets-own-core", "packets_per_second", "ulvs-tun", "ulvs-dr", ">=", 0.9),
    ("requests", "connections_per_second", "ulvs-tun", "ulvs-dr", ">=", 0.9),
    ("bulk-1", "bits_per_second", "ulvs-tun", "nft-dnat", ">=", 0.25),
    ("bulk-1", "bits_per_second", "ulvs-tun", "haproxy", ">=", 0.5),
    ("bulk-1", "bits_per_second", "ulvs-nat-tundev", "ulvs-nat", ">=", 0.75),
    ("packets-own-core", "packets_per_second", "ulvs-nat-tundev", "ulvs-nat", ">=", 0.5),
    *(
        (measure, quantity, f"ulvs-{method}-6", f"ulvs-{method}", sign, ratio)
        for method in ("nat", "dr", "tun")
        for measure, quantity, sign, ratio in (
            ("packets-one-core", "packets_per_second", ">=", 0.9),
            ("packets-own-core", "packets_per_second", ">=", 0.9),
            ("bulk-1", "bits_per_second", ">=", 0.9),
            ("requests", "connections_per_second", ">=", 0.9),
        )
    ),
)


class Summary:
    """Medians by measure, quantity and subject."""

    def __init__(self, medians, titles):
        self.medians, self.titles = medians, titles

    def median(self, measure, quantity, subject):
        found = self.medians.get(measure, {}).get(subject, {}).get(quantity)
        return None if found is None else found["median"]

    def ratio(self, measure, quantity, subject, peer):
        own, other = self.median(measure, quantity, subject), self.median(measure, quantity, peer)
        return None if own is None or not other else own / other

    def table(self):
        lines = []
        for measure, quantity, title, unit, factor, _ in ROWS:
            subjects = self.medians.get(measure, {})
            if not any(quantity in found for found in subjects.values()):
                continue
            lines.append(f"{title} ({unit})")
            for subject, found in subjects.items():
                if quantity not in found:
                    continue
                spread = found[quantity]
                low, middle, high = (spread[name] * factor for name in ("least", "median", "most"))
                lines.append(
                    f"  {self.titles[subject]:<32} {number(middle):>9}   {number(low)} … {number(high):<9}"
                    f"{self.against(measure, quantity, subject)}"
                )
        return "\n".join(lines)

    def against(self, measure, quantity, subject):
        words = []
        for peer in ("nft-dnat", "haproxy"):
            ratio = self.ratio(measure, quantity, subject, peer)
            if ratio is not None and subject != peer:
                words.append(f"{ratio:.2f} of {peer}")
        return "   " + ", ".join(words) if words else ""

    def targets(self):
        """Each target: words, the ratio that was measured, and whether it is met; None where not measured."""
        results = []
        for measure, quantity, subject, peer, sign, wanted in TARGETS:
            ratio = self.ratio(measure, quantity, subject, peer)
            met = None if ratio is None else (ratio >= wanted if sign == ">=" else ratio <= wanted)
            results.append(
                {
                    "what": f"{measure} {quantity}: {subject} against {peer}",
                    "wanted": f"{sign} {wanted}",
                    "ratio": None if ratio is None else round(ratio, 3),
                    "met": met,
                }
            )
        return results


def number(value):
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def machine():
    processor = platform.processor()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        processor = next(models, processor)
    return {"system": " ".join(os.uname()[i] for i in (0, 2, 4)), "cpu": processor, "cores": os.cpu_count()}


def commit(top):
    with contextlib.suppress(OSError):
        git = ("git", "-C", str(top), "describe", "--always", "--dirty", "--abbrev=12")
        return subprocess.run(git, text=True, capture_output=True).stdout.strip() or None
    return None


# ---------------------------------------------------------------------------------------------- charts

CHARTS = (
    ("packets", "Small packets (60-byte UDP frames, 10,000 flows)", "kpps", 1e-3,
     (("packets-own-core", "packets_per_second", "own core"), ("packets-one-core", "packets_per_second", "one core"))),
    ("bulk", "Bulk TCP", "Gbit/s", 1e-9, (("bulk-1", "bits_per_second", "1 stream"), ("bulk-4", "bits_per_second", "4 streams"))),
    ("requests", "Short HTTP connections", "a second", 1, (("requests", "connections_per_second", ""),)),
    ("latency", "UDP round trip, everything on one core (less is better)", "µs", 1,
     (("ping", "p50_us", "p50"), ("ping", "p999_us", "p99.9"))),
)
COLOURS = ("#2563a8", "#8fb8de")
OTHERS = ("#6b6b6b", "#b9b9b9")


def chart(summary, title, unit, factor, series, footer):
    """Horizontal bars, one group a subject, readable on light and dark pages."""
    subjects = [name for name in summary.titles if any(summary.median(m, q, name) is not None for m, q, _ in series)]
    if not subjects:
        return None
    largest = max(summary.median(m, q, name) or 0 for name in subjects for m, q, _ in series) * factor or 1
    bar, gap, left, width = 14, 10, 240, 760
    scale = (width - left - 110) / largest
    body, y = [], 44
    for name in subjects:
        colours = COLOURS if name.startswith("ulvs") else OTHERS
        body.append(f'<text x="{left - 8}" y="{y + bar * len(series) / 2 + 4}" text-anchor="end">{html.escape(summary.titles[name])}</text>')
        for place, (measure, quantity, label) in enumerate(series):
            value = summary.median(measure, quantity, name)
            if value is not None:
                length = max(1, value * factor * scale)
                words = f"{number(value * factor)} {label}".strip()
                body.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar - 2}" fill="{colours[place % 2]}"/>')
                body.append(f'<text x="{left + length + 6:.1f}" y="{y + bar - 4}" font-size="11">{html.escape(words)}</text>')
            y += bar
        y += gap
    height = y + 26
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
        f'<text x="12" y="24" font-size="15" font-weight="bold">{html.escape(title)}, {html.escape(unit)}</text>\n'
        + "\n".join(body)
        + f'\n<text x="12" y="{height - 10}" font-size="10" fill="#666">{html.escape(footer)}</text>\n</svg>\n'
    )


def write_charts(summary, folder, where):
    footer = f"{where['cpu']}, {where['cores']} cores, {where['system']}, {datetime.date.today().isoformat()}; medians"
    written = []
    for name, title, unit, factor, series in CHARTS:
        text = chart(summary, title, unit, factor, series, footer)
        if text:
            path = folder / f"{name}.svg"
            path.write_text(text)
            written.append(path)
    return written
