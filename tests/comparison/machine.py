"""The machine: its cores, steal time, and description."""

import os
import platform
import re
import resource

MOST_FILES = 40_000


def read(path):
    """A file's text; empty where there is none, as of a process that has ended."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


class Cores:
    """Which core is the proxy's, and which is for the load and the mail server."""

    def __init__(self):
        usable = sorted(os.sched_getaffinity(0))
        self.pinned = len(usable) > 1
        self.load = usable[0] if self.pinned else None
        self.proxy = usable[-1] if self.pinned else None

    def __str__(self):
        if not self.pinned:
            return "one core for everything"
        return "the proxy on one core, the load and the mail server on another"


class Steal:
    """The share of CPU time that the hypervisor took since this was made, in percent."""

    def __init__(self):
        self.stolen, self.total = self._ticks()

    @staticmethod
    def _ticks():
        fields = [int(field) for field in read("/proc/stat").split("\n", 1)[0].split()[1:9]]
        # The eighth is steal; kernels without it have no hypervisor to speak of.
        return (fields[7] if len(fields) > 7 else 0), sum(fields)

    def percent(self):
        stolen, total = self._ticks()
        return 100 * (stolen - self.stolen) / max(1, total - self.total)


def open_files():
    """How many files a process may open when it asks for as many as it may; and no more than help:
    some servers take memory for each that they might open."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)


def describe():
    """A line about the machine, for readers who compare the figures with their own."""
    model = re.search(r"^model name\s*: (.*)$", read("/proc/cpuinfo"), re.M)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", read("/proc/meminfo"), re.M)
    cores = os.cpu_count()
    parts = [f"{cores} core{'s' if cores != 1 else ''}", model[1].strip() if model else platform.machine()]
    if memory:
        parts.append(f"{round(int(memory[1]) / 2**20)} GiB")
    parts.append(f"Linux {platform.release().split('-')[0]}")
    return ", ".join(parts)
