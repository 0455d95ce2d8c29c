"""What a reply says of the body: icapd's X-Response-Info, the headers of other products, or the bare status. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from icapd.errors import PeerProtocolError
from icapd.icap.reply import ReplyHead

_THREAT = re.compile(r"Threat=([^;]+)")
_SENT_HTTP_STATUS = 200


class Said(NamedTuple):
    """The parts of X-Response-Info, or what other headers have of them; None for what nobody said."""

    verdict: str | None = None
    finding: str | None = None
    kind: str | None = None
    action: str | None = None
    rule: str | None = None
    outcome: str | None = None


class Outcome(NamedTuple):
    """What became of the body. `is_blocked` is None when the reply decides nothing: OPTIONS, or an ICAP error."""

    is_blocked: bool | None
    said: Said

    @property
    def allowed_as(self) -> str:
        return "MONITORED" if self.said.action == "monitor" else "ALLOWED"

    @property
    def text(self) -> str:
        """Verdict, finding and rule in a line."""
        said = self.said
        text = said.verdict or "no verdict given"
        if said.finding:
            text += f", {said.finding}" + (f" ({said.kind})" if said.kind else "")
        return text + (f", by the rule {said.rule}" if said.rule else "")


def read_outcome(head: ReplyHead, method: str) -> Outcome:
    """Raises: PeerProtocolError for a 200 that returns nothing although it must."""
    said = _said(head)
    if method == "OPTIONS" or head.status not in (200, 204):
        return Outcome(None, said)
    if head.status == 200 and not head.http_head:
        raise PeerProtocolError("status 200 with no HTTP message in it")
    return Outcome(_is_blocked(head, method, said), said)


def _is_blocked(head: ReplyHead, method: str, said: Said) -> bool:
    """By what the server says it did; without that, by what came back in place of what was sent."""
    if head.status == 204:
        return False
    if said.action is not None:
        return said.action in ("block", "redirect")
    if method == "REQMOD":
        return not head.is_request
    return said.finding is not None or head.http_status != _SENT_HTTP_STATUS


def _said(head: ReplyHead) -> Said:
    info = head.field("x-response-info")
    if info is not None:
        verdict, *pairs = (part.strip() for part in info.split(";"))
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        return Said(verdict or None, *(values.get(key) for key in Said._fields[1:]))
    threat = _THREAT.search(head.field("x-infection-found") or "")
    return Said(finding=threat[1] if threat else head.field("x-virus-id"))
