"""Who may ask over HTTP: bearer tokens."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence

_BEARER = re.compile(rb"bearer +([!-~]{1,4096})", re.IGNORECASE)


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
