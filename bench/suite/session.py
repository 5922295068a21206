"""A session of its own for everything that runs, so that it ends together and is weighed together.

The program that was called only waits and passes signals on; its child leads a new session and works:

- Ctrl-C reaches the child alone, which ends what it started in its own order.
- The scheduler puts a session into one group (autogroup, see sched(7)): load, director and proxy share
  a core evenly with one another, whatever else the machine does. Its weight against other work stays
  as it is unless asked for, because ksoftirqd, which works for the kernel's own ways, is not in it.
- Whatever is started is sent SIGTERM when the one that started it is gone, even by SIGKILL.
"""

import ctypes
import os
import signal
import sys

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def ends_with_parent():
    """For the time between fork and exec."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def in_own_session(work):
    """Runs `work` in a child that leads a session, and answers with the code that it ended with."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.setsid()
        ends_with_parent()
        for ending in ENDINGS:
            signal.signal(ending, end)
        if os.getppid() != parent:
            sys.exit(128 + signal.SIGTERM)
        return work()
    for ending in ENDINGS:
        signal.signal(ending, lambda number, _: os.kill(child, number))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def end(number, _):
    """Ends through the clean-up, which nothing interrupts."""
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    sys.exit(128 + number)


def prefer(nice):
    """Weighs the session against other work like a process of that niceness."""
    with open("/proc/self/autogroup", "w") as group:
        group.write(str(nice))
