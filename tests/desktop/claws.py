"""Claws Mail."""

from programs import Program
from servers import HOST, PASSWORD, USER, write

ACCOUNT = """\
[Account: 1]
account_name=POP
is_default=1
name=Alice
address={user}@example.org
protocol=0
receive_server={host}
smtp_server={host}
user_id={user}
password={password}
inbox=#mh/Mailbox/inbox
set_popport=1
pop_port={port}
ssl_pop=0
use_apop_auth=0
remove_mail=0
getall_mail=0
receive_at_get_all=1
"""

# A check at the start and no other by itself; no windows that show progress or new messages.
COMMON = """\
[Common]
check_on_startup=1
autochk_newmail=0
receive_dialog_mode=2
enable_newmsg_notify_window=0
"""

FOLDERS = """\
<?xml version="1.0"?>
<folderlist>
 <folder type="mh" name="Mailbox" path="Mail">
  <folderitem type="inbox" name="inbox" path="inbox" />
  <folderitem type="outbox" name="sent" path="sent" />
  <folderitem type="draft" name="draft" path="draft" />
  <folderitem type="queue" name="queue" path="queue" />
  <folderitem type="trash" name="trash" path="trash" />
 </folder>
</folderlist>
"""


class Claws(Program):
    name, title, package = "claws-mail", "Claws Mail", "claws-mail"
    store = "Mail"
    main_window = r"Claws Mail"
    folder, settings = ".claws-mail", "clawsrc"

    def prepare(self):
        account = ACCOUNT.format(user=USER, password=PASSWORD, host=HOST, port=self.port)
        write(self.path(self.folder, "accountrc"), account)
        write(self.path(self.folder, self.settings), COMMON)
        write(self.path(self.folder, "folderlist.xml"), FOLDERS)
        for name in ("inbox", "sent", "draft", "queue", "trash"):
            write(self.path("Mail", name, ".mh_sequences"), "")

    def command(self):
        # Before it has opened the new folder once, it counts each message twice there, Reprieve or not.
        return [self.name, "--select", "#mh/Mailbox/inbox"]

    def check(self):
        self.run(self.name, "--receive-all")
