"""Rounds: each proxy in turn, again and again, so that other load on the machine affects all of them."""

import contextlib
import os
import sys
import tempfile
import time

from load import Stub
from machine import Steal
from processes import Failed
from suites import FIGURES

# Memory has come to rest when it changes less than this in so many readings, which are so far apart;
# or it is taken as it is after so many.
SETTLED = 0.002
QUIET_READINGS = 4
READINGS = 24
READING_SECONDS = 0.25
# The mail server itself, where latency is added to something.
DIRECT = "direct"


class Direct:
    """No proxy at all: the port of the mail server."""

    def __init__(self, stub):
        self.port = stub.port

    def stop(self):
        pass


class Measurement:
    """One suite with all peers that take part in it."""

    def __init__(self, suite, peers, options, cores, load, certificate, folder):
        self.suite, self.options, self.cores = suite, options, cores
        self.load, self.certificate, self.folder = load, certificate, folder
        self.peers = [peer for peer in peers if peer.takes_part(suite)]
        self.running = {}
        self.errors = []

    def run(self):
        """The rounds that count, and how many did not."""
        rounds, thrown_away = [], []
        with contextlib.ExitStack() as stack:
            stub = self._open(stack, Stub(self.options.load, self.suite, self.cores.load))
            if not self.suite.holds:
                self._start_all(stack, stub)
            while len(rounds) < self.options.rounds and self.peers and not self.options.is_over():
                number = len(rounds) + 1
                steal = Steal()
                figures = self._round(number, stub)
                percent = steal.percent()
                if percent <= self.options.max_steal:
                    rounds.append({"steal": percent, "peers": figures})
                    continue
                thrown_away.append(percent)
                say(f"{self.suite.name}: {percent:.1f} % of the CPU time was stolen in that round, which is thrown away")
                if len(thrown_away) >= self.options.rounds:
                    say(f"{self.suite.name}: given up after {len(rounds)} rounds, for too much is stolen")
                    break
        return {"rounds": rounds, "thrown_away": thrown_away, "errors": self.errors}

    @staticmethod
    def _open(stack, server):
        stack.callback(server.stop)
        return server

    def _start(self, stack, peer, stub):
        # Servers that give up root read their files as somebody else.
        folder = tempfile.mkdtemp(prefix=f"{peer.name}-", dir=self.folder)
        os.chmod(folder, 0o755)
        server = peer.start(self.suite, stub.port, self.certificate, self.cores.proxy, folder)
        self._open(stack, server)
        # Few at a time where memory is measured: what is free afterwards would be used again.
        self.load.warm_up(self.suite, server.port, 2 if self.suite.holds else 16)
        return server

    def _start_all(self, stack, stub):
        for peer in list(self.peers):
            try:
                self.running[peer.name] = self._start(stack, peer, stub)
            except Failed as failure:
                self._error(peer.name, str(failure))
                self.peers.remove(peer)
        if self.suite.figure == "added_ms":
            secured = self.certificate if self.suite.tls else None
            direct = self._open(stack, Stub(self.options.load, self.suite, self.cores.load, secured))
            self.running[DIRECT] = Direct(direct)

    def _round(self, number, stub):
        figures = {}
        turn = (number - 1) % len(self.peers)
        # Who comes first changes: nobody always follows the same one.
        order = self.peers[turn:] + self.peers[:turn]
        if DIRECT in self.running:
            report = self.load.sessions(self.suite, self.running[DIRECT].port, "real")
            figures[DIRECT] = {"p50_ms": report["session-us"]["p50"] / 1000}
        for peer in order:
            try:
                figures[peer.name] = self._one(peer, stub, figures)
            except Failed as failure:
                self._error(peer.name, str(failure))
                continue
            unit, digits = FIGURES[self.suite.figure].unit, FIGURES[self.suite.figure].digits
            value = figures[peer.name]["value"]
            say(f"{self.suite.name}: round {number} of {self.options.rounds}: {peer.title}: {value:.{digits}f} {unit}")
        return figures

    def _one(self, peer, stub, figures):
        expect = peer.denial if self.suite.logins == "denied" else "real"
        if self.suite.holds:
            with contextlib.ExitStack() as stack:
                server = self._start(stack, peer, stub)
                return self._memory(server, stub, expect)
        server = self.running[peer.name]
        logins, cpu = stub.logins(), server.cpu_seconds()
        rate = self.options.rate if self.suite.figure == "cpu_us" else None
        report = self.load.sessions(self.suite, server.port, expect, rate)
        cpu = server.cpu_seconds() - cpu
        self._check(report, stub.logins() - logins, report["sessions"])
        result = {
            "cpu_seconds": cpu,
            "sessions": report["sessions"],
            "bytes": report["bytes"],
            "sessions_per_second": report["sessions-per-second"],
            "session_us": report["session-us"],
        }
        if self.suite.figure == "added_ms":
            result["value"] = report["session-us"]["p50"] / 1000 - figures[DIRECT]["p50_ms"]
        elif self.suite.figure == "cpu_s_per_gb":
            result["value"] = cpu / (report["bytes"] / 1e9)
        else:
            result["value"] = cpu * 1e6 / report["sessions"]
        return result

    def _memory(self, server, stub, expect):
        before, logins = settled(server.pss_kib), stub.logins()
        report, seen = self.load.held(self.suite, server.port, expect, lambda held: (held, settled(server.pss_kib)))
        logins = stub.logins() - logins
        if seen is None:
            raise Failed(f"no session could be held: {report['error-kinds']}")
        self._check(report, logins, report["sessions"] if self.suite.stage == "login" else 0)
        held, after = seen
        return {"held": held, "pss_kib": after, "pss_kib_before": before, "value": (after - before) / held}

    def _check(self, report, logins, sessions):
        """A figure of sessions that went wrong is none."""
        if report["errors"]:
            raise Failed(f"{report['errors']} errors: {report['error-kinds']}")
        due = 0 if self.suite.logins == "denied" else sessions
        if logins != due:
            raise Failed(f"the mail server had {logins} logins instead of {due}")

    def _error(self, peer, text):
        self.errors.append({"peer": peer, "text": text})
        say(f"{self.suite.name}: {peer}: {text}")


def settled(reading):
    """A figure that has come to rest."""
    readings = [reading()]
    while len(readings) < READINGS:
        time.sleep(READING_SECONDS)
        readings.append(reading())
        quiet = readings[-QUIET_READINGS:]
        if len(quiet) == QUIET_READINGS and max(quiet) - min(quiet) <= SETTLED * max(quiet):
            break
    return readings[-1]


def say(text):
    """Tells how it goes, beside the table."""
    print(f"# {text}", file=sys.stderr, flush=True)
