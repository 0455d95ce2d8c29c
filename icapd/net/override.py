"""Overrides on their way through a gateway: links are offered on pages, and their tokens read from requests.

A token comes in the query of the address that was blocked. REQMOD takes it out, so that the origin sees its own
address alone, and hands it on in a header, as a gateway's RESPMOD shows the request that REQMOD left. Nothing is
remembered: any front of any node with the same secret understands it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from msgspec import structs

from icapd.icap.head import HeaderLines
from icapd.net.record import Claims
from icapd.net.services import ServiceEntry
from icapd.observe.log import EventLog, EventName
from icapd.observe.metrics import Counters
from icapd.policy.decide import Policy
from icapd.policy.facts import Action, Decision, Facts, HeaderEdits
from icapd.policy.modes import Mode
from icapd.policy.override import (
    TOKENS_MAX,
    Binding,
    Seals,
    Token,
    Wrong,
    as_bound,
    can_be_lifted,
    decide_without,
    link,
    may_let_pass,
    rule_of,
    without_tokens,
)
from icapd.scan.model import ScanReport

_HEADER = b"x-icapd-override"
_IN_ANY_FORM = b"capd-"
"""In the parameter's name and in the header's, whichever letters a gateway makes large."""
_KEEP_FROM_OTHERS = HeaderEdits(
    b"Cache-Control: no-store\r\n",
    (b"cache-control", b"cdn-cache-control", b"expires", b"pragma", b"surrogate-control"),
)
"""What one user may have on their own account must not lie in the gateway's cache for all."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a block page says of overrides. `url` is empty where none is offered."""

    url: str = ""
    was_refused: bool = False


class Overrides:
    """Of one front. `clock` is the wall's, as tokens outlive processes."""

    def __init__(
        self, key: bytes, ttl_s: int, counters: Counters, log: EventLog, clock: Callable[[], float] = time.time
    ) -> None:
        self._seals = Seals(key)
        self._ttl_s = ttl_s
        self._counters = counters
        self._log = log
        self._clock = clock

    def applied(self, service: ServiceEntry, claims: Claims, transaction: str) -> ServiceEntry:
        """The service as this request meets it: with another policy when it brings a token.

        Its body is held until it is judged then, as a head that is out cannot be edited any more.
        """
        if _IN_ANY_FORM not in claims.request or not service.scans or not isinstance(service.policy, Policy):
            return service
        held = replace(service.delivery, mode=Mode.HOLD, rules=(), drips=False, from_bytes=sys.maxsize)
        policy = PolicyWithTokens(service.policy, self, claims, transaction)
        return replace(service, policy=policy, drips=False, delivery=held)

    def offer(self, decision: Decision, claims: Claims, transaction: str) -> Offer:
        """For the page of this block."""
        tokens = _tokens_in(claims.request)
        target = _target(claims.request)
        can_be = can_be_lifted(decision, claims.facts) and may_let_pass([decision], claims.facts)
        if not can_be or not claims.person or not target or _is_unasked(claims):
            return Offer("", bool(tokens))
        binding = _binding(claims, decision.rule, claims.facts.sha256)
        token = self._seals.issue(binding, transaction, int(self._clock()) + self._ttl_s)
        kept = [read.text for text in tokens if isinstance(read := self._seals.read(text, self._clock()), Token)]
        url = link(target, [*kept[: TOKENS_MAX - 1], token])
        if url:
            self._counters.add("icapd_overrides_total", ("offered",))
        return Offer(url, bool(tokens))

    def read(self, claims: Claims) -> tuple[list[Token], list[Wrong]]:
        """The tokens of a request, and what is wrong with the others."""
        read: list[Token | Wrong] = [
            Wrong.UNASKED if _is_unasked(claims) else self._seals.read(text, self._clock())
            for text in _tokens_in(claims.request)
        ]
        return [token for token in read if isinstance(token, Token)], [why for why in read if isinstance(why, Wrong)]

    def tell(self, result: str, claims: Claims, transaction: str, **fields: str) -> None:
        """Counts, and writes down who did what."""
        self._counters.add("icapd_overrides_total", (result,))
        name = EventName.OVERRIDE_USED if result == "used" else EventName.OVERRIDE_REFUSED
        said = {"result": result, **fields} if result != "used" else fields
        self._log.event(name, transaction=transaction, user=claims.user, client=claims.client, url=claims.url, **said)


class PolicyWithTokens:
    """A policy as one request with tokens meets it.

    State: `_told`, what has been written down of this request; `_used`, the tokens that counted.
    """

    def __init__(self, policy: Policy, overrides: Overrides, claims: Claims, transaction: str) -> None:
        self.policy = policy
        self._overrides = overrides
        self._claims = claims
        self._transaction = transaction
        self._tokens, wrong = overrides.read(claims)
        self._told: set[str] = set()
        self._used: set[str] = set()
        for why in wrong:
            self._tell(why.value)

    def early(self, facts: Facts, listed: ScanReport | None = None) -> Decision | None:
        """A block that no token lifts. All else is decided when the body is whole: only then can heads be edited."""
        decision = self.policy.early(facts, listed)
        if decision is None or not decision.refuses or self._token_for(decision, facts) is not None:
            return None
        return decision

    def decide(self, facts: Facts) -> Decision:
        """The answer, once the rules that a token lifts are lifted."""
        decision = self.policy.decide(facts)
        lifted: list[tuple[Decision, Token]] = []
        names: list[str] = []
        while decision.refuses and decision.rule not in names and (token := self._token_for(decision, facts)):
            lifted.append((decision, token))
            names.append(decision.rule)
            decision = decide_without(self.policy, facts, names)
        if decision.refuses:
            return decision
        if lifted:
            if not may_let_pass((block for block, _ in lifted), facts):
                return lifted[0][0]
            for block, token in lifted:
                self._tell("used", rule=block.rule, blocked=token.transaction, sha256=facts.sha256.hex())
            last = lifted[-1][0]
            decision = structs.replace(decision, action=Action.OVERRIDE, rule=last.rule, reason=last.reason)
        return structs.replace(decision, edits=self._edits(decision.edits, is_override=bool(lifted)))

    def _token_for(self, decision: Decision, facts: Facts) -> Token | None:
        if not can_be_lifted(decision, facts):
            return None
        contents = {facts.sha256}
        if not rule_of(self.policy, decision).is_judged:
            contents.add(b"")
        bindings = [_binding(self._claims, decision.rule, content) for content in contents]
        for token in self._tokens:
            if self._claims.person and any(map(token.is_for, bindings)):
                self._used.add(token.text)
                return token
        if any(token.text not in self._used for token in self._tokens):
            self._tell(Wrong.MOVED.value, rule=decision.rule)
        return None

    def _tell(self, result: str, **fields: str) -> None:
        """Once for each result and rule: policy is asked more than once about one request."""
        key = f"{result} {fields.get('rule', '')}"
        if key not in self._told:
            self._told.add(key)
            self._overrides.tell(result, self._claims, self._transaction, **fields)

    def _edits(self, edits: HeaderEdits | None, *, is_override: bool) -> HeaderEdits | None:
        if self._claims.is_response:
            return _both(edits, _KEEP_FROM_OTHERS) if is_override else edits
        tokens = ", ".join(token.text for token in self._tokens[:TOKENS_MAX])
        added = b"X-Icapd-Override: %b\r\n" % tokens.encode("ascii") if tokens else b""
        return _both(edits, HeaderEdits(added, (_HEADER,), _line_without_tokens(self._claims.request)))


def _both(first: HeaderEdits | None, second: HeaderEdits) -> HeaderEdits:
    if first is None:
        return second
    return HeaderEdits(first.added + second.added, (*first.removed, *second.removed), second.line)


def _target(request: bytes) -> bytes:
    """Of a GET, the one request that a link repeats; else empty."""
    parts = request.partition(b"\r\n")[0].split(b" ")
    return parts[1] if len(parts) == 3 and parts[0] == b"GET" else b""


def _line_without_tokens(request: bytes) -> bytes:
    parts = request.partition(b"\r\n")[0].split(b" ")
    if len(parts) != 3:
        return b""
    return b" ".join([parts[0], without_tokens(parts[1])[0], parts[2]])


def _tokens_in(request: bytes) -> list[str]:
    if _IN_ANY_FORM not in request:
        return []
    handed_on = HeaderLines(request).joined(_HEADER) or b""
    texts = [text.strip() for text in handed_on.decode("latin-1").split(",")]
    tokens = [*without_tokens(_target(request))[1], *filter(None, texts)]
    return list(dict.fromkeys(tokens))[:TOKENS_MAX]


def _binding(claims: Claims, rule: str, sha256: bytes) -> Binding:
    return Binding(
        claims.person, f"{claims.http.host}:{claims.http.port}", as_bound(_target(claims.request)), rule, sha256
    )


def _is_unasked(claims: Claims) -> bool:
    """Whether a browser says that no person asked for this: scripts cannot set these headers."""
    lines = HeaderLines(claims.request)
    mode = lines.value(b"sec-fetch-mode")
    purpose = lines.value(b"sec-purpose") or lines.value(b"purpose") or b""
    return mode not in (None, b"navigate") or b"prefetch" in purpose.lower()
