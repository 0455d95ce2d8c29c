"""Overrides: who may go on past a block, by which token, and what policy says then. Pure: the time is given.

A token is `EXPIRES.TRANSACTION.SEAL.GRANT`: when it ends (hexadecimal seconds), which transaction was blocked, and
two MACs. The seal says that the first two are ours. The grant is over them and over what they are for: one person,
one address, one rule, one content. Nothing of that can be read back.

Lifting a rule opens nothing else. One that decides by the heads is passed over, and the rest of the policy decides.
One that decides by what was found lets pass what it names itself, as if its action was monitor: whatever else was
found is still blocked by whichever rule blocks that.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote_from_bytes

import msgspec

from icapd.policy.decide import UNCOVERED, Policy
from icapd.policy.facts import Action, Decision, Facts
from icapd.policy.rules import NOTHING_COUNTS, CompiledRule
from icapd.scan.model import ScanReport, Verdict

PARAMETER: Final = b"icapd-override="
TOKENS_MAX: Final = 4
"""Of one request: as many rules can be overridden one after the other."""

_TARGET_BYTES_MAX: Final = 4096
_MAC_BYTES: Final = 16
_TOKEN: Final = re.compile(r"([0-9a-f]{8,10})\.([0-9a-f-]{1,40})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{22})")
_UNRESERVED: Final = "!#$%&'()*+,-./:;=?@[]_~|^\\"
_NOT_SCANNED: Final = ScanReport(Verdict.NOT_SCANNED)


class Wrong(enum.StrEnum):
    """Why a token does not count."""

    FORGED = "forged"
    EXPIRED = "expired"
    MOVED = "moved"
    """To another person, address, rule or content."""
    UNASKED = "unasked"
    """A script or a prefetch used it, no person."""


class Binding(msgspec.Struct, frozen=True, array_like=True):
    """What a token is for. `sha256` is empty where a rule decides by the heads alone."""

    person: str
    host: str
    target: str
    rule: str
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Token:
    """One whose seal is ours and whose time is not over. `text` is as it came."""

    text: str
    transaction: str
    _grant: str
    _seals: Seals

    def is_for(self, binding: Binding) -> bool:
        """Whether this is what it was made for."""
        return hmac.compare_digest(self._grant, self._seals.grant(self.text, binding))


class Seals:
    """Makes tokens and reads them, with a key that is derived from a secret for this alone."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def issue(self, binding: Binding, transaction: str, expires: int) -> str:
        """A token for this and nothing else, until `expires` (seconds since 1970)."""
        head = f"{expires:08x}.{transaction}"
        sealed = f"{head}.{self._mac(b'seal', head.encode())}."
        return sealed + self.grant(sealed, binding)

    def read(self, text: str, now: float) -> Token | Wrong:
        """What a peer says is a token."""
        match = _TOKEN.fullmatch(text)
        if match is None:
            return Wrong.FORGED
        expires, transaction, seal, grant = match.groups()
        if not hmac.compare_digest(seal, self._mac(b"seal", f"{expires}.{transaction}".encode())):
            return Wrong.FORGED
        return Wrong.EXPIRED if int(expires, 16) <= now else Token(text, transaction, grant, self)

    def grant(self, token: str, binding: Binding) -> str:
        """The last part of a token for this binding, from the parts before it."""
        head = token.rpartition(".")[0]
        return self._mac(b"grant", msgspec.msgpack.encode((head, binding)))

    def _mac(self, use: bytes, message: bytes) -> str:
        """As text, and compared so: other text may stand for the same bytes."""
        mac = hmac.digest(self._key, use + b"\0" + message, hashlib.sha256)[:_MAC_BYTES]
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def derived_key(secret: bytes) -> bytes:
    """The key of tokens: of no use for anything else that the same secret signs."""
    return hmac.digest(secret, b"icapd override token 1", hashlib.sha256)


# The place of a token: the query of the address that was blocked


def without_tokens(target: bytes) -> tuple[bytes, list[str]]:
    """A request's target as it was before tokens were added, and those tokens."""
    path, mark, query = target.partition(b"?")
    if PARAMETER not in query:
        return target, []
    parts = query.split(b"&")
    kept = [part for part in parts if not part.startswith(PARAMETER)]
    tokens = [part[len(PARAMETER) :].decode("latin-1") for part in parts if part.startswith(PARAMETER)]
    return (path + mark + b"&".join(kept) if kept else path), tokens


def as_bound(target: bytes) -> str:
    """A target without its tokens in the form that a browser gives it, which is also the link's."""
    return quote_from_bytes(without_tokens(target)[0], safe=_UNRESERVED)


def link(target: bytes, tokens: Collection[str]) -> str:
    """The same address with these tokens; empty when it is too long for more, or cannot be a link."""
    if len(target) > _TARGET_BYTES_MAX or len(tokens) > TOKENS_MAX:
        return ""
    clean, parameter = as_bound(target), PARAMETER.decode()
    if clean.startswith("//"):  # a path, which a browser would read as another host's address
        return ""
    return clean + ("&" if "?" in clean else "?") + "&".join(parameter + token for token in tokens)


# What policy says


def can_be_lifted(decision: Decision, facts: Facts) -> bool:
    """Whether a token can count against this block. Not where the content was not judged whole: nobody knows what it
    is."""
    report = facts.report or _NOT_SCANNED
    return decision.override and (bool(facts.sha256) or report.verdict in NOTHING_COUNTS)


def may_let_pass(blocks: Iterable[Decision], facts: Facts) -> bool:
    """Whether lifting these blocks may let the content pass: malware only where each of their rules names it."""
    is_malware = facts.report is not None and facts.report.verdict is Verdict.MALICIOUS
    return not is_malware or all(block.names_malware for block in blocks)


def decide_without(policy: Policy, facts: Facts, lifted: Collection[str]) -> Decision:
    """What the policy says when these rules, which refuse, are lifted."""
    report = facts.report or _NOT_SCANNED
    for rule in policy.rules:
        if rule.decision.rule not in lifted:
            if rule.holds(facts, report):
                return rule.decision
        elif rule.is_judged and replace(rule, refuses=False).holds(facts, report):
            return Decision(Action.OVERRIDE, rule.decision.rule, rule.decision.reason)
    return UNCOVERED


def rule_of(policy: Policy, decision: Decision) -> CompiledRule:
    """The rule that decided."""
    return next(rule for rule in policy.rules if rule.decision.rule == decision.rule)
