"""Who may ask over HTTP: bearer tokens, and the TLS context that may want a client's certificate."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence

from OpenSSL.crypto import FILETYPE_PEM, X509, load_certificate, load_privatekey
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, trustRootFromCertificates

_BEARER = re.compile(rb"bearer +([!-~]{1,4096})", re.IGNORECASE)
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Tokens:
    """The tokens that are good, as SHA-256 digests. With none, everybody who got this far may ask."""

    def __init__(self, digests: Sequence[bytes]) -> None:
        self._digests = tuple(digests)

    @property
    def are_needed(self) -> bool:
        return bool(self._digests)

    def allow(self, authorization: bytes | None) -> bool:
        """Whether an Authorization header holds one of them.

        All are compared, and digests of one length: the time taken tells neither which token nor how much of one.
        """
        if not self._digests:
            return True
        bearer = _BEARER.fullmatch(authorization or b"")
        if bearer is None:
            return False
        digest = hashlib.sha256(bearer[1]).digest()
        return sum([hmac.compare_digest(digest, good) for good in self._digests]) > 0


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
