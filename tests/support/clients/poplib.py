"""Collects new mail: poll.py ACCOUNT UIDS FOLDER

ACCOUNT has the server, the port, the user, the password and the encryption, one per line. The
encryption is empty, or `tls` or `stls` with the file of the CA certificate. UIDS remembers the
unique-ids of the messages that have been collected. FOLDER gets a file for each new message.
The exit code is 0 if there was new mail, 1 if there was none.
"""

import pathlib
import poplib
import ssl
import sys
import tempfile

account, uids, folder = map(pathlib.Path, sys.argv[1:])
host, port, user, password, tls = account.read_text().splitlines()
known = set(uids.read_text().splitlines()) if uids.exists() else set()

how, _, ca = tls.partition(" ")
if how == "tls":
    server = poplib.POP3_SSL(host, int(port), context=ssl.create_default_context(cafile=ca))
else:
    server = poplib.POP3(host, int(port))
if how == "stls":
    server.stls(ssl.create_default_context(cafile=ca))
assert "UIDL" in server.capa()
server.user(user)
server.pass_(password)
count, size = server.stat()
sizes = dict(line.split() for line in server.list()[1])
listing = dict(line.split() for line in server.uidl()[1])
assert len(sizes) == len(listing) == count, "STAT, LIST and UIDL disagree"
assert sum(map(int, sizes.values())) == size, "STAT and LIST disagree"
new = 0
for number, uid in listing.items():
    if uid.decode() in known:
        continue
    lines = server.retr(int(number))[1]
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as message:
        message.write(b"\n".join(lines))
    new += 1
server.quit()
uids.write_text("".join(uid.decode() + "\n" for uid in listing.values()))
sys.exit(0 if new else 1)
