"""Processes that are started here, and ended here, whatever happens meanwhile."""

import contextlib
import ctypes
import os
import re
import resource
import signal
import socket
import subprocess
import time

import accounting
from machine import open_files, read

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
# Time to start, and to end in good order.
START_SECONDS = 30
END_SECONDS = 5


class Failed(Exception):
    """Something did not start or did not end as it should; the text says what."""


def free_port():
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def prepared(core, group=None):
    """What a child does before it becomes its program."""
    files = open_files()

    def prepare():
        # Should this script be killed, nothing that it started stays.
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        if core is not None:
            os.sched_setaffinity(0, {core})
        if group is not None:
            group.enter()

    return prepare


class Server:
    """A server that listens on a port, with all the processes that it starts."""

    def __init__(self, name, command, port, core, folder, environment=None):
        self.name, self.port = name, port
        self.log = os.path.join(folder, "output.log")
        self.group = accounting.make(name)
        try:
            with open(self.log, "wb") as log:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=folder,
                    env={**os.environ, **(environment or {})},
                    # Ctrl-C is for this script, which ends its children itself.
                    start_new_session=True,
                    preexec_fn=prepared(core, self.group),
                )
        except BaseException:
            self.group.remove()
            raise
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.stop()
            raise

    def _wait_until_it_listens(self):
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{self.name} did not start: {read(self.log)[-1500:].strip() or 'it says nothing'}")
            # Nothing tells that a foreign process listens now.
            time.sleep(0.05)

    def pids(self):
        return self.group.pids(self.process.pid)

    def cpu_seconds(self):
        return self.group.cpu_seconds(self.process.pid)

    def pss_kib(self):
        """Memory, shared pages divided among those that share them."""
        rollups = (read(f"/proc/{pid}/smaps_rollup") for pid in self.pids())
        return sum(int(found[1]) for rollup in rollups if (found := re.search(r"^Pss:\s+(\d+) kB", rollup, re.M)))

    def stop(self):
        # Before the first is gone: afterwards its children are somebody else's.
        family = {pid: accounting.started(pid) for pid in self.pids()}
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_SECONDS)
        # By its start a process is known again, should its number be another's by now.
        left = {pid for pid, start in family.items() if start and accounting.started(pid) == start}
        for pid in left | set(self.pids()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.group.remove()
