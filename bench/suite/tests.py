"""The arithmetic between what was measured and what is said of it: `python3 -m unittest suite.tests`, in bench/."""

import types
import unittest

from . import targets
from .measures import no_more
from .report import Summary, number
from .shell import Failed


def summary(*taken):
    """A summary of measurements given as (measure, subject, quantities)."""
    subjects = [types.SimpleNamespace(name=name, title=name.upper()) for name in dict.fromkeys(one[1] for one in taken)]
    quiet = {"others_cores": 0.0, "steal_cores": 0.0}
    return Summary([{"round": 1, "measure": measure, "subject": name, **quiet, **more} for measure, name, more in taken], subjects)


def verdict(judged, measure, subject, peer):
    return next(one for one in judged if (one["measure"], one["subject"], one["peer"]) == (measure, subject, peer))


class Medians(unittest.TestCase):
    def test_the_middle_counts_and_the_ends_are_kept(self):
        of = summary(*(("bulk-1", "ulvs-nat", {"bits_per_second": value}) for value in (3.0, 9.0, 4.0)))
        spread = of.spread("bulk-1", "bits_per_second", "ulvs-nat")
        self.assertEqual((spread["least"], spread["median"], spread["most"]), (3, 4, 9))
        self.assertIsNone(of.median("bulk-1", "bits_per_second", "nft-dnat"))

    def test_a_ratio_is_of_two_medians_and_of_nothing_else(self):
        of = summary(
            ("ping", "ulvs-nat", {"p50_us": 30.0}), ("ping", "nft-dnat", {"p50_us": 20.0}), ("ping", "route", {"p50_us": 0})
        )
        self.assertEqual(of.ratio("ping", "p50_us", "ulvs-nat", "nft-dnat"), 1.5)
        self.assertIsNone(of.ratio("ping", "p50_us", "ulvs-nat", "haproxy"))
        self.assertIsNone(of.ratio("ping", "p50_us", "ulvs-nat", "route"))

    def test_what_others_disturbed_in_most_rounds_is_disturbed(self):
        busy = {"p50_us": 1.0, "others_cores": 0.5}
        self.assertTrue(summary(*[("ping", "a", busy)] * 2, ("ping", "a", {"p50_us": 1.0})).disturbed("ping", "a"))
        self.assertFalse(summary(("ping", "a", busy), *[("ping", "a", {"p50_us": 1.0})] * 2).disturbed("ping", "a"))

    def test_numbers_have_three_figures(self):
        said = [number(value) for value in (0, 0.0123, 0.5, 9.876, 12.34, 1234.5)]
        self.assertEqual(said, ["0", "0.012", "0.50", "9.88", "12.3", "1,234"])

    def test_the_peer_of_direct_routing_is_named_beside_it(self):
        rates = (("ulvs-dr", 6.0), ("nft-dr", 12.0), ("nft-dnat", 3.0))
        table = summary(*(("packets-one-core", name, {"packets_per_second": rate}) for name, rate in rates)).table()
        self.assertIn("0.50 of nft-dr, 2.00 of nft-dnat", table)


class Targets(unittest.TestCase):
    def test_a_loss_is_judged_by_its_worst_round(self):
        of = summary(*(("loss", "ulvs-nat", {"lost_part": value}) for value in (0, 0, 0.003)))
        self.assertFalse(verdict(targets.judged(of), "loss", "ulvs-nat", None)["met"])
        self.assertIn("worst round (%)\n  ULVS-NAT", of.table())

    def test_times_may_be_smaller_and_rates_larger(self):
        of = summary(
            ("ping", "ulvs-nat", {"p50_us": 29.0, "p999_us": 90.0}), ("ping", "nft-dnat", {"p50_us": 20.0, "p999_us": 60.0}),
            ("bulk-1", "ulvs-nat", {"bits_per_second": 9e9}), ("bulk-1", "nft-dnat", {"bits_per_second": 10e9}),
        )
        met = {(one["measure"], one["quantity"]): one["met"] for one in targets.judged(of) if one["met"] is not None}
        self.assertEqual(met, {("ping", "p50_us"): True, ("ping", "p999_us"): False, ("bulk-1", "bits_per_second"): False})

    def test_what_was_not_measured_is_not_reached_by_a_whole_run(self):
        of = summary(("loss", "ulvs-nat", {"lost_part": 0}))
        judged = targets.judged(of)
        self.assertTrue(targets.reached(judged, whole=False))
        self.assertFalse(targets.reached(judged, whole=True))
        self.assertIn("not measured", targets.table(judged, whole=True))
        self.assertNotIn("not measured", targets.table(judged, whole=False))
        self.assertFalse(targets.reached(targets.judged(summary(("memory", "route", {"megabytes": 1}))), whole=False))

    def test_nobody_tells_where_others_used_the_machine(self):
        of = summary(("loss", "ulvs-nat", {"lost_part": 0, "others_cores": 1.0}))
        self.assertFalse(targets.reached(targets.judged(of), whole=False))


class Packets(unittest.TestCase):
    def test_copies_hide_no_losses(self):
        no_more(10, {"sent": 10})
        with self.assertRaises(Failed):
            no_more(11, {"sent": 10})


if __name__ == "__main__":
    unittest.main()
