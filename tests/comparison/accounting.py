"""CPU time of a process and of all processes that it starts, including those that have ended.

A control group counts in nanoseconds (version 1, cpuacct) or microseconds (version 2), without gaps.
If none can be created, /proc is read, which counts in ticks of a hundredth of a second.
"""

import os
import re
import time

from machine import read

TICKS = os.sysconf("SC_CLK_TCK")


class ControlGroup:
    """A group of its own, below the one that this process is in."""

    def __init__(self, folder, file, pattern, nanoseconds):
        self.folder, self.file = folder, os.path.join(folder, file)
        self.pattern, self.nanoseconds = pattern, nanoseconds

    def enter(self):
        """Moves the calling process in: between fork and exec, so that nothing is missed."""
        with open(os.path.join(self.folder, "cgroup.procs"), "w") as file:
            file.write("0")

    def cpu_seconds(self, _root):
        return int(re.search(self.pattern, read(self.file), re.M)[1]) * self.nanoseconds / 1e9

    def pids(self, _root):
        return [int(pid) for pid in read(os.path.join(self.folder, "cgroup.procs")).split()]

    def remove(self):
        # The kernel keeps a group busy for a moment after its last process has ended, and
        # version 1 has no event for that.
        for _ in range(100):
            try:
                return os.rmdir(self.folder)
            except FileNotFoundError:
                return None
            except OSError:
                time.sleep(0.02)
        print(f"# the control group {self.folder} is left", flush=True)
        return None


class ProcTree:
    """Without a control group: the processes below one, by /proc."""

    def enter(self):
        pass

    def cpu_seconds(self, root):
        return sum(sum(stat[1]) for pid in self.pids(root) if (stat := _stat(pid))) / TICKS

    def pids(self, root):
        children = {}
        for name in os.listdir("/proc"):
            if name.isdigit() and (stat := _stat(int(name))):
                children.setdefault(stat[0], []).append(int(name))
        found, todo = [], [root]
        while todo:
            pid = todo.pop()
            if _stat(pid):
                found.append(pid)
            todo += children.get(pid, [])
        return found

    def remove(self):
        pass


def started(pid):
    """When a process began, in ticks since the machine did; nothing where there is none."""
    fields = _fields(pid)
    return fields and int(fields[19])


def _stat(pid):
    """A process's parent, and its CPU time and that of its children that have ended."""
    fields = _fields(pid)
    return fields and (int(fields[1]), [int(ticks) for ticks in fields[11:15]])


def _fields(pid):
    """What /proc tells after the name, which may have anything in it."""
    text = read(f"/proc/{pid}/stat")
    return text[text.rindex(")") + 2 :].split() if text else None


def _mounts():
    """Where control groups are, and which kind: (folder, "cpuacct" or "v2")."""
    for line in read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        folder = before.split()[4]
        if kind == "cgroup" and "cpuacct" in options.split(","):
            yield folder, "cpuacct"
        elif kind == "cgroup2":
            yield folder, "v2"


def _own_group(kind):
    """The group of this process within its hierarchy."""
    for line in read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if (kind == "v2" and not controllers) or kind in controllers.split(","):
            return path
    return "/"


def make(name):
    """A control group of this name; where none can be made, the tree in /proc."""
    # In a container the group's path may be that of the machine, which is not there: then the top is
    # the own group.
    places = [
        (os.path.join(folder, below.lstrip("/")), kind)
        for folder, kind in sorted(_mounts(), key=lambda mount: mount[1])
        for below in (_own_group(kind), "/")
    ]
    for folder, kind in places:
        path = os.path.join(folder, f"reprieve-compare-{os.getpid()}-{name}")
        if kind == "cpuacct":
            group = ControlGroup(path, "cpuacct.usage", r"^(\d+)", 1)
        else:
            group = ControlGroup(path, "cpu.stat", r"^usage_usec (\d+)", 1000)
        try:
            os.mkdir(path)
        except OSError:
            continue
        if re.search(group.pattern, read(group.file), re.M) and os.access(path + "/cgroup.procs", os.W_OK):
            return group
        group.remove()
    return ProcTree()


def how():
    """Which of them is used here."""
    group = make("trial")
    group.remove()
    if isinstance(group, ProcTree):
        return "/proc, in ticks of %d ms" % (1000 // TICKS)
    return "a control group"
