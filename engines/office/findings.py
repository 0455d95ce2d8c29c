"""The findings of the office engine that are no indicators, each with its one name and severity."""

from __future__ import annotations

from typing import Final

from icapd.scan.model import Finding, FindingKind, Severity

ENGINE: Final = "office"
Trail = tuple[str, ...]


def limit(name: str, trail: Trail) -> Finding:
    return Finding(FindingKind.LIMIT, name, ENGINE, Severity.MEDIUM, trail)


def corrupt(what: str, trail: Trail) -> Finding:
    return Finding(FindingKind.CORRUPT, f"corrupt:{what}", ENGINE, Severity.MEDIUM, trail)


def encrypted(what: str, trail: Trail) -> Finding:
    return Finding(FindingKind.ENCRYPTED, f"encrypted:{what}", ENGINE, Severity.MEDIUM, trail)
