"""A certificate for loopback that nobody has signed but itself, for servers of tests that speak TLS."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from tests.support.ports import LOOPBACK
from tests.support.process import find_program


def self_signed(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context, and the certificate that its clients are to trust."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    command = [find_program("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    # ngx_lua compares names alone: an address has to stand where a name would.
    names = ["-subj", f"/CN={LOOPBACK}"]
    subprocess.run([*command, *names, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
