"""Mail, web archives (MHT) and multipart bodies: each part that holds content becomes a member, decoded.

Boundaries are found by searching bytes, never by reading lines, so that cost is the size times the nesting, and the
nesting has a limit. Where programs differ in how they read a message, each reading is yielded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from engines.embedded import coded, findings
from engines.embedded.headers import Headers, read_headers
from engines.embedded.limits import HEADER_BYTES, NAME_BYTES, NESTING, PARTS, EmbeddedOptions
from icapd.scan.engine_api import LimitReached
from icapd.scan.model import Budget, Buffer, Finding, Sample

MESSAGE: Final = "message/rfc822"
FORM: Final = "multipart/form-data"
_HEAD_BYTES: Final = 4096
_PREAMBLE_BYTES: Final = 64 * 1024
_GLANCE_BYTES: Final = 1024
"""Of what has a type of its own: a preamble may look like anything, and nearly no page or picture is one."""
_MAYBE: Final = frozenset({"text/plain", "application/octet-stream"})
_OWN_TYPES: Final = frozenset({MESSAGE, FORM})
_MARK: Final = re.compile(rb"^(?:mime-version|content-(?:type|transfer-encoding|disposition))[ \t]*:", re.MULTILINE)
_BOUNDARY_LINE: Final = re.compile(rb"--([^\r\n]{1,200}?)[ \t]*\r?\n(?=content-)", re.IGNORECASE)
_MAX_LINES: Final = 64
"""Of a preamble, that are tried for a boundary."""
_MAX_READINGS: Final = 4
"""Of one part, by boundaries or encodings that contradict each other."""
_MBOX: Final = b"From "
_NEW_MESSAGE: Final = b"\n\nFrom "
_SPACE: Final = b" \t\r\n"
_FIRST_LINE: Final = re.compile(rb"From |(?!--)[!-9;-~]{1,76}[ \t]*:")
MAX_LOOKS: Final = 200_000
"""At what begins like a boundary in one message: a quarter of a second's work."""
LOOKS: Final = "embedded.max_boundaries"
_SEARCHED_BYTES: Final = 1024 * 1024
"""May be searched for boundaries beside what an honest message of the greatest nesting needs."""


def matches(sample: Sample) -> bool:
    """By what the bytes are, by what the part was declared to be, or by how it begins."""
    if is_declared(sample):
        return True
    head = sample.head(_PREAMBLE_BYTES if sample.identity.media_type in _MAYBE else _GLANCE_BYTES)
    if _first_boundary(head):
        return True
    return _begins_with_headers(head) and _has_mark(head[:_HEAD_BYTES].lower())


def _has_mark(head: bytes) -> bool:
    """Most that begins like a header is JSON or a style sheet: two searches are ten times faster than a pattern."""
    may_have = head.startswith((b"c", b"m")) or b"\ncontent-" in head or b"\nmime-v" in head
    return may_have and _MARK.search(head) is not None


def is_declared(sample: Sample) -> bool:
    """Whether it is mail or a form, and not only begins like it."""
    return sample.identity.media_type in _OWN_TYPES or sample.declared_type == MESSAGE


def is_alone(sample: Sample) -> bool:
    """Whether nothing but a message, if it matches, can be meant: it is no script or page that begins like one."""
    return is_declared(sample) or sample.identity.media_type in _MAYBE


def unpack(sample: Sample, limits: EmbeddedOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """Yields the parts of a message; of a mailbox, its messages."""
    data = bytes(sample.data)  # a mapping searches byte by byte
    reader = _Reader(sample, data, limits, budget, (limits.max_nesting + 2) * len(data) + _SEARCHED_BYTES)
    start = len(data[:_HEAD_BYTES]) - len(data[:_HEAD_BYTES].lstrip(_SPACE))
    if data.startswith(_MBOX, start):
        yield from reader.mailbox(start)
        return
    # A body whose boundary stood in the HTTP head begins with it.
    boundary = b"" if _begins_with_headers(data) else _first_boundary(data[:_PREAMBLE_BYTES])
    if boundary:
        yield from reader.multipart(0, len(data), (boundary,), 1)
    else:
        yield from reader.part(start, len(data), 0)


def _begins_with_headers(data: Buffer) -> bool:
    line = bytes(data[:_HEAD_BYTES]).lstrip(_SPACE)[:80]
    return _FIRST_LINE.match(line) is not None


def _first_boundary(preamble: bytes) -> bytes:
    """The boundary whose line stands first, with a header of a part behind it; empty where none does."""
    at = 0 if preamble.startswith(b"--") else preamble.find(b"\n--") + 1 or -1
    for _ in range(_MAX_LINES):
        if at < 0:
            break
        found = _BOUNDARY_LINE.match(preamble, at)
        if found:
            return found[1]
        at = preamble.find(b"\n--", at) + 1 or -1
    return b""


@dataclass(slots=True)
class _Reader:
    """Reads one message.

    State: how many parts were met, and how many bytes and places that look like boundaries may still be searched.
    """

    sample: Sample
    data: bytes
    limits: EmbeddedOptions
    budget: Budget
    bytes_to_search: int
    parts: int = 0
    looks_left: int = MAX_LOOKS

    def mailbox(self, start: int) -> Iterator[Sample | Finding]:
        """mbox: messages one after the other, each behind a line that begins with "From "."""
        data, end = self.data, len(self.data)
        while start < end:
            line_end = data.find(b"\n", start)
            following = data.find(_NEW_MESSAGE, start)
            stop = following if following >= 0 else end
            self._count()
            yield from self.part(line_end + 1 if line_end >= 0 else end, stop, 0)
            start = stop + 2 if following >= 0 else end

    def part(self, start: int, end: int, nesting: int) -> Iterator[Sample | Finding]:
        """One message or part: its headers, then what they say follows."""
        self.budget.check_time()
        headers_end, body = self._body_after(start, end)
        if headers_end - start > self.limits.max_header_bytes:
            if is_declared(self.sample):
                yield findings.limit(HEADER_BYTES, self.sample.trail)
            body = headers_end = start + self.limits.max_header_bytes
        headers = read_headers(self.data[start:headers_end])
        if headers.is_multipart:
            is_split = False
            for item in self.multipart(body, end, headers.boundaries, nesting + 1):
                is_split = True
                yield item
            if is_split:
                return
        yield from self._leaf(body, end, headers)

    def multipart(
        self, start: int, end: int, boundaries: tuple[bytes, ...], nesting: int
    ) -> Iterator[Sample | Finding]:
        """The parts between boundaries, also those behind the last one; nothing where no boundary stands."""
        if nesting > self.limits.max_nesting:
            yield findings.limit(NESTING, self.sample.trail)
            return
        if not boundaries:
            boundary = _first_boundary(self.data[start : min(end, start + _PREAMBLE_BYTES)])
            boundaries = (boundary,) if boundary else ()
        for boundary in boundaries[:_MAX_READINGS]:
            self.bytes_to_search -= end - start
            if self.bytes_to_search < 0:
                raise LimitReached(NESTING)
            for part_start, part_end in self._between(b"--" + boundary, start, end):
                self._count()
                yield from self.part(part_start, part_end, nesting)

    def _between(self, mark: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        data = self.data
        opened = -1
        at = data.find(mark, start, end)
        while at >= 0:
            self.looks_left -= 1
            if self.looks_left < 0:
                raise LimitReached(LOOKS)
            if at == start or data[at - 1 : at] in (b"\n", b"\r"):
                line_end = data.find(b"\n", at, end)
                line_end = end if line_end < 0 else line_end
                tail = data[at + len(mark) : min(line_end, at + len(mark) + 64)].strip(_SPACE)
                if tail in (b"", b"--"):
                    if opened >= 0:
                        yield opened, self._before_line(opened, at)
                    opened = line_end + 1
                    self.budget.check_time()
            at = data.find(mark, at + len(mark), end)
        if 0 <= opened < end and data[opened:end].strip(_SPACE):
            yield opened, end

    def _before_line(self, start: int, at: int) -> int:
        """Where content ends before a boundary: the line break belongs to the boundary."""
        data = self.data
        if at > start and data[at - 1 : at] == b"\n":
            at -= 1
        if at > start and data[at - 1 : at] == b"\r":
            at -= 1
        return at

    def _body_after(self, start: int, end: int) -> tuple[int, int]:
        """Where the headers end and where the body begins; a part may begin with the empty line itself."""
        data = self.data
        for empty in (b"\n", b"\r\n"):
            if data[start : start + len(empty)] == empty:
                return start, start + len(empty)
        window = min(end, start + self.limits.max_header_bytes + 5)
        ends = [(at, at + len(mark)) for mark in (b"\n\n", b"\n\r\n") if (at := data.find(mark, start, window)) >= 0]
        if ends:
            at, body = min(ends)
            return self._before_line(start, at), body
        return (end, end) if window == end else (window, window)

    def _leaf(self, start: int, end: int, headers: Headers) -> Iterator[Sample | Finding]:
        """The content of a part, under each encoding that it was declared with."""
        if start >= end:
            return
        name = headers.name or headers.field or f"part-{self.parts or 1}"
        if len(name) > self.limits.max_name_bytes:
            yield findings.limit(NAME_BYTES, (*self.sample.trail, findings.member_name(name)))
        for encoding in headers.encodings[:_MAX_READINGS] or ("",):
            self.budget.take_member()
            if encoding == "base64":
                self.budget.take_bytes((end - start) * 3 // 4)
                data = coded.from_base64_pieces(coded.windows(self.data, start, end))
            else:
                self.budget.take_bytes(end - start)
                data = _DECODERS.get(encoding, bytes)(self.data[start:end])
            if not data:
                continue
            member = self.sample.member(data, findings.member_name(name))
            if headers.media_type.startswith("message/"):
                if headers.media_type == "message/partial":
                    yield findings.unsupported("mail-partial", member.trail)
                member.declared_type = MESSAGE
            yield member
            if encoding != "base64" and encoding not in _DECODERS:
                yield from self._files_in_text(data)

    def _files_in_text(self, text: bytes) -> Iterator[Sample | Finding]:
        if b"begin" not in text:
            return
        for raw_name, data in coded.encoded_files(text):
            self._count()
            self.budget.take_member()
            self.budget.take_bytes(len(data))
            if data:
                yield self.sample.member(data, findings.member_name(raw_name.decode("utf-8", "replace")))

    def _count(self) -> None:
        self.parts += 1
        if self.parts > self.limits.max_parts:
            raise LimitReached(PARTS)


_DECODERS: Final = {
    "quoted-printable": coded.from_quoted_printable,
    "uuencode": coded.from_uuencode,
    "x-uuencode": coded.from_uuencode,
    "x-uue": coded.from_uuencode,
}
