"""Programs, started and waited for; and the words for what goes wrong."""

import contextlib
import json
import os
import subprocess
import tempfile
import time

from .session import ends_with_parent

# Longest wait for a program to be ready, or to answer beyond its own time.
PATIENCE = 15


class Failed(Exception):
    """What went wrong, in words for whoever runs this."""


def run(*words, stdin=None, check=True):
    words = [str(word) for word in words]
    try:
        done = subprocess.run(
            words, input=stdin, text=True, capture_output=True, timeout=2 * PATIENCE, preexec_fn=ends_with_parent
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"`{' '.join(words)}' did not end") from None
    if check and done.returncode != 0:
        raise Failed(f"`{' '.join(words)}' failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def inside(namespace, *words, stdin=None, check=True):
    return run("ip", "netns", "exec", namespace, *words, stdin=stdin, check=check)


def in_namespace(namespace, core, *words):
    """Words of a command that becomes the program itself: the process keeps its number."""
    pinned = () if core is None else ("taskset", "-c", core)
    return [str(word) for word in ("ip", "netns", "exec", namespace, *pinned, *words)]


def wait_until(what, condition, patience=PATIENCE):
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what} took longer than {patience} s")
        time.sleep(0.01)


class Background:
    """A program that runs in a namespace meanwhile."""

    def __init__(self, what, namespace, *words, core=None):
        self.what = what
        self.log = tempfile.TemporaryFile("w+")
        words = in_namespace(namespace, core, *words)
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log, preexec_fn=ends_with_parent)

    @property
    def id(self):
        """Number of the process: ip, taskset and the program are one and the same by then."""
        return self.process.pid

    def printed(self):
        self.log.seek(0)
        return self.log.read()

    def check_alive(self):
        if self.process.poll() is not None:
            raise Failed(f"{self.what} ended: {self.printed().strip() or 'without a word'}")

    def wait_ready(self, ready):
        def is_ready():
            self.check_alive()
            return ready(self.printed())

        wait_until(f"starting {self.what}", is_ready)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


@contextlib.contextmanager
def background(what, namespace, *words, ready, core=None):
    program = Background(what, namespace, *words, core=core)
    try:
        program.wait_ready(ready)
        yield program
    finally:
        program.stop()


class Tool:
    """The load generator: its commands, run in a namespace, each answering with JSON."""

    def __init__(self, program):
        self.program = program

    def start(self, namespace, command, *words, core=None):
        """Its input is open until it is asked for its answer."""
        words = in_namespace(namespace, core, self.program, command, *words)
        pipe = subprocess.PIPE
        return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, preexec_fn=ends_with_parent)

    def ask(self, namespace, command, *words, core=None):
        return self.answer(command, self.start(namespace, command, *words, core=core))

    def answer(self, command, process, patience=60):
        try:
            output, errors = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Failed(f"`load {command}' did not end") from None
        if process.returncode != 0:
            raise Failed(f"`load {command}' failed: {errors.strip()}")
        return json.loads(output)


def has(program):
    places = os.environ.get("PATH", "").split(":") + ["/usr/sbin", "/sbin"]
    return any(os.access(os.path.join(place, program), os.X_OK) for place in places)
