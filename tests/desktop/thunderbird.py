"""Thunderbird: preferences, and a password sealed as its own password manager seals it."""

import base64
import json
import os
import subprocess
import sys

from programs import Program
from processes import Failed
from servers import HOST, PASSWORD, USER, write

LIBRARIES = "/usr/lib/thunderbird"

PREFERENCES = {
    "mail.accountmanager.accounts": "account1,account2",
    "mail.accountmanager.defaultaccount": "account1",
    "mail.accountmanager.localfoldersserver": "server2",
    "mail.account.account1.identities": "id1",
    "mail.account.account1.server": "server1",
    "mail.account.account2.server": "server2",
    "mail.identity.id1.fullName": "Alice",
    "mail.identity.id1.useremail": f"{USER}@example.org",
    "mail.identity.id1.valid": True,
    "mail.server.server1.type": "pop3",
    "mail.server.server1.name": "POP",
    "mail.server.server1.hostname": HOST,
    "mail.server.server1.userName": USER,
    "mail.server.server1.socketType": 0,
    "mail.server.server1.authMethod": 3,
    "mail.server.server1.leave_on_server": True,
    "mail.server.server1.login_at_startup": True,
    "mail.server.server1.download_on_biff": True,
    "mail.server.server1.check_new_mail": False,
    "mail.server.server1.directory-rel": "[ProfD]Mail/pop",
    "mail.server.server2.type": "none",
    "mail.server.server2.name": "Local Folders",
    "mail.server.server2.hostname": "Local Folders",
    "mail.server.server2.userName": "nobody",
    "mail.server.server2.directory-rel": "[ProfD]Mail/Local Folders",
    # Questions and pages of a first start.
    "app.donation.eoy.version.viewed": 999,
    "datareporting.policy.dataSubmissionEnabled": False,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.rights.version": 1,
    "mail.shell.checkDefaultClient": False,
    "mail.spam.version": 1,
    "mailnews.start_page.enabled": False,
    "mailnews.start_page_override.mstone": "ignore",
    # New mail is announced by a window of its own; only errors are to open windows here.
    "mail.biff.show_alert": False,
    "mail.biff.play_sound": False,
    # There is only this machine.
    "app.update.auto": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.manage-offline-status": False,
    "offline.autoDetect": False,
}

# Runs in a process of its own, because the libraries must be found beside each other. The empty
# key identifier stands for the profile's default key.
SEAL = """
import base64, ctypes, sys
class Item(ctypes.Structure):
    _fields_ = [("type", ctypes.c_uint), ("data", ctypes.c_char_p), ("len", ctypes.c_uint)]
class Sealed(ctypes.Structure):
    _fields_ = [("type", ctypes.c_uint), ("data", ctypes.c_void_p), ("len", ctypes.c_uint)]
nss = ctypes.CDLL(sys.argv[1] + "/libnss3.so")
nss.PK11_GetInternalKeySlot.restype = ctypes.c_void_p
if nss.NSS_InitReadWrite(b"sql:" + sys.argv[2].encode()):
    sys.exit("the profile's key store cannot be made")
slot = ctypes.c_void_p(nss.PK11_GetInternalKeySlot())
if nss.PK11_NeedUserInit(slot) and nss.PK11_InitPin(slot, None, b""):
    sys.exit("the profile's key store cannot be opened")
for text in sys.argv[3:]:
    sealed = Sealed()
    clear = Item(0, text.encode(), len(text.encode()))
    if nss.PK11SDR_Encrypt(ctypes.byref(Item(0, b"", 0)), ctypes.byref(clear), ctypes.byref(sealed), None):
        sys.exit("a text cannot be sealed")
    print(base64.b64encode(ctypes.string_at(sealed.data, sealed.len)).decode())
nss.NSS_Shutdown()
"""


class Thunderbird(Program):
    name, title, package = "thunderbird", "Thunderbird", "thunderbird"
    store = "profile/Mail"
    main_window = r"Mozilla Thunderbird$"

    def prepare(self):
        preferences = {**PREFERENCES, "mail.server.server1.port": self.port}
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()]
        write(self.path("profile", "prefs.js"), "".join(lines))
        write(self.path("profile", "logins.json"), json.dumps(self.logins()))

    def logins(self):
        """The password manager's file with the account's password."""
        done = subprocess.run(
            [sys.executable, "-c", SEAL, LIBRARIES, self.path("profile"), USER, PASSWORD],
            env={**os.environ, "LD_LIBRARY_PATH": LIBRARIES},
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise Failed(f"no password for Thunderbird: {done.stderr.strip()}")
        user, password = done.stdout.split()
        login = {
            "id": 1,
            "hostname": f"mailbox://{HOST}",
            "httpRealm": f"mailbox://{HOST}",
            "formSubmitURL": None,
            "usernameField": "",
            "passwordField": "",
            "encryptedUsername": user,
            "encryptedPassword": password,
            "guid": "{6f0d0a4e-1f43-4a66-9d6c-7f7f5f0c0a17}",
            "encType": 1,
            "timeCreated": 1_700_000_000_000,
            "timeLastUsed": 1_700_000_000_000,
            "timePasswordChanged": 1_700_000_000_000,
            "timesUsed": 1,
        }
        return {"nextId": 2, "logins": [login], "version": 3}

    def command(self):
        return ["thunderbird", "--no-remote", "--profile", self.path("profile")]

    def check(self):
        self.display.key(self.main, "F5")
