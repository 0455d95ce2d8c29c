"""Base64 in markup, scripts, style sheets and JSON: data: URLs, and any run long enough to carry a file.

Ordinary pages are the common case, so the first look is at every eighth byte alone.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from engines.embedded import coded, findings
from engines.embedded.limits import EmbeddedOptions
from icapd.scan.engine_api import LimitReached
from icapd.scan.model import Budget, Buffer, Finding, Sample

_FAMILIES: Final = frozenset({"text", "markup", "script"})
_TYPES: Final = frozenset({"application/json", "image/svg+xml"})
_STRIDE: Final = 8
"""Of words with spaces between them, one page in twenty has 63 samples in a row without a space."""

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=\\\r\n"
_CLASSES: Final = bytes(1 if value in _ALPHABET + b"%.!~*" else 0 for value in range(256))
_RUN: Final = bytes(1 if value in _ALPHABET else 0 for value in range(256))
_NOT_IN_RUN: Final = re.compile(rb"[^A-Za-z0-9+/=_\\\r\n-]")
_WINDOW_BYTES: Final = 4096
"""What is looked at whole where the samples hold out a run. Most pages have none, a few have one or two."""
_ESCAPES: Final = re.compile(rb"\\(?:[nrt]|u000[aAdD]|(?=/))")
_MARK: Final = b"data:"
MAX_MARKS: Final = 100_000
"""Of data: URLs in one text, nearly all of them something else: half a second's work."""
MARKS: Final = "embedded.max_data_urls"
_URL_HEAD: Final = re.compile(rb"data:([\w.+-]{1,80}/[\w.+-]{1,80})?((?:;[^,;\"'()<>\s]{1,100}){0,8}),")
_NOT_IN_URL: Final = re.compile(rb"[^A-Za-z0-9+/=_\\%\s-]")
_URL_END: Final = re.compile(rb"[\"'()<>\s]")
_PERCENT: Final = b"%3"


def matches(sample: Sample, limits: EmbeddedOptions) -> bool:
    identity = sample.identity
    if identity.family not in _FAMILIES and identity.media_type not in _TYPES:
        return False
    return _least(limits) in _sampled(sample.data)


def _sampled(data: Buffer) -> bytes:
    """Every eighth byte, as 1 where it may be of base64 or percent-encoded."""
    return data[::_STRIDE].translate(_CLASSES)


def _least(limits: EmbeddedOptions) -> bytes:
    """What the shortest run that counts leaves of itself in a sample."""
    return b"\x01" * (limits.min_base64_bytes // _STRIDE - 1)


def unpack(sample: Sample, limits: EmbeddedOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields what data: URLs hold, named by their types, then what other runs hold, named by their places."""
    taken: list[tuple[int, int]] = []
    for start, end, name, data in _urls(sample.data, limits, budget):
        taken.append((start, end))
        yield from _member(sample, data, name, budget)
    yield from _runs(sample, taken, limits, budget)


def _member(sample: Sample, data: bytes, name: str, budget: Budget) -> Iterator[Sample]:
    budget.check_time()
    if data:
        budget.take_member()
        budget.take_bytes(len(data))
        yield sample.member(data, name)


def _urls(data: Buffer, limits: EmbeddedOptions, budget: Budget) -> Iterator[tuple[int, int, str, bytes]]:
    """Each data: URL of some length: where its data stands, a name, and the data."""
    number = 0
    marks_left = MAX_MARKS
    at = data.find(_MARK)
    while at >= 0:
        marks_left -= 1
        if not marks_left:
            raise LimitReached(MARKS)
        head = _URL_HEAD.match(data, at)
        at += len(_MARK)
        if head:
            start = head.end()
            is_base64 = head[2].lower().endswith(b";base64")
            stop = (_NOT_IN_URL if is_base64 else _URL_END).search(data, start)
            end = stop.start() if stop else len(data)
            if end - start >= limits.min_base64_bytes:
                number += 1
                media_type = (head[1] or b"").decode("ascii", "replace")
                raw = bytes(data[start:end])
                content = _content(raw, is_base64)
                yield start, end, findings.member_name(f"data-{number}:{media_type}"), content
            at = max(at, end)
        at = data.find(_MARK, at)


def _content(raw: bytes, is_base64: bool) -> bytes:
    if _PERCENT in raw or (is_base64 and b"%" in raw):
        raw = unquote_to_bytes(raw)
    return _from_text(raw) if is_base64 else raw


def _from_text(raw: bytes) -> bytes:
    """Base64 as it stands in strings: with escaped line breaks and slashes."""
    return coded.from_base64(_ESCAPES.sub(b"", raw) if b"\\" in raw else raw)


def _runs(
    sample: Sample, taken: list[tuple[int, int]], limits: EmbeddedOptions, budget: Budget
) -> Iterator[Sample | Finding]:
    """What the runs hold that are no part of a data: URL.

    Where the samples hold out a run, a window is looked at whole: dots, or letters at every eighth byte, then cost a
    search for each window, not for each sample.
    """
    data, wanted = sample.data, limits.min_base64_bytes
    window_bytes = max(_WINDOW_BYTES, 2 * wanted)
    sampled, least = _sampled(data), _least(limits)
    starts = [start for start, _ in taken]
    end = 0
    at = sampled.find(least)
    while at >= 0:
        near = max(end, (at - 1) * _STRIDE + 1)
        begins = data[near : near + window_bytes].translate(_RUN).find(b"\x01" * wanted)
        start = near + begins
        url = bisect_right(starts, start) - 1
        if begins < 0:
            budget.check_time()
            end = near + window_bytes - wanted + 1
        elif url >= 0 and taken[url][1] > start:
            end = taken[url][1]
        else:
            stop = _NOT_IN_RUN.search(data, start)
            end = stop.start() if stop else len(data)
            yield from _member(sample, _from_text(bytes(data[start:end])), f"base64-{start}", budget)
        at = sampled.find(least, max(at + 1, end // _STRIDE))
