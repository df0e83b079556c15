"""The load generator and the mail server: reprieve-load on its own core."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import time

from processes import Failed, prepared

# No run takes longer; a session that does is an error much earlier.
RUN_SECONDS = 300
SESSION_TIMEOUT = "30s"


class Stub:
    """The mail server behind the proxies."""

    def __init__(self, binary, suite, core, certificate=None):
        command = [binary, "serve", "--listen", "127.0.0.1:0"]
        command += ["--messages", str(suite.messages), "--size", str(suite.size)]
        if certificate:
            command += ["--tls-cert", certificate.chain, "--tls-key", certificate.key]
        self.process = _start(command, core)
        line = self.process.stdout.readline().decode()
        if not line.startswith("listening on "):
            self.stop()
            raise Failed(f"the mail server did not start: {line.strip() or 'see above'}")
        self.port = int(line.rsplit(":", 1)[1])

    def logins(self):
        """Logins that it has had so far."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall(b"XCOUNT\r\nQUIT\r\n")
            said = b"".join(iter(lambda: connection.recv(4096), b""))
        return int(re.search(rb"logins=(\d+)", said)[1])

    def stop(self):
        self.process.kill()
        self.process.communicate()


class Load:
    """A program that puts load on a port, for one suite."""

    def __init__(self, binary, core, users):
        self.binary, self.core, self.users = binary, core, users

    def _command(self, suite, port, scenario, sessions, connections, expect):
        command = [self.binary, "run", "--json", "--connect", f"127.0.0.1:{port}", "--timeout", SESSION_TIMEOUT]
        command += ["--scenario", scenario, "--connections", str(connections), "--users", str(self.users)]
        command += ["--messages", str(suite.messages), "--size", str(suite.size), "--expect", expect]
        command += ["--sessions", str(sessions)] if sessions else []
        return command + (["--tls", "--insecure"] if suite.tls else [])

    def warm_up(self, suite, port, connections=16):
        """Logs each user in once."""
        sessions = self.users
        report = self._run(self._command(suite, port, "poll", sessions, connections, "either"))
        if report["errors"]:
            raise Failed(f"the warm-up had errors: {report['error-kinds']}")

    def sessions(self, suite, port, expect, rate=None):
        """Sessions that come and go; the report of them."""
        command = self._command(suite, port, suite.scenario, suite.sessions, suite.connections, expect)
        return self._run(command + (["--rate", str(rate)] if rate else []))

    def held(self, suite, port, expect, look):
        """Sessions that rest: calls `look` with their number while they do; the report, and what
        `look` returned."""
        command = self._command(suite, port, "hold", None, suite.connections, expect)
        # A port is one of 28,000 for each address: many addresses leave room.
        command += ["--stage", suite.stage, "--hold-for", f"{RUN_SECONDS}s", "--source", "127.0.1.0/24"]
        process = _start(command, self.core)
        try:
            line = _first_line(process.stdout, RUN_SECONDS)
            event = json.loads(line or "{}")
            seen = look(event["connections"]) if event.get("event") == "holding" else None
            process.send_signal(signal.SIGINT)
            return _report(process, command), seen
        finally:
            _end(process)

    def _run(self, command):
        process = _start(command, self.core)
        try:
            return _report(process, command)
        finally:
            _end(process)


def _start(command, core):
    # Unbuffered, so that what `select` sees is all there is.
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
        preexec_fn=prepared(core),
    )


def _first_line(pipe, seconds):
    deadline, line = time.monotonic() + seconds, b""
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise Failed("the load did not come about in time")
        byte = os.read(pipe.fileno(), 1)
        if not byte:
            break
        line += byte
    return line.decode()


def _report(process, command):
    try:
        output, _ = process.communicate(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        raise Failed(f"the load took longer than {RUN_SECONDS} s") from None
    lines = output.decode().splitlines()
    if process.returncode not in (0, 1) or not lines:
        raise Failed(f"the load failed ({process.returncode}): {' '.join(command)}")
    return json.loads(lines[-1])


def _end(process):
    if process.poll() is None:
        process.kill()
        process.communicate()
