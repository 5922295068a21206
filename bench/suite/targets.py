"""What ulvs is meant to reach, as ratios within one run or as plain bounds."""

PACKETS, BITS, RATE = "packets_per_second", "bits_per_second", "connections_per_second"

# Measure, quantity, subject, peer, and the ratio that is asked for (at least, or at most); without a peer, the value.
TARGETS = (
    ("packets-one-core", PACKETS, "ulvs-nat", "nft-dnat", ">=", 1.0),
    ("packets-one-core", PACKETS, "ulvs-dr", "nft-dnat", ">=", 1.0),
    ("packets-own-core", PACKETS, "ulvs-nat", "nft-dnat", ">=", 1.9),
    ("packets-own-core", PACKETS, "ulvs-dr", "nft-dnat", ">=", 1.9),
    # Nothing is lost below the capacity: less than one packet of ten thousand, in any round.
    ("loss", "lost_part", "ulvs-nat", None, "<=", 0.0001),
    ("loss", "lost_part", "ulvs-dr", None, "<=", 0.0001),
    ("bulk-1", BITS, "ulvs-nat", "nft-dnat", ">=", 1.0),
    ("bulk-4", BITS, "ulvs-nat", "nft-dnat", ">=", 0.5),
    ("bulk-1", BITS, "ulvs-nat", "haproxy", ">=", 2.0),
    ("bulk-4", BITS, "ulvs-nat", "haproxy", ">=", 2.5),
    ("bulk-1", "director_s_per_gb", "ulvs-nat", "haproxy", "<=", 0.35),
    ("bulk-4", "director_s_per_gb", "ulvs-nat", "haproxy", "<=", 0.35),
    ("requests", RATE, "ulvs-nat", "nft-dnat", ">=", 1.2),
    ("requests", RATE, "ulvs-dr", "nft-dnat", ">=", 1.45),
    ("requests", RATE, "ulvs-nat", "haproxy", ">=", 1.3),
    ("requests", RATE, "ulvs-dr", "haproxy", ">=", 1.5),
    ("ping", "p50_us", "ulvs-nat", "nft-dnat", "<=", 1.5),
    ("ping", "p999_us", "ulvs-nat", "nft-dnat", "<=", 1.2),
    ("packets-one-core", PACKETS, "ulvs-tun", "ulvs-dr", ">=", 0.9),
    ("packets-own-core", PACKETS, "ulvs-tun", "ulvs-dr", ">=", 0.9),
    ("requests", RATE, "ulvs-tun", "ulvs-dr", ">=", 0.9),
    ("bulk-1", BITS, "ulvs-tun", "nft-dnat", ">=", 0.25),
    ("bulk-1", BITS, "ulvs-tun", "haproxy", ">=", 0.5),
    ("bulk-1", BITS, "ulvs-nat-tundev", "ulvs-nat", ">=", 0.75),
    ("packets-own-core", PACKETS, "ulvs-nat-tundev", "ulvs-nat", ">=", 0.5),
    # IPv6 beside IPv4, in every row: rates at least 0.9, times at most 1/0.9.
    *(
        (measure, quantity, f"ulvs-{way}-6", f"ulvs-{way}", sign, ratio)
        for way in ("nat", "dr", "tun", "nat-tundev")
        for measure, quantity, sign, ratio in (
            ("packets-one-core", PACKETS, ">=", 0.9),
            ("packets-own-core", PACKETS, ">=", 0.9),
            ("bulk-1", BITS, ">=", 0.9),
            ("bulk-4", BITS, ">=", 0.9),
            ("requests", RATE, ">=", 0.9),
            ("ping", "p50_us", "<=", 1.11),
        )
    ),
)


def judged(summary):
    """Each target: what was measured, and whether it is met; None where it was not measured.

    Ratios are of medians; what stands alone is judged by its worst round.
    """
    results = []
    for measure, quantity, subject, peer, sign, wanted in TARGETS:
        if peer is None:
            value = summary.worst(measure, quantity, subject)
        else:
            value = summary.ratio(measure, quantity, subject, peer)
        results.append(
            {
                "measure": measure,
                "quantity": quantity,
                "subject": subject,
                "peer": peer,
                "target": f"{sign} {wanted:g}",
                "measured": None if value is None else round(value, 5),
                "disturbed": any(summary.disturbed(measure, one) for one in (subject, peer) if one),
                "met": None if value is None else (value >= wanted if sign == ">=" else value <= wanted),
            }
        )
    return results


def reached(targets, whole):
    """Whether every target is met, by measurements that nobody disturbed.

    Of a part, every one that was measured, and there must be some; of a whole run, all there are.
    """
    judged = targets if whole else [one for one in targets if one["met"] is not None]
    return bool(judged) and all(one["met"] and not one["disturbed"] for one in judged)


def table(targets, whole):
    """The targets in words; of a part, those that were measured."""
    lines = [f"{'target':>9}  {'measured':>9}  met"]
    for one in targets:
        against = f" / {one['peer']}" if one["peer"] else ""
        what = f"{one['measure']} {one['quantity']}, {one['subject']}{against}"
        if one["met"] is not None:
            met = ("yes" if one["met"] else "NO") + ("?" if one["disturbed"] else "")
            lines.append(f"{one['target']:>9}  {one['measured']:>9.4g}  {met:<4} {what}")
        elif whole:
            lines.append(f"{one['target']:>9}  {'-':>9}  {'?':<4} {what}, not measured")
    if any(one["met"] is not None and one["disturbed"] for one in targets):
        lines.append("? others used the machine meanwhile: neither met nor missed")
    return "\n".join(lines)
