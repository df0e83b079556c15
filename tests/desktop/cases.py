"""The four cases that every mail program goes through, and what must be true after each."""

import os
import time
from collections import Counter
from dataclasses import dataclass, field

from processes import PAUSE_SECONDS, Failed, stop, wait_until
from servers import Dovecot, Reprieve

# From the order to check for mail to the end of the session at the proxy.
CHECK_SECONDS = 60
# From the end of the session until the messages are in the program's store.
STORE_SECONDS = 20
# A window that says what went wrong may come late. Nothing tells that none will come.
WATCH_SECONDS = 4


@dataclass
class Row:
    """A line of the table."""

    program: str
    case: str
    expected: int
    messages: Counter = field(default_factory=Counter)
    windows: list = field(default_factory=list)
    logins: list = field(default_factory=list)
    faults: list = field(default_factory=list)

    @property
    def doubled(self):
        return sum(count - 1 for count in self.messages.values())


def is_passed(login):
    return login["disposition"] == "passed" and login.get("outcome") == "authenticated"


def is_denied(login):
    return login["verdict"] == "deny" and login["disposition"] == "posed" and not login["upgraded"]


def is_posed_for_an_outage(login):
    return login["disposition"] == "posed" and login.get("because") == "unreachable" and not login["upgraded"]


class Run:
    """One mail program in front of Reprieve in front of Dovecot."""

    def __init__(self, kind, folder, binary, options):
        self.options, self.rows = options, []
        # Logins in the decision log, and at the mail server, before the current case.
        self.seen, self.served = 0, 0
        self.dovecot = Dovecot(os.path.join(folder, "dovecot"))
        self.dovecot.start()
        self.dovecot.deliver(5)
        self.proxy = Reprieve(folder, binary, self.dovecot, options)
        self.program = kind(folder, self.proxy.port)
        self.passed_at = time.time()

    def cases(self):
        """Goes through all cases; a case that cannot be carried out ends the run with a fault."""
        self.program.prepare()
        try:
            self.case("base", 5, is_passed, self.program.launch)
            self.case("denied", 5, is_denied, self.check)
            self.let_the_interval_pass()
            self.dovecot.deliver()
            self.case("new message", 6, is_passed, self.check)
            # The policy must let the login through: otherwise the proxy does not notice the outage.
            self.let_the_interval_pass()
            self.dovecot.stop()
            self.case("outage", 6, is_posed_for_an_outage, self.check)
            self.dovecot.start()
            self.dovecot.deliver()
            self.case("after the outage", 7, is_passed, self.check)
        except Failed as failed:
            if not self.rows:
                self.rows.append(Row(self.program.title, "start", 0))
            self.rows[-1].faults.append(str(failed))
        return self.rows

    def stop(self):
        for server in (self.program, self.proxy, self.dovecot):
            if server.process and server.process.poll() is None:
                stop(server.process)

    def check(self):
        wait_until(lambda: self.program.windows()[0], CHECK_SECONDS, f"{self.program.title} has no main window")
        self.program.check()

    def let_the_interval_pass(self):
        """Waits until the policy lets the next login through; the clock runs from the last one that passed."""
        time.sleep(max(0, self.passed_at + self.options.interval + 1 - time.time()))

    def case(self, name, expected, is_right, action):
        row = Row(self.program.title, name, expected)
        self.rows.append(row)
        print(f"{row.program}: {name}", flush=True)
        action()
        self.watch(row, lambda: self.new_logins(row), CHECK_SECONDS)
        # Too many are as wrong as too few: they are counted once more at the end.
        self.watch(row, lambda: sum(self.program.messages().values()) >= expected, STORE_SECONDS)
        self.watch(row, lambda: False, WATCH_SECONDS)
        if self.options.screenshots:
            path = os.path.join(self.options.screenshots, f"{self.program.name}-{name.replace(' ', '-')}.png")
            self.program.display.screenshot(path)
        row.windows += self.program.notices()
        row.messages = self.program.messages()
        # A window of one case must not be in the way of the next.
        self.program.dismiss()
        # A session may last as long as a dialog about it is open.
        self.watch(row, lambda: self.new_logins(row), STORE_SECONDS)
        self.seen += len(self.new_logins(row))
        passed = [login["outcome-at"] for login in row.logins if is_passed(login)]
        if passed:
            self.passed_at = max(passed) / 1000
        self.judge(row, is_right)

    def new_logins(self, row):
        row.logins = self.proxy.logins()[self.seen :]
        return row.logins

    def watch(self, row, condition, seconds):
        """Notes the windows that open until a condition holds or the time is over."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not condition() and not self.program.has_ended():
            for title in self.program.windows()[1].values():
                if title not in row.windows:
                    row.windows.append(title)
            time.sleep(PAUSE_SECONDS)

    def judge(self, row, is_right):
        """Says what is wrong."""
        if self.program.has_ended():
            row.faults.append("the program has ended")
        if not row.logins:
            row.faults.append("no login reached the proxy")
        # A program may check twice: then the second login is within the interval, and denied.
        elif not is_right(row.logins[0]) or not all(is_right(login) or is_denied(login) for login in row.logins):
            row.faults.append("the proxy did not do what the case is about")
        if set(row.messages) != {str(number).encode() for number in range(1, row.expected + 1)}:
            row.faults.append(f"{len(row.messages)} different messages instead of {row.expected}")
        if row.doubled:
            row.faults.append(f"{row.doubled} messages doubled")
        if row.windows:
            row.faults.append("the user sees a window or an error")
        served = self.dovecot.logins() - self.served
        self.served += served
        if served != sum(is_passed(login) or login["upgraded"] for login in row.logins):
            row.faults.append(f"the server saw {served} logins")
        if self.dovecot.messages() != self.dovecot.delivered:
            row.faults.append(f"the server has {self.dovecot.messages()} messages of {self.dovecot.delivered}")
