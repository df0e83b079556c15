"""A display without a screen, with a window manager, and what is to be seen on it."""

import os
import re
import subprocess

from processes import Failed, start, wait_until

START_SECONDS = 30
ASK_SECONDS = 10
SIZE = "1280x900x24"
# Programs have windows that nobody can see, for their own purposes.
LEAST_SIDE = 30


class Display:
    """A display for one program."""

    def __init__(self, folder):
        reading, writing = os.pipe()
        log = os.path.join(folder, "display.log")
        # It takes a free number by itself, and says which.
        start(["Xvfb", "-displayfd", str(writing), "-screen", "0", SIZE, "-nolisten", "tcp"], log, files=(writing,))
        os.close(writing)
        with os.fdopen(reading) as pipe:
            number = pipe.readline().strip()
        if not number:
            raise Failed(f"Xvfb does not start (see {log})")
        self.environment = {**os.environ, "DISPLAY": f":{number}"}
        # Dialogs get focus and titles only if somebody manages windows.
        start(["openbox", "--sm-disable"], log, self.environment)
        wait_until(self.is_managed, START_SECONDS, "the window manager does not start")

    def ask(self, *command):
        """What a program about windows says; nothing if the window has gone meanwhile."""
        try:
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=ASK_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"a window does not answer: {' '.join(command)}") from None
        return done.stdout if done.returncode == 0 else ""

    def is_managed(self):
        return "window id" in self.ask("xprop", "-root", "_NET_SUPPORTING_WM_CHECK")

    def windows(self):
        """Titles by the identities of the windows that can be seen."""
        listed = self.ask("xprop", "-root", "_NET_CLIENT_LIST").partition("#")[2]
        titles = {}
        for identity in re.findall(r"0x[0-9a-f]+", listed):
            named = self.ask("xprop", "-id", identity, "-notype", "_NET_WM_NAME", "WM_NAME")
            if named:
                found = re.search(r'NAME = "(.*)"', named)
                titles[identity] = found[1].replace('\\"', '"') if found else "(no title)"
        return {**titles, **self.unmanaged_windows()}

    def unmanaged_windows(self):
        """Windows that bypass the window manager: notices of new mail and of errors, menus."""
        titles = {}
        for line in self.ask("xwininfo", "-root", "-children").splitlines():
            found = re.match(r'\s+(0x[0-9a-f]+) (.*): \((.+)\)\s+(\d+)x(\d+)\+', line)
            if not found:
                continue
            identity, title, _, width, height = found.groups()
            if min(int(width), int(height)) >= LEAST_SIDE and "IsViewable" in self.ask("xwininfo", "-id", identity):
                titles[identity] = title.strip('"')
        return titles

    def key(self, window, key):
        """Has a window take a key."""
        self.ask("xdotool", "windowactivate", "--sync", window)
        self.ask("xdotool", "key", "--clearmodifiers", key)

    def screenshot(self, path):
        self.ask("import", "-window", "root", path)
