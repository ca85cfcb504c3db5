# SPDX-License-Identifier: Apache-2.0
"""Certificates and password hashes, made by the openssl program."""

import base64
import shutil
import subprocess


class Authority:
    """Makes certificates with the openssl program."""

    def __init__(self, folder, name="authority"):
        self.folder, self.name = folder, name
        self.key, self.certificate = folder / f"{name}.key", folder / f"{name}.pem"
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key,
                 "-out", self.certificate, "-days", "2", "-subj", f"/CN={name}")

    @staticmethod
    def run(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    def sign(self, name, extensions, days=2):
        """Returns (certificate, key) files."""
        key, request, certificate, more = (self.folder / f"{self.name}-{name}.{end}" for end in ("key", "csr", "pem", "ext"))
        more.write_text(extensions)
        self.run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
                 "-subj", f"/CN={name}")
        self.run("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-out", certificate,
                 "-days", days, "-extfile", more)
        return certificate, key


def hashed(password):
    """bcrypt, as htpasswd -B writes it."""
    if not shutil.which("htpasswd"):
        return subprocess.run(["openssl", "passwd", "-6", password], check=True, capture_output=True, text=True).stdout.strip()
    return subprocess.run(["htpasswd", "-nbB", "x", password], check=True, capture_output=True,
                          text=True).stdout.strip().split(":", 1)[1]


def basic(pair):
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
