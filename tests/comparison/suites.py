"""What is measured: one entry a figure. Nothing here knows a peer or a process."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Suite:
    name: str
    title: str
    # What is told of a peer: see FIGURES.
    figure: str
    # What the proxy is to do with logins: "passed" or "denied".
    logins: str
    scenario: str
    sessions: int
    connections: int
    messages: int = 20
    size: int = 20_000
    # Of the scenario hold: "banner" or "login".
    stage: str = ""
    tls: bool = False

    @property
    def holds(self):
        return self.scenario == "hold"

    @property
    def base(self):
        """The name without TLS."""
        return self.name.removesuffix("-tls")

    def scaled(self, factor):
        """The same with fewer or more sessions, for a quick look or a long one."""
        if self.holds:
            return dataclasses.replace(self, connections=max(10, round(self.connections * factor)))
        sessions = max(self.connections, round(self.sessions * factor))
        return dataclasses.replace(self, sessions=sessions)


@dataclasses.dataclass(frozen=True)
class Figure:
    unit: str
    digits: int


FIGURES = {
    "cpu_us": Figure("µs of CPU a session", 0),
    "cpu_s_per_gb": Figure("s of CPU a GB", 3),
    "pss_kib": Figure("KiB of memory a connection", 2),
    "added_ms": Figure("ms added, p50", 3),
}

# Many are held: the kernel may give memory in pages of 2 MB, a quarter of a KiB for each of 8,000.
_CLEARTEXT = [
    Suite("denied", "denied poll", "cpu_us", "denied", "poll", 10_000, 64),
    Suite("passed", "passed poll", "cpu_us", "passed", "poll", 10_000, 64),
    Suite("passed-empty", "passed poll of an empty maildrop", "cpu_us", "passed", "poll", 10_000, 64, messages=0),
    Suite("uidl", "passed poll with CAPA, LIST, UIDL", "cpu_us", "passed", "poll-uidl", 8_000, 64),
    Suite("bulk", "RETR of messages of 1 MB", "cpu_s_per_gb", "passed", "bulk", 40, 8, messages=25, size=1_000_000),
    Suite("memory-banner", "idle at the banner", "pss_kib", "passed", "hold", 0, 8_000, stage="banner"),
    Suite("memory-posed", "idle after a denied login", "pss_kib", "denied", "hold", 0, 8_000, stage="login"),
    Suite("memory-relayed", "idle after a passed login", "pss_kib", "passed", "hold", 0, 8_000, stage="login"),
    Suite("latency", "a passed poll, one at a time", "added_ms", "passed", "poll", 1_000, 1),
]

SUITES = {
    suite.name: suite
    for plain in _CLEARTEXT
    for suite in (
        plain,
        dataclasses.replace(plain, name=plain.name + "-tls", title=plain.title + ", TLS", tls=True),
    )
}
# All in cleartext first: what somebody reads who breaks off.
SUITES = dict(sorted(SUITES.items(), key=lambda item: item[1].tls))
