"""The findings of the archive engine, each with its one name and severity."""

from __future__ import annotations

from typing import Final

from icapd.scan.model import Finding, FindingKind, Severity

ENGINE: Final = "archive"
Trail = tuple[str, ...]


def limit(name: str, trail: Trail) -> Finding:
    return Finding(FindingKind.LIMIT, name, ENGINE, Severity.MEDIUM, trail)


def corrupt(what: str, trail: Trail) -> Finding:
    return Finding(FindingKind.CORRUPT, f"corrupt:{what}", ENGINE, Severity.MEDIUM, trail)


def encrypted(what: str, trail: Trail) -> Finding:
    return Finding(FindingKind.ENCRYPTED, f"encrypted:{what}", ENGINE, Severity.MEDIUM, trail)


def unsupported(what: str, trail: Trail) -> Finding:
    return Finding(FindingKind.UNSUPPORTED, f"unsupported:{what}", ENGINE, Severity.MEDIUM, trail)


def not_opened(what: str, trail: Trail) -> Finding:
    """A container nobody looks into: recorded, so that it is not taken for inspected, but no reason to refuse it."""
    return Finding(FindingKind.UNSUPPORTED, f"not-opened:{what}", ENGINE, Severity.INFO, trail)
