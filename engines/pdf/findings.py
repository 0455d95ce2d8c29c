"""The findings of the PDF engine that are no indicators, each with its one name and severity."""

from __future__ import annotations

from typing import Final

from icapd.scan.model import Finding, FindingKind, Severity

ENGINE: Final = "pdf"
Trail = tuple[str, ...]


def limit(name: str, trail: Trail) -> Finding:
    return Finding(FindingKind.LIMIT, name, ENGINE, Severity.MEDIUM, trail)


def corrupt(trail: Trail) -> Finding:
    return Finding(FindingKind.CORRUPT, "corrupt:pdf", ENGINE, Severity.MEDIUM, trail)


def encrypted(trail: Trail) -> Finding:
    return Finding(FindingKind.ENCRYPTED, "encrypted:pdf", ENGINE, Severity.MEDIUM, trail)


def unsupported(filter_name: str, trail: Trail) -> Finding:
    return Finding(FindingKind.UNSUPPORTED, f"unsupported:pdf-filter-{filter_name}", ENGINE, Severity.MEDIUM, trail)


def several_encryptions(trail: Trail) -> Finding:
    return Finding(FindingKind.UNSUPPORTED, "unsupported:pdf-encryptions", ENGINE, Severity.MEDIUM, trail)
