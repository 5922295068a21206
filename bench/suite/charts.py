"""Charts as SVG: horizontal bars, one group a subject, the spread of the rounds as a line over each bar."""

import html

from .report import number

CHARTS = (
    ("packets", "Small packets (60-byte UDP frames, 10,000 flows)", "kpps", 1e-3,
     (("packets-own-core", "packets_per_second", "own core"), ("packets-one-core", "packets_per_second", "one core"))),
    ("bulk", "Bulk TCP", "Gbit/s", 1e-9,
     (("bulk-1", "bits_per_second", "1 stream"), ("bulk-4", "bits_per_second", "4 streams"))),
    ("cpu", "CPU of the whole machine for a gigabyte of bulk TCP (less is better)", "s", 1,
     (("bulk-1", "cpu_s_per_gb", "1 stream"), ("bulk-4", "cpu_s_per_gb", "4 streams"))),
    ("requests", "Short HTTP connections", "a second", 1, (("requests", "connections_per_second", ""),)),
    ("latency", "UDP round trip, everything on one core (less is better)", "µs", 1,
     (("ping", "p50_us", "p50"), ("ping", "p999_us", "p99.9"))),
    ("memory", "Memory for each of a million connections (less is better)", "bytes", 1,
     (("memory", "bytes_per_connection", ""),)),
)
COLOURS = ("#2563a8", "#8fb8de")
OTHERS = ("#6b6b6b", "#b9b9b9")
BAR, GAP, LEFT, RIGHT, WIDTH = 14, 10, 270, 110, 800
FOOT_LETTERS = 125


def chart(summary, title, unit, factor, series, footer):
    found = {
        name: [(summary.spread(measure, quantity, name), label) for measure, quantity, label in series]
        for name in summary.titles
    }
    found = {name: bars for name, bars in found.items() if any(spread for spread, _ in bars)}
    if not found:
        return None
    largest = max(spread["most"] for bars in found.values() for spread, _ in bars if spread) * factor or 1
    scale = factor * (WIDTH - LEFT - RIGHT) / largest
    body, y = [], 44
    for name, bars in found.items():
        colours = COLOURS if name.startswith("ulvs") else OTHERS
        middle = y + BAR * len(bars) / 2 + 3
        body.append(f'<text x="{LEFT - 8}" y="{middle:g}" text-anchor="end">{html.escape(summary.titles[name])}</text>')
        for place, (spread, label) in enumerate(bars):
            if spread:
                body.extend(bar(y, spread, scale, colours[place % 2], f"{number(spread['median'] * factor)} {label}"))
            y += BAR
        y += GAP
    lines = footer_lines(footer)
    height = y + 14 + 13 * len(lines)
    body.extend(
        f'<text x="12" y="{y + 12 + 13 * place}" font-size="10" fill="#555">{html.escape(line)}</text>'
        for place, line in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12" fill="#111">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n'
        f'<text x="12" y="24" font-size="15" font-weight="bold">{html.escape(title)}, {html.escape(unit)}</text>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def bar(y, spread, scale, colour, words):
    length = max(1, spread["median"] * scale)
    least, most = (LEFT + spread[name] * scale for name in ("least", "most"))
    yield f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 2}" fill="{colour}"/>'
    if most - least > 1:
        yield f'<path d="M{least:.1f} {y + 6}H{most:.1f}M{least:.1f} {y + 3}v6M{most:.1f} {y + 3}v6" stroke="#d9480f"/>'
    words = html.escape(words.strip())
    yield f'<text x="{max(LEFT + length, most) + 6:.1f}" y="{y + BAR - 4}" font-size="11">{words}</text>'


def footer_lines(footer):
    lines = [""]
    for part in footer:
        joined = f"{lines[-1]}; {part}" if lines[-1] else part
        if len(joined) > FOOT_LETTERS:
            lines.append(part)
        else:
            lines[-1] = joined
    return lines


def write(summary, folder, footer):
    written = []
    for name, title, unit, factor, series in CHARTS:
        text = chart(summary, title, unit, factor, series, footer)
        if text:
            path = folder / f"{name}.svg"
            path.write_text(text)
            written.append(path)
    return written
