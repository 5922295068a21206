"""What is measured of a subject that is set up. Each returns plain numbers, named with their units.

A number that cannot be true is never returned: what arrived at the server must be what was sent to the
director, translated as the subject translates, and nothing may be zero that cannot be.
"""

import contextlib
import json
import statistics
import subprocess
import time

from .machine import Reading, process_cpu, since
from .network import CLIENT_ADDRESS, end
from .session import ends_with_parent
from .shell import PATIENCE, Failed, background, in_namespace, inside
from .subjects import PORTS

# Where the load runs; the director is on the other core where it has one of its own.
LOAD_CORE, DIRECTOR_CORE = 0, 1
FLOWS = 10_000
FRAME = 60
# Part of the capacity at which nothing may be lost.
BELOW_CAPACITY = 0.8
MANY = 1_000_000
# How fast new connections are made, how often at the most where some were lost, and what part must be there.
MANY_RATE, MANY_TIMES, MANY_ENOUGH = 100_000, 8, 0.99
# Of what arrived: what part may be something else (ARP, neighbour discovery); of requests: may have failed.
STRAY, FAILING = 0.01, 0.01


class Bench:
    """The load in its namespaces, for all subjects alike."""

    def __init__(self, network, tool, seconds):
        self.network, self.tool, self.seconds = network, tool, seconds
        # What floods leave by: what the first one could have, and the same for all that follow.
        self.by = None

    @contextlib.contextmanager
    def servers(self):
        """What answers at the real server, in both families, all the while."""
        network = self.network
        listening = lambda port: lambda _: f":{port} " in inside(network.server, "ss", "-Hlnt")
        with contextlib.ExitStack() as stack:
            words = ("iperf3", "-s", "-p", PORTS["bulk"])
            stack.enter_context(background("iperf3 -s", network.server, *words, ready=listening(PORTS["bulk"])))
            words = (self.tool.program, "serve", "--listen", f"[::]:{PORTS['requests']}")
            stack.enter_context(background("load serve", network.server, *words, ready=listening(PORTS["requests"])))
            yield

    # -- small packets

    def flood(self, subject, running, seconds=PATIENCE, packets=None, rate=None, flows=FLOWS):
        words = ["--interface", "eth0", "--source-mac", self.network.mac("client", "eth0")]
        words += ["--destination-mac", running.mac, "--source", CLIENT_ADDRESS[subject.family]]
        words += ["--destination", end(subject.family, running.address, PORTS["flood"])]
        words += ["--size", FRAME, "--flows", flows, "--seconds", seconds]
        words += [] if packets is None else ["--packets", packets]
        words += [] if rate is None else ["--rate", rate]
        words += [] if self.by is None else ["--by", self.by]
        return self.tool.start(self.network.client, "flood", *words, core=LOAD_CORE)

    def flooded(self, process, patience=60):
        """What a flood says of itself at its end."""
        said = self.tool.answer("flood", process, patience)
        self.by = said["by"]
        return said

    def sink(self, subject):
        return self.network.sink(subject.family, subject.method, subject.arrives_at)

    def small_packets(self, subject, running):
        """As fast as one core sends them: what arrives, and the CPU of the whole machine for each."""
        warm_up = 0.3
        with self.sink(subject) as arrived:
            self.first_packets(subject, running, arrived)
            before, received, drops = arrived(), self.received(), running.drops()
            flood = self.flood(subject, running, seconds=self.seconds + warm_up + 0.5)
            words = ["--interface", "eth0", "--warm-up", warm_up, "--seconds", self.seconds]
            for process in running.processes:
                words += ["--process", process]
            counted = self.tool.ask(self.network.server, "count", *words)
            offered = self.flooded(flood)
            right = self.finally_still(arrived) - before
            received = self.received() - received
        if counted["packets"] == 0:
            raise Failed(f"none of {offered['sent']} packets arrived")
        if counted["busy_ns"] <= 0:
            raise Failed(f"{counted['packets']} packets took no CPU: others' is not told apart from it")
        no_more(right, offered)
        if right < received * (1 - STRAY):
            raise Failed(f"of {received} packets that arrived only {right} were what should arrive")
        return {
            "packets_per_second": counted["packets"] / counted["seconds"],
            "offered_per_second": offered["sent"] / offered["seconds"],
            "cpu_ns_per_packet": counted["busy_ns"] / counted["packets"],
            **self.of_director(running, "director_ns_per_packet", counted["process_ns"] / counted["packets"]),
            "sent_by": offered["by"],
            "lost_at": self.lost_at(offered, running, drops),
        }

    def loss(self, subject, running, capacity):
        """A steady rate below the capacity: what part does not arrive."""
        rate = capacity * BELOW_CAPACITY
        with self.sink(subject) as arrived:
            self.first_packets(subject, running, arrived)
            before, drops = arrived(), running.drops()
            flood = self.flood(subject, running, packets=int(rate * self.seconds), rate=rate)
            sent = self.flooded(flood)
            right = self.finally_still(arrived) - before
        if right == 0:
            raise Failed(f"none of {sent['sent']} packets arrived")
        no_more(right, sent)
        if sent["sent"] / sent["seconds"] < 0.9 * rate:
            raise Failed(f"the load sent {sent['sent'] / sent['seconds']:.0f} packets a second, not {rate:.0f}")
        lost = sent["sent"] - right
        return {
            "rate": rate,
            "sent": sent["sent"],
            "lost": lost,
            "lost_part": lost / sent["sent"],
            "sent_by": sent["by"],
            "lost_at": self.lost_at(sent, running, drops),
        }

    def first_packets(self, subject, running, arrived):
        """Every flow once, slowly: neighbours are found and connections made before anything counts."""
        before = arrived()
        self.flooded(self.flood(subject, running, packets=FLOWS, rate=50_000))
        if self.finally_still(arrived) == before:
            raise Failed(f"none of {FLOWS} packets arrived")

    def received(self):
        return int(inside(self.network.server, "cat", "/sys/class/net/eth0/statistics/rx_packets"))

    def finally_still(self, count):
        """A count once it stands still."""
        last, since_then = count(), time.monotonic()
        deadline = since_then + PATIENCE
        while time.monotonic() < min(since_then + 0.1, deadline):
            time.sleep(0.02)
            now = count()
            if now != last:
                last, since_then = now, time.monotonic()
        return last

    def lost_at(self, sent, running, before):
        """Who says that it lost packets, and how many."""
        found = {name: count - before.get(name, 0) for name, count in running.drops().items()}
        found["load: link's queue full, sent again"] = sent["refused"]
        return {name: count for name, count in found.items() if count}

    def of_director(self, running, name, value):
        """What is only told where the director is a program."""
        return {} if running.program is None else {name: value}

    # -- TCP

    def bulk(self, subject, running, streams):
        """iperf3 towards the server: bits that arrived, and the machine's CPU for each gigabyte."""
        words = ["iperf3", "-c", running.address, "-p", PORTS["bulk"], "-t", max(1, round(self.seconds))]
        command = in_namespace(self.network.client, None, "timeout", 30, *words, "-P", streams, "-J")
        deadline = time.monotonic() + PATIENCE
        while True:
            before, processes = Reading(), running.processes
            director = process_cpu(processes)
            done = subprocess.run(command, text=True, capture_output=True, preexec_fn=ends_with_parent)
            director = process_cpu(processes) - director
            cpu, _ = since(before)
            try:
                report = json.loads(done.stdout)
            except ValueError:
                raise Failed(f"iperf3 failed: {(done.stderr or done.stdout).strip() or 'no answer in time'}") from None
            if "error" not in report:
                break
            # The server may still be busy with the end of the last test.
            if "busy" not in report["error"] or time.monotonic() > deadline:
                raise Failed(f"iperf3 failed: {report['error']}")
            time.sleep(0.1)
        received = report["end"]["sum_received"]
        if len(report["end"]["streams"]) != streams:
            raise Failed(f"iperf3 had {len(report['end']['streams'])} streams, not {streams}")
        if received["bytes"] < 1_000_000:
            raise Failed(f"iperf3: only {received['bytes']} bytes arrived")
        gigabytes = received["bytes"] / 1e9
        return {
            "bits_per_second": received["bits_per_second"],
            "retransmits": report["end"]["sum_sent"].get("retransmits", 0),
            "cpu_s_per_gb": cpu / gigabytes,
            **self.of_director(running, "director_s_per_gb", director / gigabytes),
        }

    def requests(self, subject, running):
        """Short connections, 64 at once."""
        to = end(subject.family, running.address, PORTS["requests"])
        before, processes = Reading(), running.processes
        director = process_cpu(processes)
        answer = self.tool.ask(self.network.client, "request", "--to", to, "--seconds", self.seconds)
        director = process_cpu(processes) - director
        cpu, _ = since(before)
        if answer["requests"] == 0:
            raise Failed(f"no request to {to} was answered, {answer['failed']} failed: {answer['last_error']}")
        if answer["failed"] > answer["requests"] * FAILING:
            raise Failed(f"{answer['failed']} requests to {to} failed, {answer['requests']} were answered: {answer['last_error']}")
        each = 1e6 / answer["whole"]
        return {
            "connections_per_second": answer["per_second"],
            "failed_requests": answer["failed"],
            "p50_us": answer["p50_us"],
            "p99_us": answer["p99_us"],
            "cpu_us_per_connection": cpu * each,
            **self.of_director(running, "director_us_per_connection", director * each),
        }

    # -- UDP

    def ping(self, subject, running):
        """Round trips, one after the other; client and server on one core, the director where it is."""
        listen = end(subject.family, subject.arrives_at, PORTS["ping"])
        ready = lambda _: f":{PORTS['ping']} " in inside(self.network.server, "ss", "-Hlnu")
        words = (self.tool.program, "respond", "--listen", listen)
        with background("load respond", self.network.server, *words, ready=ready, core=LOAD_CORE):
            to = end(subject.family, running.address, PORTS["ping"])
            words = ("--to", to, "--seconds", self.seconds)
            answer = self.tool.ask(self.network.client, "ping", *words, core=LOAD_CORE)
        if answer["round_trips"] == 0:
            raise Failed(f"no datagram came back from {to}")
        if answer["lost"] > max(1, answer["round_trips"] * FAILING):
            raise Failed(f"{answer['lost']} datagrams to {to} were lost, {answer['round_trips']} came back")
        return {name: answer[name] for name in ("round_trips", "p50_us", "p99_us", "p999_us", "max_us", "lost")}

    # -- memory

    def memory(self, subject, running):
        """Bytes that each of a million connections adds: to the process, or to the kernel's slabs."""
        with self.sink(subject) as arrived:
            # What each subject has anyway (rings, first slabs) is there before.
            self.first_packets(subject, running, arrived)
            before, connections = running.memory(), running.connections()
            for _ in range(MANY_TIMES):
                flood = self.flood(subject, running, seconds=60, packets=MANY, rate=MANY_RATE, flows=MANY)
                self.flooded(flood, patience=90)
                self.finally_still(arrived)
                after, made = running.memory(), running.connections()
                if made >= MANY:
                    break
        if made < MANY * MANY_ENOUGH:
            raise Failed(f"of {MANY} connections only {made} are there")
        if after <= before:
            raise Failed(f"memory did not grow: {before} and {after} bytes")
        return {
            "connections": made,
            "bytes_per_connection": (after - before) / (made - connections),
            # All of a process; of the kernel, what was added.
            "megabytes": (after - (0 if running.program else before)) / 1e6,
        }


def no_more(arrived, sent):
    """Fails where more packets arrived than were sent: copies would hide losses."""
    if arrived > sent["sent"]:
        raise Failed(f"{arrived} packets arrived of {sent['sent']} that were sent")


def median_and_spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values), "values": values}
