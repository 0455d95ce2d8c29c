"""One face for compiled rules of both compilers: list the rules, match a buffer within a time.

A `Ruleset` belongs to one process at a time. Neither knows what a match means.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import yara
import yara_x

from icapd.scan.engine_api import DeadlineReached
from icapd.scan.model import Sample

RuleKey = tuple[str, str]
"""The file a rule stands in, and its identifier."""

COPIED_BYTES_MAX = 1024 * 1024
"""A mapped body up to this size is copied for YARA-X: as fast as opening and mapping its file again."""


class RulesetFailed(Exception):
    """The compiled rules could not judge a buffer; the text says why."""


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """What a rule says of itself."""

    key: RuleKey
    tags: tuple[str, ...]
    metadata: dict[str, object]


class Ruleset(Protocol):
    def rules(self) -> Iterator[RuleInfo]: ...

    def match(self, sample: Sample, time_s: float) -> list[RuleKey]:
        """The rules that hold, private ones left out.

        Raises: DeadlineReached after `time_s`, to the whole second; RulesetFailed.
        """
        ...


class YaraXRuleset:
    """Rules of YARA-X under one scanner that is kept.

    State: a scanner may be inherited over a fork, but only one that has not matched yet. YARA-X measures time with a
    thread that the process's first timed scan starts; a child forked after that has no such thread, and its
    time limits never fire (1.22). So building an engine never matches anything.
    """

    def __init__(self, compiled: yara_x.Rules) -> None:
        self._compiled = compiled
        # A fresh scanner a call is 450 us dearer. Fast mode: only which rules hold matters, not every place they do.
        self._scanner = yara_x.Scanner(compiled)
        self._scanner.fast_scan(True)

    def rules(self) -> Iterator[RuleInfo]:
        for rule in self._compiled:
            yield RuleInfo((rule.namespace, rule.identifier), tuple(rule.tags), dict(rule.metadata))

    def match(self, sample: Sample, time_s: float) -> list[RuleKey]:
        self._scanner.set_timeout(_ticks(time_s))
        try:
            # Rules that import a module make it dearer, matched or not: its output is turned into Python objects,
            # 70 us for `pe` on any body, 1.7 ms for `elf` on a program of 36 KB. The shipped rules import none.
            results = self._scan(sample)
        except yara_x.TimeoutError:
            raise DeadlineReached from None
        except (yara_x.ScanError, MemoryError) as error:
            raise RulesetFailed(f"yara-x: {str(error) or 'out of memory'}") from error
        return [(rule.namespace, rule.identifier) for rule in results.matching_rules]

    def _scan(self, sample: Sample) -> yara_x.ScanResults:
        """YARA-X takes bytes or a path: a mapped body is copied, unless its file can be mapped once more."""
        if sample.descriptor is not None and sample.size_bytes > COPIED_BYTES_MAX:
            # A scanner may not open every file again: one of another user's, or any at all on an old kernel.
            with contextlib.suppress(yara_x.ScanError):
                return self._scanner.scan_file(f"/proc/self/fd/{sample.descriptor}")
        return self._scanner.scan(sample.data if isinstance(sample.data, bytes) else bytes(sample.data))


def _ticks(time_s: float) -> int:
    """YARA-X counts ticks of a clock that beats each second whenever the scan began: n ends after n - 1 to n seconds.

    One tick may end a scan at once, so that is for the last second of a budget. From two seconds on none ends late.
    """
    return max(2, int(time_s)) if time_s >= 1 else 1


class YaraRuleset:
    """Rules of yara-python: one set for matching, and the same files one by one, which tell the rules' files."""

    def __init__(self, sources: dict[str, str]) -> None:
        self._infos = [info for path, source in sources.items() for info in _rules_of(path, source)]
        self._compiled = yara.compile(sources=sources, includes=False)

    def rules(self) -> Iterator[RuleInfo]:
        return iter(self._infos)

    def match(self, sample: Sample, time_s: float) -> list[RuleKey]:
        try:
            # A mapped body is not copied here.
            # Without the callbacks, a rule's console.log and libyara's warnings reach standard output and Python's.
            matches = self._compiled.match(
                data=sample.data,
                timeout=max(1, int(time_s)),
                fast=True,
                console_callback=_ignore,
                warnings_callback=_go_on,
            )
        except yara.TimeoutError:
            raise DeadlineReached from None
        except (yara.Error, MemoryError) as error:
            raise RulesetFailed(f"yara: {str(error) or 'out of memory'}") from error
        return [(match.namespace, match.rule) for match in matches]


def _rules_of(path: str, source: str) -> Iterator[RuleInfo]:
    for rule in yara.compile(source=source, includes=False):
        yield RuleInfo((path, rule.identifier), tuple(rule.tags), dict(rule.meta))


def _ignore(_text: str) -> None:
    """A rule's console output has no reader here."""


def _go_on(_kind: int, _message: object) -> int:
    return int(yara.CALLBACK_CONTINUE)
