"""Base64 in markup, scripts, style sheets and JSON: data: URLs, and any run long enough to carry a file.

Ordinary pages are the common case, so the first look is at every eighth byte alone.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
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
_NOT_IN_RUN: Final = bytes(1 - value for value in _RUN)
_WINDOW_BYTES: Final = 4096
"""What is looked at whole where the samples hold out a run. Most pages have none, a few have one or two."""
_ESCAPES: Final = (b"\\n", b"\\r", b"\\t", b"\\u000a", b"\\u000A", b"\\u000d", b"\\u000D")
"""Line breaks in strings. What else has a backslash stands for itself, and the backslash is noise."""
_SPELT: Final = {b"\\u002": {b"b": b"+", b"B": b"+", b"f": b"/", b"F": b"/"}, b"\\u003": {b"d": b"=", b"D": b"="}}
"""Characters of base64 that encoders of JSON write by number."""
_MARK: Final = b"data:"
MAX_MARKS: Final = 100_000
"""Of data: URLs in one text, nearly all of them something else: half a second's work."""
MARKS: Final = "embedded.max_data_urls"
_URL_HEAD: Final = re.compile(rb"data:([\w.+-]{1,80}/[\w.+-]{1,80})?((?:;[^,;\"'()<>\s]{1,100}){0,8}),")
_FOLDED_TYPES: Final = frozenset({"text/plain", "application/xml"})
_MAX_REPEATS: Final = 1024
"""Of a group in one match: each takes 250 bytes until the match ends, and bodies may have millions."""
_LINE: Final = rb"\r?\n[ \t]{1,64}[A-Za-z0-9+/]{1,1024}={0,2}(?=[\r\n<\"'`]|\Z)"
_FOLDED: Final = re.compile(rb"\n[ \t]{1,64}[A-Za-z0-9+/]{32,}={0,2}" + _LINE)
_MORE_LINES: Final = re.compile(b"(?:%s){1,%d}" % (_LINE, _MAX_REPEATS))
_JOINS_STRINGS: Final = b"atob"
"""What undoes base64 in a browser; without it no pieces of strings are looked for, which pages are full of."""
_STRING: Final = rb"[\"'`]\s{0,64}[+,]\s{0,64}[\"'`][A-Za-z0-9+/]{1,1024}={0,2}"
_JOINED: Final = re.compile(rb"[\"'`][A-Za-z0-9+/]{8,1024}={0,2}(?:%s){7}(?=[\"'`])" % _STRING)
_MORE_STRINGS: Final = re.compile(b"(?:%s(?=[\"'`])){1,%d}" % (_STRING, _MAX_REPEATS))
_JOIN: Final = re.compile(rb"[\"'`]\s{0,64}[+,]\s{0,64}[\"'`]|[\"'`]")
_UU_BEGIN: Final = re.compile(rb"begin(?:-base64)? [0-7]{3,4} ")
_LINE_BYTES: Final = 32
"""Shorter lines before long ones are words, not base64: END, EOF, or what is left of a title in dashes."""
_IN_LINE: Final = b"\r\\"
"""What may stand in a line beside base64."""
_SPACE: Final = b" \t\n\r\v\f"
_NOT_IN_URL: Final = bytes(0 if value in _ALPHABET + b"%" + _SPACE else 1 for value in range(256))
_URL_END: Final = bytes(1 if value in b"\"'()<>" + _SPACE else 0 for value in range(256))
_PERCENT: Final = b"%3"


def is_read(sample: Sample) -> bool:
    return sample.identity.family in _FAMILIES or sample.identity.media_type in _TYPES


def matches(sample: Sample, limits: EmbeddedOptions) -> bool:
    if not is_read(sample):
        return False
    data = sample.data
    if _least(limits) in _sampled(data):
        return True
    may_fold = sample.identity.media_type in _FOLDED_TYPES
    if may_fold and _has_uuencoded(data):
        return True
    joins = _joins_strings(data)
    return ((may_fold or joins) and _FOLDED.search(data) is not None) or (joins and _JOINED.search(data) is not None)


def _sampled(data: Buffer) -> bytes:
    """Every eighth byte, as 1 where it may be of base64 or percent-encoded."""
    return data[::_STRIDE].translate(_CLASSES)


def _least(limits: EmbeddedOptions) -> bytes:
    """What the shortest run that counts leaves of itself in a sample."""
    return b"\x01" * (limits.min_base64_bytes // _STRIDE - 1)


def unpack(sample: Sample, limits: EmbeddedOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields what data: URLs hold, named by their types, then what other runs hold, named by their places."""
    taken: list[tuple[int, int]] = []
    decoder = _Decoder(sample.data, budget)
    for start, end, name, is_base64 in _urls(sample.data, limits):
        taken.append((start, end))
        yield from _member(sample, decoder.content(start, end, is_base64), name, budget)
    yield from _runs(sample, taken, limits, decoder, budget)
    may_fold, joins = sample.identity.media_type in _FOLDED_TYPES, _joins_strings(sample.data)
    if may_fold or joins:
        yield from _folded(sample, limits, decoder, budget)
    if may_fold:
        yield from _uuencoded(sample, budget)
    if joins:
        yield from _joined(sample, limits, decoder, budget)


def _joins_strings(data: Buffer) -> bool:
    return data.rfind(_JOINS_STRINGS) >= 0  # from the back it takes half the time


def _has_uuencoded(data: Buffer) -> bool:
    # Few texts have the word, and a search for it from the back takes a third of the pattern's time.
    return data.rfind(b"begin") >= 0 and _UU_BEGIN.search(data) is not None


def _uuencoded(sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
    """Files that stand uuencoded in a text, as archivers and mail programs take them out."""
    if not _has_uuencoded(sample.data):
        return
    for raw_name, data in coded.encoded_files(bytes(sample.data)):
        budget.take_bytes(len(data))
        yield from _member(sample, data, findings.member_name(raw_name.decode("utf-8", "replace")), budget)


def _folded(sample: Sample, limits: EmbeddedOptions, decoder: _Decoder, budget: Budget) -> Iterator[Sample | Finding]:
    """Base64 in lines that begin with blanks: calendars, address cards, LDIF, and XML that is indented."""
    data = sample.data
    for places in _stretches(_FOLDED, _MORE_LINES, data, budget):
        begin, end = places[0], places[-1]
        before = bytes(data[max(0, begin - _WINDOW_BYTES) : begin])
        start = begin - (len(before) - len(before.rstrip(_ALPHABET)))
        if end - start >= limits.min_base64_bytes:
            yield from _member(sample, decoder.base64(start, end), f"base64-{start}", budget)


def _joined(sample: Sample, limits: EmbeddedOptions, decoder: _Decoder, budget: Budget) -> Iterator[Sample | Finding]:
    """Base64 in strings that a script puts together, by + or as a list."""
    data = sample.data
    for places in _stretches(_JOINED, _MORE_STRINGS, data, budget):
        start, end = places[0], places[-1]
        if end - start >= limits.min_base64_bytes:
            pieces = (_JOIN.sub(b"", data[at:stop]) for at, stop in pairwise(places))
            yield from _member(sample, decoder.base64(start, end, pieces), f"base64-{start}", budget)


def _stretches(
    first: re.Pattern[bytes], more: re.Pattern[bytes], data: Buffer, budget: Budget
) -> Iterator[list[int]]:
    """The places where one pattern matches and where the other does behind it, as often as it does."""
    at = 0
    while found := first.search(data, at):
        places = [found.start()]
        following: re.Match[bytes] | None = found
        while following:
            budget.check_time()
            places.append(at := following.end())
            following = more.match(data, at)
        yield places


def _member(sample: Sample, data: bytes, name: str, budget: Budget) -> Iterator[Sample]:
    budget.check_time()
    if data:
        budget.take_member()
        yield sample.member(data, name)


def _urls(data: Buffer, limits: EmbeddedOptions) -> Iterator[tuple[int, int, str, bool]]:
    """Each data: URL of some length: where its data stands, a name, and whether it is in base64."""
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
            end = _first(_NOT_IN_URL if is_base64 else _URL_END, data, start)
            if end - start >= limits.min_base64_bytes:
                number += 1
                media_type = (head[1] or b"").decode("ascii", "replace")
                yield start, end, findings.member_name(f"data-{number}:{media_type}"), is_base64
            at = max(at, end)
        at = data.find(_MARK, at)


def _first(wanted: bytes, data: Buffer, start: int) -> int:
    """Where the first byte stands that a table marks, in windows: the first a short one, as most runs are short."""
    size_bytes = _WINDOW_BYTES
    while start < len(data):
        at = data[start : start + size_bytes].translate(wanted).find(b"\x01")
        if at >= 0:
            return start + at
        start += size_bytes
        size_bytes = coded.WINDOW_BYTES
    return len(data)


class _Decoder:
    """Decodes what stands in one text. State: escapes that may still be undone, one by one as they are."""

    def __init__(self, data: Buffer, budget: Budget) -> None:
        self._data = data
        self._budget = budget
        self._escapes_left = coded.MAX_STEPS

    def content(self, start: int, end: int, is_base64: bool) -> bytes:
        """What a data: URL holds.

        Raises: LimitReached.
        """
        pieces = coded.windows(self._data, start, end, b"%\\")
        has_escapes = self._data.find(_PERCENT if not is_base64 else b"%", start, end) >= 0
        plain = map(self._without_percent, pieces) if has_escapes else pieces
        if is_base64:
            return self.base64(start, end, plain)
        self._budget.take_bytes(end - start)
        return b"".join(plain)

    def base64(self, start: int, end: int, pieces: Iterable[bytes] | None = None) -> bytes:
        """Base64 as it stands in strings: with escaped line breaks and slashes."""
        if pieces is None:
            pieces = coded.windows(self._data, start, end, b"\\")
        self._budget.take_bytes((end - start) * 3 // 4)
        return coded.from_base64_pieces(map(_without_breaks, pieces))

    def _without_percent(self, text: bytes) -> bytes:
        self._escapes_left -= text.count(b"%")
        if self._escapes_left < 0:
            raise LimitReached(coded.STEPS)
        return unquote_to_bytes(text)


def _without_breaks(text: bytes) -> bytes:
    if b"\\" in text:
        for escape in _ESCAPES:
            text = text.replace(escape, b"")
        for start, ends in _SPELT.items():
            if start in text:
                for end, character in ends.items():
                    text = text.replace(start + end, character)
    return text


def _runs(
    sample: Sample, taken: list[tuple[int, int]], limits: EmbeddedOptions, decoder: _Decoder, budget: Budget
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
            end = _first(_NOT_IN_RUN, data, start)
            yield from _member(sample, decoder.base64(start, end), f"base64-{start}", budget)
            for lines in _lines_at(data, start, end):
                if end - lines >= wanted:
                    yield from _member(sample, decoder.base64(lines, end), f"base64-{lines}", budget)
        at = sampled.find(least, max(at + 1, end // _STRIDE))


def _lines_at(data: Buffer, start: int, end: int) -> list[int]:
    """Where else base64 may begin in a run: behind lines that are too short for it, and behind the next one, too,
    which may be the name of what follows, if it is not as long as the line behind it or holds no whole groups.
    """
    head = bytes(data[start : min(end, start + _WINDOW_BYTES)])
    at = 0
    while 0 <= (line_end := head.find(b"\n", at)) - at < _LINE_BYTES:
        at = line_end + 1
    if line_end < 0:
        return []
    places = [at] if at else []
    first_bytes = len(head[at:line_end].translate(None, _IN_LINE))
    following_end = head.find(b"\n", line_end + 1)
    if first_bytes % 4 or line_end - at != following_end - line_end - 1:
        places.append(line_end + 1)
    return [start + place for place in places]
