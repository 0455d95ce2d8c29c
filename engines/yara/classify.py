"""What a match of each rule means: its metadata, else its tags, else malware of high severity."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

from engines.yara.rulesets import RuleInfo, RuleKey, Ruleset
from icapd.scan.engine_api import Material, Problem
from icapd.scan.model import Finding, FindingKind, Severity

KINDS = {
    kind.value: kind
    for kind in (FindingKind.MALWARE, FindingKind.SUSPICIOUS, FindingKind.FORBIDDEN, FindingKind.INFO)
}
SEVERITIES = {severity.name.lower(): severity for severity in Severity}
USUAL_SEVERITY = {
    FindingKind.MALWARE: Severity.HIGH,
    FindingKind.SUSPICIOUS: Severity.MEDIUM,
    FindingKind.FORBIDDEN: Severity.HIGH,
    FindingKind.INFO: Severity.INFO,
}
SCORES = (
    (0, Severity.INFO),
    (21, Severity.LOW),
    (47, Severity.MEDIUM),
    (73, Severity.HIGH),
    (100, Severity.CRITICAL),
)
"""The highest score of each severity, where a rule gives a number: the bounds of Elastic's risk scores."""


def classify(rulesets: Iterable[Ruleset], material: Material) -> tuple[dict[RuleKey, Finding], list[Problem]]:
    """The finding for each rule, without a trail; and each kind or severity that is none.

    A finding is named like its rule; rules of one name in several files get their file's stem in front.
    """
    infos = [info for ruleset in rulesets for info in ruleset.rules()]
    names = Counter(info.key[1] for info in infos)
    findings: dict[RuleKey, Finding] = {}
    problems: list[Problem] = []
    for info in infos:
        path, identifier = info.key
        try:
            kind = _kind(info)
            severity = _severity(info, kind)
        except ValueError as error:
            where = f"{path}:{_line(material.get(path, b''), identifier)}"
            problems.append(Problem(where, f"rule {identifier}: {error}"))
            continue
        name = identifier if names[identifier] == 1 else f"{PurePath(path).stem}:{identifier}"
        findings[info.key] = Finding(kind, name, "yara", severity)
    return findings, problems


def _kind(info: RuleInfo) -> FindingKind:
    told = info.metadata.get("kind")
    if told is None:
        return next((KINDS[tag.lower()] for tag in info.tags if tag.lower() in KINDS), FindingKind.MALWARE)
    if isinstance(told, str) and told.lower() in KINDS:
        return KINDS[told.lower()]
    raise ValueError(f"kind {told!r} is none of {', '.join(KINDS)}")


def _severity(info: RuleInfo, kind: FindingKind) -> Severity:
    told = info.metadata.get("severity")
    if told is None:
        tagged = (SEVERITIES[tag.lower()] for tag in info.tags if tag.lower() in SEVERITIES)
        return next(tagged, USUAL_SEVERITY[kind])
    if isinstance(told, str) and told.lower() in SEVERITIES:
        return SEVERITIES[told.lower()]
    if isinstance(told, int) and not isinstance(told, bool) and 0 <= told <= 100:
        return next(severity for score, severity in SCORES if told <= score)
    raise ValueError(f"severity {told!r} is none of {', '.join(SEVERITIES)}, nor a number from 0 to 100")


def _line(source: bytes, identifier: str) -> int:
    """Where a rule starts; 1 when it is written in a way this does not see."""
    start = re.search(rb"\brule\s+" + identifier.encode() + rb"\b", source)
    return source.count(b"\n", 0, start.start()) + 1 if start else 1
