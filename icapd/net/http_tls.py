"""The TLS context of HTTP listeners. Imported only where there is one: it brings OpenSSL."""

from __future__ import annotations

import re

from OpenSSL.crypto import FILETYPE_PEM, X509, load_certificate, load_privatekey
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, trustRootFromCertificates

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def tls_context(certificate: bytes, private_key: bytes, client_ca: bytes) -> CertificateOptions:
    """A server's side of TLS 1.2 and 1.3, from PEM. With `client_ca`, a client without a certificate of it is cut off
    in the handshake."""
    own, *chain = _certificates(certificate)
    authorities = [Certificate(authority) for authority in _certificates(client_ca)]
    return CertificateOptions(
        privateKey=load_privatekey(FILETYPE_PEM, private_key),
        certificate=own,
        extraCertChain=chain,
        trustRoot=trustRootFromCertificates(authorities) if authorities else None,
        raiseMinimumTo=TLSVersion.TLSv1_2,
        acceptableProtocols=[b"http/1.1"],
    )


def _certificates(pem: bytes) -> list[X509]:
    return [load_certificate(FILETYPE_PEM, block) for block in _PEM.findall(pem)]
