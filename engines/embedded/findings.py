"""The findings of the engine, each with its one name and severity, and its members' names."""

from __future__ import annotations

from typing import Final

from icapd.scan.model import Finding, FindingKind, Severity

ENGINE: Final = "embedded"
NAME_CHARACTERS: Final = 255
_CONTROL: Final = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")

Trail = tuple[str, ...]


def limit(name: str, trail: Trail) -> Finding:
    return Finding(FindingKind.LIMIT, name, ENGINE, Severity.MEDIUM, trail)


def corrupt(what: str, trail: Trail) -> Finding:
    return Finding(FindingKind.CORRUPT, f"corrupt:{what}", ENGINE, Severity.MEDIUM, trail)


def encrypted(what: str, trail: Trail) -> Finding:
    return Finding(FindingKind.ENCRYPTED, f"encrypted:{what}", ENGINE, Severity.MEDIUM, trail)


def not_opened(what: str, trail: Trail) -> Finding:
    return Finding(FindingKind.UNSUPPORTED, f"not-opened:{what}", ENGINE, Severity.MEDIUM, trail)


def unsupported(what: str, trail: Trail) -> Finding:
    return Finding(FindingKind.UNSUPPORTED, f"unsupported:{what}", ENGINE, Severity.MEDIUM, trail)


def member_name(name: str) -> str:
    """A name for people: capped, without control characters."""
    return name[:NAME_CHARACTERS].translate(_CONTROL)
