"""Whom to trust that an ICAP server over TLS is who it says. Imported only where there is one: it brings OpenSSL."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates
from twisted.internet.ssl import Certificate, optionsForClientTLS, platformTrust, trustRootFromCertificates


def certificates_in(pem: bytes) -> list[Certificate]:
    """Raises: ValueError."""
    return [Certificate.loadPEM(each.public_bytes(Encoding.PEM)) for each in load_pem_x509_certificates(pem)]


def client_tls(host: str, authorities: bytes | None) -> Any:
    """For connections to this host: its certificate must be for it, and signed by whom we trust.

    Args: `authorities` are certificates in PEM; without, the system's are trusted. Raises: ValueError.
    """
    trust = platformTrust() if authorities is None else trustRootFromCertificates(certificates_in(authorities))
    return optionsForClientTLS(host, trustRoot=trust)
