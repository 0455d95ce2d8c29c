"""An engine for icapd: reports the words of lists, in bodies and in everything found inside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from icapd.scan.engine_api import ConfigurationError, EngineOptions, EngineSpec, Material, Problem
from icapd.scan.model import Budget, EngineReport, Finding, FindingKind, Outcome, Sample, Severity

NAME = "wordlist"
FINDINGS_MAX = 100


class WordlistOptions(EngineOptions):
    lists: list[str] = Field([], description="files with one word a line; # begins a comment")
    kind: Literal["forbidden", "suspicious"] = Field("forbidden", description="what a body with such a word is")


class WordlistEngine:
    """Looks for all words at once. Keeps nothing between samples."""

    name = NAME

    def __init__(self, words: list[bytes], kind: FindingKind) -> None:
        # Longer words first: of two that begin alike, the whole one is named.
        ordered = sorted(set(words), key=lambda word: (-len(word), word))
        self._pattern = re.compile(b"|".join(re.escape(word) for word in ordered), re.IGNORECASE) if words else None
        self._kind = kind

    def scan(self, sample: Sample, budget: Budget) -> EngineReport:
        if self._pattern is None:
            return EngineReport(self.name, Outcome.SKIPPED, reason="no words")
        found: dict[str, None] = {}
        for match in self._pattern.finditer(sample.data):
            budget.check_time()
            found.setdefault(match[0].decode("utf-8", "replace").lower())
            if len(found) == FINDINGS_MAX:
                break
        findings = tuple(
            Finding(self._kind, f"word:{word}", self.name, Severity.MEDIUM, sample.trail) for word in found
        )
        return EngineReport(self.name, Outcome.FOUND if findings else Outcome.NOTHING_FOUND, findings)


def gather(options: EngineOptions, resolve: Callable[[str], Path]) -> Material:
    """Reads the lists, once, so that all processes judge by the same words."""
    assert isinstance(options, WordlistOptions)
    material: dict[str, bytes] = {}
    problems = []
    for name in options.lists:
        try:
            material[name] = resolve(name).read_bytes()
        except OSError as error:
            problems.append(Problem("engines.wordlist.lists", f"{name}: {error.strerror}"))
    if problems:
        raise ConfigurationError(problems)
    return material


def build(options: EngineOptions, material: Material) -> WordlistEngine:
    assert isinstance(options, WordlistOptions)
    words = [word for name in sorted(material) for word in _words(name, material[name])]
    return WordlistEngine(words, FindingKind(options.kind))


def _words(name: str, content: bytes) -> Iterator[bytes]:
    for number, line in enumerate(content.splitlines(), 1):
        word = line.partition(b"#")[0].strip()
        if len(word) == 1:
            raise ConfigurationError([Problem(f"{name}, line {number}", "one letter is in every body")])
        if word:
            yield word


SPEC = EngineSpec(name=NAME, options=WordlistOptions, gather=gather, build=build, version=lambda: "1")
