"""Evolution: sources of its data server, and a password in a keyring that is open."""

import os

from programs import Program
from processes import Failed, wait_until
from servers import HOST, PASSWORD, USER, write

START_SECONDS = 30

ACCOUNT = """\
[Data Source]
DisplayName=POP
Enabled=true
Parent=

[Mail Account]
BackendName=pop
IdentityUid=identity
NeedsInitialSetup=false

[Authentication]
Host={host}
Method=
Port={port}
ProxyUid=system-proxy
RememberPassword=true
User={user}

[Security]
Method=none

[Pop Backend]
KeepOnServer=true

[Refresh]
Enabled=false
"""

IDENTITY = """\
[Data Source]
DisplayName=Alice
Enabled=true
Parent=account

[Mail Identity]
Address={user}@example.org
Name=Alice
"""

SETTINGS = """\
[org/gnome/evolution/mail]
send-recv-on-start=true
send-recv-all-on-start=true
prompt-check-if-default-mailer=false
[org/gnome/evolution-data-server]
network-monitor-gio-name='always-online'
"""

# Evolution shows errors in a bar within its main window; the accessibility interface (AT-SPI) can
# read it. Its module belongs to Debian's Python, which may not be the one that runs this.
PYTHON = "/usr/bin/python3"
BARS = """
import sys
import gi
gi.require_version("Atspi", "2.0")
from gi.repository import Atspi

def look(widget, in_bar):
    if widget is None or not widget.get_state_set().contains(Atspi.StateType.SHOWING):
        return
    in_bar = in_bar or widget.get_role() == Atspi.Role.INFO_BAR
    if in_bar and widget.get_role() == Atspi.Role.LABEL and widget.get_name():
        print(" ".join(widget.get_name().split()))
    elif in_bar and sys.argv[1] == "close" and widget.get_role() == Atspi.Role.PUSH_BUTTON:
        widget.get_action_iface().do_action(0)
    for number in range(min(widget.get_child_count(), 200)):
        look(widget.get_child_at_index(number), in_bar)

desktop = Atspi.get_desktop(0)
for number in range(desktop.get_child_count()):
    program = desktop.get_child_at_index(number)
    if program is not None and program.get_name() == "evolution":
        windows = program.get_child_count()
        print("windows:", windows)
        for window in range(windows):
            look(program.get_child_at_index(window), False)
"""


class Evolution(Program):
    name, title, package = "evolution", "Evolution", "evolution"
    more_packages = ("gir1.2-atspi-2.0", "gnome-keyring", "libsecret-tools", "python3-gi")
    store = ".local/share/evolution/mail/local"
    main_window = r"Evolution$|^Mail$"

    def prepare(self):
        self.environment.update(GSETTINGS_BACKEND="keyfile", WEBKIT_DISABLE_COMPOSITING_MODE="1", NO_AT_BRIDGE="0")
        sources = self.path(".config", "evolution", "sources")
        write(os.path.join(sources, "account.source"), ACCOUNT.format(user=USER, host=HOST, port=self.port))
        write(os.path.join(sources, "identity.source"), IDENTITY.format(user=USER))
        write(self.path(".config", "glib-2.0", "settings", "keyfile"), SETTINGS)
        self.open_keyring()

    def notices(self, order="show"):
        said = self.run(PYTHON, "-c", BARS, order).stdout.splitlines()
        if not said or not said[0].startswith("windows: ") or said[0] == "windows: 0":
            raise Failed("Evolution does not tell screen readers what it shows")
        return said[1:]

    def dismiss(self):
        super().dismiss()
        wait_until(lambda: not self.notices("close"), START_SECONDS, "the bar with an error does not close")

    def open_keyring(self):
        self.run("gnome-keyring-daemon", "--unlock", "--components=secrets", said="keyring")
        attributes = ("e-source-uid", "account", "eds-origin", "evolution-data-server")
        done = self.run("secret-tool", "store", "--label=POP", *attributes, said=PASSWORD)
        if done.returncode != 0:
            raise Failed(f"no keyring for Evolution: {done.stderr.strip()}")

    def command(self):
        return ["evolution", "--component=mail"]

    def check(self):
        self.display.key(self.main, "F12")
