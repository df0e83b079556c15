"""One certificate for all proxies, so that they have the same handshake."""

import os
import shutil
import subprocess

from processes import Failed


class Certificate:
    """Of a P-256 key, signed by itself, for 127.0.0.1; as files in a folder."""

    def __init__(self, folder):
        self.chain, self.key, self.both = (
            os.path.join(folder, name) for name in ("chain.pem", "key.pem", "both.pem")
        )
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-days", "30", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        made = subprocess.run([*command, "-keyout", self.key, "-out", self.chain], capture_output=True, text=True)
        if made.returncode:
            raise Failed(f"openssl made no certificate: {made.stderr.strip()}")
        with open(self.both, "w") as both:
            for path in (self.chain, self.key):
                with open(path) as file:
                    both.write(file.read())
        # Servers that give up root read them as somebody else; the key is of no value to anybody.
        for path in (self.chain, self.key, self.both):
            os.chmod(path, 0o644)

    @staticmethod
    def missing():
        """What must be there and is not."""
        return None if shutil.which("openssl") else "openssl is not installed; Debian package openssl"
