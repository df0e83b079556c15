"""What mail programs have in common: a home of their own, a bus, a display, and a count of messages."""

import os
import re
import subprocess
from collections import Counter

from display import Display
from processes import start, stop, wait_until

MESSAGE_ID = re.compile(rb"^Message-ID: <(\d+)@example\.org>", re.MULTILINE | re.IGNORECASE)
START_SECONDS = 90
DISMISS_SECONDS = 20


def installed_version(package):
    """The version of a Debian package; nothing if it is not installed."""
    query = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Version}", package]
    try:
        said = subprocess.run(query, capture_output=True, text=True).stdout.split()
    except FileNotFoundError:
        return None
    return said[1] if said[:1] == ["installed"] else None


class Program:
    """A mail program with a fresh profile. Each kind says how it is set up, started and told to check."""

    name = title = package = None
    # What else of Debian's packages this needs to drive it.
    more_packages = ()
    # Where it keeps messages, within its home.
    store = None
    # What the title of its main window matches.
    main_window = None

    def __init__(self, folder, port):
        self.home, self.port = os.path.join(folder, "home"), port
        self.log = os.path.join(folder, f"{self.name}.log")
        runtime = os.path.join(folder, "runtime")
        os.makedirs(self.home)
        os.makedirs(runtime, mode=0o700)
        self.display = Display(folder)
        self.environment = self.display.environment
        for name in [name for name in self.environment if name.startswith("XDG_")]:
            del self.environment[name]
        self.environment.update(
            HOME=self.home,
            XDG_RUNTIME_DIR=runtime,
            DBUS_SESSION_BUS_ADDRESS=f"unix:path={runtime}/bus",
            LC_ALL="C.UTF-8",
            LANG="C.UTF-8",
            NO_AT_BRIDGE="1",
        )
        start(
            ["dbus-daemon", "--session", "--nofork", f"--address=unix:path={runtime}/bus"],
            os.path.join(folder, "bus.log"),
            self.environment,
        )
        wait_until(lambda: os.path.exists(f"{runtime}/bus"), START_SECONDS, "the session bus does not start")
        self.process = self.main = None

    def prepare(self):
        """Writes the profile: one account, its password, messages left on the server, a check at the start."""
        raise NotImplementedError

    def command(self):
        """What starts it."""
        raise NotImplementedError

    def check(self):
        """Has it check for mail now, as its user would."""
        raise NotImplementedError

    def path(self, *parts):
        return os.path.join(self.home, *parts)

    def launch(self):
        self.process = start(self.command(), self.log, self.environment, self.home)

    def run(self, *command, said=""):
        """Runs a command in the program's surroundings, with what is said to it on its standard input."""
        return subprocess.run(
            command,
            input=said,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            cwd=self.home,
        )

    def windows(self):
        """The main window, if there is one by now, and the others with their titles."""
        windows = self.display.windows()
        if self.main is None:
            # The first that has its title: later ones may have it too.
            self.main = next((window for window, title in windows.items() if re.search(self.main_window, title)), None)
        return self.main, {window: title for window, title in windows.items() if window != self.main}

    def notices(self):
        """What it says within its main window about what went wrong, if it does so there."""
        return []

    def dismiss(self):
        """Closes all windows but the main one, as a user who does not want to be asked."""

        def is_alone():
            others = self.windows()[1]
            for window in others:
                self.display.key(window, "Escape")
            return not others

        wait_until(is_alone, DISMISS_SECONDS, "the windows that opened do not close")

    def has_ended(self):
        return self.process.poll() is not None

    def stop(self):
        stop(self.process)

    def messages(self):
        """How often it has each message."""
        counts = Counter()
        for folder, _, files in os.walk(self.path(self.store)):
            for file in files:
                try:
                    with open(os.path.join(folder, file), "rb") as content:
                        counts.update(MESSAGE_ID.findall(content.read()))
                except FileNotFoundError:
                    # Moved on while this looked.
                    pass
        return counts
