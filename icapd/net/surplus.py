"""The connection of one client more than there may be."""

from __future__ import annotations

from icapd.icap import Reply
from icapd.net.protocol import IcapProtocol


class SurplusProtocol(IcapProtocol):
    """Says 503 (RFC 3507 §4.3.3), and reads nothing of what is asked.

    At once, so that its place is soon free; what the client has sent meanwhile is dropped, as a reset would destroy
    the answer.
    """

    def connectionMade(self) -> None:
        self.send(Reply(503, self._gateway.services.istag, close=True))
        self._linger()
