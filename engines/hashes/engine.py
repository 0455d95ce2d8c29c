"""The engine itself: compares a sample's digests with the lists. Runs in a scanner process."""

from __future__ import annotations

import hashlib
import time

from engines.hashes.table import DIGEST_BYTES, Table
from icapd.scan.engine_api import Material
from icapd.scan.model import Budget, EngineReport, Finding, FindingKind, Outcome, Sample, Severity

NAME_BYTES = 128


class HashesEngine:
    """Looks a sample's digests up. Only digests that some list holds are computed.

    State: none between samples.
    """

    name = "hashes"

    def __init__(self, material: Material, timeout_s: float) -> None:
        self._tables = [
            (digest, _table(material, f"deny.{digest}", digest), _table(material, f"allow.{digest}", digest))
            for digest in DIGEST_BYTES
            if f"deny.{digest}" in material or f"allow.{digest}" in material
        ]
        self._names = material.get("deny.names", b"\n")
        self._timeout_s = timeout_s

    def scan(self, sample: Sample, budget: Budget) -> EngineReport:
        """What the lists say of one sample, body or member. One denied digest outweighs every allowed one."""
        if not self._tables:
            return EngineReport(self.name, Outcome.SKIPPED, reason="no lists")
        started = time.monotonic()
        deadline = started + min(self._timeout_s, budget.remaining_s)
        allowed: Finding | None = None
        for digest, deny, allow in self._tables:
            if time.monotonic() >= deadline:
                return self._report(started, Outcome.TIMED_OUT, None, "time is over")
            value = _digest(sample, digest)
            if deny and (reference := deny.reference(value)) is not None:
                return self._report(started, Outcome.FOUND, self._denied(digest, reference, sample.trail))
            if allow and not allowed and allow.reference(value) is not None:
                allowed = Finding(
                    FindingKind.ALLOWED, f"hash:{digest}", self.name, Severity.INFO, sample.trail, certain=True
                )
        return self._report(started, Outcome.FOUND if allowed else Outcome.NOTHING_FOUND, allowed)

    def _denied(self, digest: str, reference: int, trail: tuple[str, ...]) -> Finding:
        name = self._listed_name(reference) or f"hash:{digest}"
        return Finding(FindingKind.MALWARE, name, self.name, Severity.CRITICAL, trail, certain=True)

    def _listed_name(self, reference: int) -> str:
        """The name after a digest; sha256sum marks binary files by an asterisk; a comment is no name."""
        written = self._names[reference : self._names.index(b"\n", reference)].strip().removeprefix(b"*")
        return "" if written.startswith(b"#") else written[:NAME_BYTES].decode("utf-8", "replace")

    def _report(self, started: float, outcome: Outcome, finding: Finding | None, reason: str = "") -> EngineReport:
        findings = (finding,) if finding else ()
        return EngineReport(self.name, outcome, findings, time.monotonic() - started, reason)


def _table(material: Material, key: str, digest: str) -> Table | None:
    return Table(material[key], digest) if key in material else None


def _digest(sample: Sample, digest: str) -> bytes:
    if digest == "sha256":
        return sample.sha256
    return hashlib.new(digest, sample.data, usedforsecurity=False).digest()
