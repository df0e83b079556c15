"""Processes that are started here, and ended here with everything that they have started."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LIBC = ctypes.CDLL(None, use_errno=True)
# How long a process may take to end in good order.
END_SECONDS = 5
# How often a condition that nothing announces is looked at.
PAUSE_SECONDS = 0.1


class Failed(Exception):
    """Something did not happen as it should; the text says what."""


def adopt_orphans():
    """Makes processes whose parent has ended children of this one, so that they are found at the end."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)


def wait_until(condition, seconds, failure):
    """Waits until a condition holds and returns its value; `failure` says what did not happen."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Failed(f"{failure} within {seconds} seconds")
        time.sleep(PAUSE_SECONDS)
    return value


def start(command, log, environment=None, folder=None, files=()):
    """Starts a process in a session of its own; what it says goes to the file `log`."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=environment,
            pass_fds=files,
            start_new_session=True,
            # If this script is killed, what it started ends too.
            preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
        )


def stop(process):
    """Ends a process in good order, or by force if that takes too long."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
        return
    process.kill()
    process.wait()


def descendants():
    """The processes that this one has started, directly or not."""
    children = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
                # The name stands in parentheses and may hold anything; state and parent follow.
                state, parent = stat.read().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(pid))
    found, parents = [], [os.getpid()]
    while parents:
        parents = [child for parent in parents for child in children.get(parent, [])]
        found += parents
    return found


def end_everything():
    """Ends all descendants: first in good order, then by force."""
    for number, seconds in ((signal.SIGTERM, END_SECONDS), (signal.SIGKILL, END_SECONDS)):
        for pid in descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        with contextlib.suppress(Failed):
            wait_until(lambda: not descendants(), seconds, "")
            break
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
