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


class Authority:
    """A certificate authority of one test, and what it signs: for servers on loopback, and for their clients."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        subject = ["-subj", f"/CN={folder.name}", "-keyout", str(self._key), "-out", str(self.certificate)]
        _openssl("req", "-x509", *_NEW_KEY, "-days", "2", *subject)

    def files(self, name: str) -> dict[str, str]:
        """A certificate of that name for loopback, and its key, by the names of configuration keys."""
        certificate, key, request = (self.folder / f"{name}.{kind}" for kind in ("pem", "key", "csr"))
        if not certificate.exists():
            _openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
            key.chmod(0o600)
            extensions = self.folder / f"{name}.ext"
            extensions.write_text(f"subjectAltName=IP:{LOOPBACK}\n")
            signer = ["-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial", "-days", "2"]
            paths = ["-in", str(request), "-out", str(certificate), "-extfile", str(extensions)]
            _openssl("x509", "-req", *signer, *paths)
        return {"certificate": str(certificate), "private_key": str(key)}

    def client(self, name: str | None, signer: Authority | None = None) -> ssl.SSLContext:
        """A client that trusts this authority; with a certificate of that name, of `signer` or of this one."""
        context = ssl.create_default_context(cafile=self.certificate)
        if name is not None:
            files = (signer or self).files(name)
            context.load_cert_chain(files["certificate"], files["private_key"])
        return context


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str) -> None:
    subprocess.run([find_program("openssl", "openssl"), *arguments], check=True, capture_output=True)
