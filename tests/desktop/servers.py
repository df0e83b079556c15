"""A real Dovecot with one mailbox, and Reprieve in front of it, on free ports of this machine."""

import json
import os
import pwd
import re
import socket

from processes import Failed, start, stop, wait_until

START_SECONDS = 30
HOST = "127.0.0.1"
USER = "alice"
PASSWORD = "desktop-secret"

# As the Rust tests have it (tests/support/dovecot/configuration.rs), without what they do not need here.
DOVECOT = """\
base_dir = {folder}/base
state_dir = {folder}/state
log_path = /dev/stderr
protocols = pop3
listen = {host}
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
mail_max_userip_connections = 0
mail_location = maildir:~/Maildir
first_valid_uid = 1
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = {mail_user} home={folder}/mail/%u
}}
{without_root}
service anvil {{
  {no_chroot}
  # A mode of 0 turns off the waiting after failed logins from one address.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service pop3-login {{
  {no_chroot}
  inet_listener pop3 {{
    port = {port}
  }}
}}
"""

MESSAGE = """\
From: Sender <sender@example.org>
To: {user}@example.org
Subject: Message {number}
Date: Tue, 10 Mar 2026 09:00:{number:02} +0100
Message-ID: <{number}@example.org>

This is message {number}.
"""

REPRIEVE = """\
drain-timeout = "1s"
policy-cache = "{cache}"

[decision-log]
path = "{decisions}"

[[virtual-server]]
name = "pop3"
listen = ["{host}:0"]
pool = "mail"
time-zone = "UTC"
on-unreachable = "{on_unreachable}"

[virtual-server.policy]
component = "interval"
settings = {{ interval = "{interval}s", reset = "never", manner = "{manner}" }}

[pool.mail]
nodes = ["{node}"]
connect-timeout = "2s"
retry-after = "1s"
health-check = {{ interval = "1s", rise = 1, fall = 1 }}
"""


def write(path, text):
    """Writes a file, and the folders above it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def read(path):
    """The text of a file; nothing if it is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def free_port():
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


class Dovecot:
    """A mail server that can be stopped and started again at the same address."""

    def __init__(self, folder):
        self.folder, self.log = folder, os.path.join(folder, "dovecot.log")
        self.port, self.process, self.delivered = free_port(), None, 0
        # Dovecot's processes run as several users, and it lets nobody read mail as root.
        root = os.getuid() == 0
        self.owner = pwd.getpwnam("mail") if root else pwd.getpwuid(os.getuid())
        name = self.owner.pw_name
        internal = f"default_internal_user = {name}\ndefault_internal_group = {name}\ndefault_login_user = {name}"
        os.makedirs(folder)
        os.chmod(folder, 0o755)
        write(os.path.join(folder, "users"), f"{USER}:{{PLAIN}}{PASSWORD}::::::\n")
        text = DOVECOT.format(
            folder=folder,
            host=HOST,
            port=self.port,
            mail_user=f"uid={self.owner.pw_uid} gid={self.owner.pw_gid}",
            without_root="" if root else internal,
            no_chroot="" if root else "chroot =",
        )
        write(os.path.join(folder, "dovecot.conf"), text)
        self.maildir = os.path.join(folder, "mail", USER, "Maildir")
        for part in ("tmp", "new", "cur"):
            os.makedirs(os.path.join(self.maildir, part))
        for path in (part for part, _, _ in os.walk(os.path.join(folder, "mail"))):
            os.chown(path, self.owner.pw_uid, self.owner.pw_gid)

    def start(self):
        self.process = start(["dovecot", "-F", "-c", os.path.join(self.folder, "dovecot.conf")], self.log)
        wait_until(self.greets, START_SECONDS, f"Dovecot does not start (see {self.log})")

    def greets(self):
        try:
            with socket.create_connection((HOST, self.port), 1) as connection:
                return connection.recv(100).startswith(b"+OK")
        except OSError:
            return False

    def stop(self):
        stop(self.process)
        wait_until(lambda: not self.greets(), START_SECONDS, "Dovecot does not end")

    def deliver(self, count=1):
        """Delivers messages as a delivery agent does: written aside, then moved in."""
        for _ in range(count):
            self.delivered += 1
            # Dovecot numbers new messages in the order of the time in their names.
            name = f"{1_700_000_000 + self.delivered}.M{self.delivered}.localhost"
            aside = os.path.join(self.maildir, "tmp", name)
            write(aside, MESSAGE.format(user=USER, number=self.delivered))
            os.chown(aside, self.owner.pw_uid, self.owner.pw_gid)
            os.rename(aside, os.path.join(self.maildir, "new", name))

    def logins(self):
        """How many logins it has accepted, by its log (the second form is that of version 2.4)."""
        return len(re.findall(rf": (Login|Logged in): user=<{USER}>", read(self.log)))

    def messages(self):
        """How many messages the mailbox has: programs are to leave them there."""
        return sum(len(os.listdir(os.path.join(self.maildir, part))) for part in ("new", "cur"))


class Reprieve:
    """The proxy, and what its decision log says of sessions."""

    def __init__(self, folder, binary, dovecot, options):
        self.log, self.decisions = os.path.join(folder, "reprieve.log"), os.path.join(folder, "decisions.jsonl")
        configuration = os.path.join(folder, "reprieve.toml")
        text = REPRIEVE.format(
            cache=os.path.join(options.folder, "compiled"),
            decisions=self.decisions,
            host=HOST,
            node=f"{HOST}:{dovecot.port}",
            interval=options.interval,
            manner=options.manner,
            on_unreachable=options.on_unreachable,
        )
        write(configuration, text)
        self.process = start([binary, "run", "--config", configuration], self.log)
        # A binary that is not optimised compiles its policy slowly.
        self.port = wait_until(self.listens, 4 * START_SECONDS, f"Reprieve does not listen (see {self.log})")

    def listens(self):
        if self.process.poll() is not None:
            raise Failed(f"Reprieve does not start: {read(self.log).strip()}")
        found = re.search(rf"listening.*{re.escape(HOST)}:(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", read(self.log)))
        return int(found[1]) if found else None

    def logins(self):
        """The logins of the sessions that have ended so far, in their order."""
        whole_lines = read(self.decisions).rpartition("\n")[0]
        logins = []
        for session in map(json.loads, whole_lines.splitlines()):
            logins += ({**login, "upgraded": session.get("upgraded", False)} for login in session["logins"])
        return logins
