"""What is measured of a subject that is set up. Each returns plain numbers, named with their units."""

import contextlib
import json
import statistics
import subprocess
import time

from .network import CLIENT_ADDRESS, REAL_SERVER, VIP, end
from .shell import PATIENCE, Failed, background, inside
from .subjects import PORTS

# Where the load runs; the director is on the other core where it has one of its own.
LOAD_CORE, DIRECTOR_CORE = 0, 1
FLOWS = 10_000
FRAME = 60
# Part of the capacity at which nothing may be lost.
BELOW_CAPACITY = 0.8
MANY = 1_000_000


class Bench:
    """The load in its namespaces, for all subjects alike."""

    def __init__(self, network, tool, seconds):
        self.network, self.tool, self.seconds = network, tool, seconds

    @contextlib.contextmanager
    def servers(self):
        """What answers at the real server, in both families, all the while."""
        network = self.network
        listening = lambda port, kind="t": lambda _: f":{port} " in inside(network.server, "ss", f"-Hln{kind}")
        with contextlib.ExitStack() as stack:
            words = ("iperf3", "-s", "-p", PORTS["bulk"])
            stack.enter_context(background("iperf3 -s", network.server, *words, ready=listening(PORTS["bulk"])))
            words = (self.tool.program, "serve", "--listen", f"[::]:{PORTS['requests']}")
            stack.enter_context(background("load serve", network.server, *words, ready=listening(PORTS["requests"])))
            yield

    # -- small packets

    def flood(self, subject, running, seconds=None, packets=None, rate=None, flows=FLOWS):
        words = ["--interface", "eth0", "--source-mac", self.network.mac("client", "eth0")]
        words += ["--destination-mac", running.mac, "--source", CLIENT_ADDRESS[subject.family]]
        words += ["--destination", end(subject.family, running.address, PORTS["flood"])]
        words += ["--size", FRAME, "--flows", flows]
        words += ["--seconds", seconds if seconds else PATIENCE]
        words += [] if packets is None else ["--packets", packets]
        words += [] if rate is None else ["--rate", rate]
        return self.tool.start(self.network.client, "flood", *words, core=LOAD_CORE)

    def received(self):
        path = "/sys/class/net/eth0/statistics/rx_packets"
        return int(inside(self.network.server, "cat", path))

    def received_finally(self):
        """The count once it stands still."""
        last, since = self.received(), time.monotonic()
        deadline = since + PATIENCE
        while time.monotonic() < min(since + 0.1, deadline):
            now = self.received()
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(0.02)
        return last

    def small_packets(self, subject, running):
        """As fast as one core sends them: what arrives, and the CPU of the whole machine for each."""
        warm_up = 0.3
        with self.network.sink():
            flood = self.flood(subject, running, seconds=self.seconds + warm_up + 0.5)
            process = () if running.process is None else ("--process", running.process)
            words = ("--interface", "eth0", "--warm-up", warm_up, "--seconds", self.seconds)
            counted = self.tool.ask(self.network.server, "count", *words, *process)
            offered = self.tool.answer("flood", flood)
        packets = max(counted["packets"], 1)
        return {
            "packets_per_second": counted["packets"] / counted["seconds"],
            "offered_per_second": offered["sent"] / offered["seconds"],
            "cpu_ns_per_packet": counted["busy_ns"] / packets,
            "director_ns_per_packet": counted["process_ns"] / packets,
        }

    def loss(self, subject, running, capacity):
        """A steady rate below the capacity: what part does not arrive."""
        rate = capacity * BELOW_CAPACITY
        with self.network.sink():
            before = self.received_finally()
            sent = self.tool.answer(
                "flood", self.flood(subject, running, packets=int(rate * self.seconds), rate=rate)
            )["sent"]
            arrived = self.received_finally() - before
        return {"rate": rate, "sent": sent, "lost_part": max(0, sent - arrived) / max(sent, 1)}

    # -- TCP

    def bulk(self, subject, running, streams):
        """iperf3 towards the server: bits that arrived, and the machine's CPU for each gigabyte."""
        words = ["iperf3", "-c", running.address, "-p", PORTS["bulk"], "-t", max(1, round(self.seconds))]
        words += ["-P", streams, "-J", "-O", 0]
        command = [str(word) for word in ("ip", "netns", "exec", self.network.client, "timeout", 30, *words)]
        deadline = time.monotonic() + PATIENCE
        while True:
            cpu = machine_busy()
            process = process_cpu(running.process)
            done = subprocess.run(command, text=True, capture_output=True)
            cpu, process = machine_busy() - cpu, process_cpu(running.process) - process
            try:
                report = json.loads(done.stdout)
            except ValueError:
                raise Failed(f"iperf3 failed: {(done.stderr or done.stdout).strip() or 'no answer'}") from None
            if "error" not in report:
                break
            # The server may still be busy with the end of the last test.
            if "busy" not in report["error"] or time.monotonic() > deadline:
                raise Failed(f"iperf3 failed: {report['error']}")
            time.sleep(0.1)
        received = report["end"]["sum_received"]
        gigabytes = max(received["bytes"], 1) / 1e9
        return {
            "bits_per_second": received["bits_per_second"],
            "retransmits": report["end"]["sum_sent"].get("retransmits", 0),
            "cpu_s_per_gb": cpu / gigabytes,
            "director_s_per_gb": process / gigabytes,
        }

    def requests(self, subject, running):
        """Short connections, 64 at once."""
        to = end(subject.family, running.address, PORTS["requests"])
        answer = self.tool.ask(self.network.client, "request", "--to", to, "--seconds", self.seconds)
        if answer["requests"] == 0:
            raise Failed(f"no request to {to} was answered")
        return {
            "connections_per_second": answer["per_second"],
            "failed": answer["failed"],
            "p50_us": answer["p50_us"],
            "p99_us": answer["p99_us"],
        }

    # -- UDP

    def ping(self, subject, running):
        """Round trips, one after the other, everything on one core."""
        listen = VIP[subject.family] if subject.replies_from_vip else REAL_SERVER[subject.family]
        listen = end(subject.family, listen, PORTS["ping"])
        ready = lambda _: f":{PORTS['ping']} " in inside(self.network.server, "ss", "-Hlnu")
        words = (self.tool.program, "respond", "--listen", listen)
        with background("load respond", self.network.server, *words, ready=ready, core=LOAD_CORE):
            to = end(subject.family, running.address, PORTS["ping"])
            words = ("--to", to, "--seconds", self.seconds)
            answer = self.tool.ask(self.network.client, "ping", *words, core=LOAD_CORE)
        if answer["round_trips"] == 0:
            raise Failed(f"no datagram came back from {to}")
        return {name: answer[name] for name in ("p50_us", "p99_us", "p999_us", "max_us", "lost")}

    # -- memory

    def memory(self, subject, running):
        """Bytes for each of a million connections: the process's, or the kernel's slabs."""
        with self.network.sink():
            before = resident(running.process) if running.process else slabs()
            flood = self.flood(subject, running, seconds=60, packets=MANY, rate=150_000, flows=MANY)
            self.tool.answer("flood", flood)
            self.received_finally()
            after = resident(running.process) if running.process else slabs()
        return {"bytes_per_connection": (after - before) / MANY, "megabytes_after": after / 1e6}


def machine_busy():
    """Seconds for which any core has been busy."""
    with open("/proc/stat") as lines:
        user, nice, system, _idle, _wait, irq, softirq = (int(word) for word in next(lines).split()[1:8])
    return (user + nice + system + irq + softirq) / 100


def process_cpu(process):
    """Seconds of CPU that a process has used; 0 where there is none."""
    if process is None:
        return 0
    with open(f"/proc/{process}/stat") as line:
        fields = line.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def resident(process):
    with open(f"/proc/{process}/statm") as line:
        return int(line.read().split()[1]) * 4096


def slabs():
    with open("/proc/meminfo") as lines:
        found = dict(line.split(":") for line in lines)
    return int(found["Slab"].split()[0]) * 1024


def median_and_spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values), "values": values}
