"""The machine: what it is, and who else works on it."""

import contextlib
import os
import pathlib
import platform
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")
KERNEL_THREAD = 0x00200000
# Cores that others may use, and part of the time that the hypervisor may keep, before it counts as busy.
BUSY_CORES, BUSY_STEAL = 0.1, 0.02


class Reading:
    """How much CPU has been used, in seconds, by whom."""

    def __init__(self):
        self.at = time.monotonic()
        with open("/proc/stat") as lines:
            numbers = [int(word) / TICKS for word in next(lines).split()[1:9]]
        user, nice, system, _idle, _wait, irq, softirq, self.steal = numbers
        self.others = others_cpu()
        # What the measured work itself used, with the kernel's part in it.
        self.own = user + nice + system + irq + softirq - self.others


def since(before):
    """CPU of the measured work since a reading, and how others disturbed it, in cores."""
    after = Reading()
    seconds = max(after.at - before.at, 0.001)
    disturbed = {
        "others_cores": max(0, after.others - before.others) / seconds,
        "steal_cores": (after.steal - before.steal) / seconds,
    }
    return max(0, after.own - before.own), disturbed


def others_cpu():
    """Seconds that programs outside this session used, with what they have waited for.

    The kernel's own threads are not among them, as they may work for what is measured.
    """
    own, ticks = os.getsid(0), 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            # One that is gone meanwhile is in the count of the one that waited for it.
            with contextlib.suppress(OSError):
                fields = stat_fields(name)
                if int(fields[3]) != own and not int(fields[6]) & KERNEL_THREAD:
                    ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS


def stat_fields(process):
    """The fields of /proc/PID/stat from the state on."""
    with open(f"/proc/{process}/stat") as line:
        return line.read().rsplit(")", 1)[1].split()


def process_cpu(processes):
    """Seconds of CPU that processes have used."""
    return sum(sum(map(int, stat_fields(process)[11:13])) for process in processes) / TICKS


def family_of(process):
    """A process and its children: a proxy's worker is one."""
    children = pathlib.Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(int(child) for child in children)]


def resident(process):
    with open(f"/proc/{process}/statm") as line:
        return int(line.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def slabs():
    with open("/proc/meminfo") as lines:
        found = dict(line.split(":") for line in lines)
    return int(found["Slab"].split()[0]) * 1024


def state():
    """Whether anything else is going on, over a second."""
    before = Reading()
    time.sleep(1)
    _, disturbed = since(before)
    busy = disturbed["others_cores"] > BUSY_CORES or disturbed["steal_cores"] > BUSY_STEAL
    return {"load": [round(load, 2) for load in os.getloadavg()], **{k: round(v, 3) for k, v in disturbed.items()}, "busy": busy}


def machine():
    processor = platform.processor()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        processor = next(models, processor)
    return {"system": " ".join(os.uname()[i] for i in (0, 2, 4)), "cpu": processor, "cores": os.cpu_count()}


def versions(programs):
    """The first line that each program says of itself."""
    found = {}
    for program, *words in programs:
        with contextlib.suppress(OSError):
            done = subprocess.run((program, *words), text=True, capture_output=True)
            lines = (done.stdout or done.stderr).splitlines()
            found[os.path.basename(program)] = lines[0].strip() if lines else "?"
    return found


def commit(top):
    with contextlib.suppress(OSError):
        git = ("git", "-C", str(top), "describe", "--always", "--dirty", "--abbrev=12")
        return subprocess.run(git, text=True, capture_output=True).stdout.strip() or None
    return None
