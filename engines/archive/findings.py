"""The findings of the archive engine, each with its one name and severity."""

from __future__ import annotations

from typing import Final

from engines.archive.streams import Broken, Encrypted, Unsupported
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
    return Finding(FindingKind.UNSUPPORTED, f"not-opened:{what}", ENGINE, Severity.MEDIUM, trail)


def of_fault(fault: Broken, what: str, trail: Trail) -> Finding:
    """The finding for what stopped a stream."""
    match fault:
        case Encrypted():
            return encrypted(what, trail)
        case Unsupported():
            return unsupported(f"{what}-{fault.what}", trail)
        case _:
            return corrupt(what, trail)
