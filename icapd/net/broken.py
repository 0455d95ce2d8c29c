"""Remembers whose transfer a hit behind a drip cut off: a retry gets the page that its first try could not show.

Only for GET, whose repetition asks for the same content again, and only for the client, user and service it happened
to.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from icapd.icap import RequestHead
from icapd.net.record import Claims
from icapd.policy.decide import Decides
from icapd.policy.facts import Decision
from icapd.scan.model import ScanReport, Verdict

ENTRIES_MAX = 4096
_OF_CONTENT = frozenset({Verdict.MALICIOUS, Verdict.FORBIDDEN, Verdict.SUSPICIOUS, Verdict.UNSCANNABLE})
"""Verdicts that a second try would get again; an error may be over by then."""

_Key = tuple[str, str, str, str, bytes]


class BrokenTransfers:
    """State: `_entries`, reports with the time they expire at and the body's digest, oldest first."""

    def __init__(self, ttl_s: float, clock: Callable[[], float], entries_max: int = ENTRIES_MAX) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries_max = entries_max
        self._entries: OrderedDict[_Key, tuple[float, ScanReport, bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def remember(self, head: RequestHead, claims: Claims, report: ScanReport) -> None:
        """Notes that this request's answer was cut off because of `report`."""
        if self._ttl_s <= 0 or report.verdict not in _OF_CONTENT or not _can_repeat(claims):
            return
        key = _key(head, claims)
        self._entries.pop(key, None)
        self._entries[key] = (self._clock() + self._ttl_s, report, claims.facts.sha256)
        if len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def decide(self, head: RequestHead, claims: Claims, policy: Decides) -> Decision | None:
        """The block that the same request's last try could not show, and its report with the facts.

        None where there was none, or where policy does not block it any more: then the body is judged anew.
        """
        if not self._entries or not _can_repeat(claims):
            return None
        key = _key(head, claims)
        found = self._entries.get(key)
        if found is None:
            return None
        expires_at, report, sha256 = found
        facts = claims.facts
        if expires_at > self._clock():
            facts.report, facts.sha256 = report, sha256
            decision = policy.decide(facts)
            if decision.refuses:
                return decision
        facts.report, facts.sha256 = None, b""
        del self._entries[key]
        return None


def _can_repeat(claims: Claims) -> bool:
    return claims.is_response and claims.http.method == "GET"


def _key(head: RequestHead, claims: Claims) -> _Key:
    """Service, client, user, host (an origin-form line does not have it) and the request line, query and all."""
    line = head.http_request.partition(b"\r\n")[0]
    return claims.facts.service or "", claims.client, claims.user, claims.http.host, line
