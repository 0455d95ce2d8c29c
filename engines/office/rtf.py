"""RTF: its objects, decoded as Word decodes them, its templates and fields.

Only the destinations that tell something are read, each from its control word to the end of its group; a document may
make us read no more than twice its length.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Final

from engines.office import embedded, findings, ole_table, rtf_table
from engines.office.compound import MAGIC as OLE_MAGIC
from engines.office.limits import OfficeOptions
from engines.office.tables import COMBINATIONS
from icapd.scan.engine_api import LimitReached
from icapd.scan.indicators import Indicator, add_up
from icapd.scan.model import Budget, Buffer, Finding, Sample

MAGIC: Final = b"{\\rt"
OBJECTS_MAX: Final = 256
OBJECTS_LIMIT: Final = "office.max_rtf_objects"
TOKENS_MAX: Final = 400_000
TOKENS_LIMIT: Final = "office.max_rtf_tokens"
_TEXT_CHARACTERS: Final = 8192
"""Of a field's code: what it does is said at its beginning."""
_NOISY: Final = 3
_DESTINATION = re.compile(
    rb"\\(objdata|objupdate|objautlink|objclass|template|fldinst)(?![a-z])-?[0-9]{0,10}[ \t]?", re.IGNORECASE
)
_TOKEN = re.compile(
    rb"([{}])|\\bin([0-9]{1,250}) ?|\\'([0-9a-fA-F]{2})|\\u(-?[0-9]{1,6}) ?|\\[a-zA-Z]{1,64}(?:-?[0-9]{1,250})? ?"
    rb"|\\([^a-zA-Z])|([^\\{}]{1,65536})",
    re.DOTALL,
)
_MARKS: Final = (OLE_MAGIC.hex().encode(), b"0105000002000000")
"""How objects begin, in digits."""
_NOT_HEX: Final = bytes(byte for byte in range(256) if byte not in b"0123456789abcdefABCDEF")
_REMOTE = re.compile(r"https?:|ftp:|file:|\\\\\\\\|(?<!:)//|\\\\[a-z0-9]")
_FIELD_DDE = re.compile(r"\bdde(?:auto)?\b")
_FIELD_FETCHES = re.compile(r"\b(?:includepicture|includetext|import|link)\b")
_EQUATION_CLASS: Final = bytes.fromhex("02ce020000000000c000000000000046")


class _Reader:
    """Walks over destinations. State: bytes and tokens left shrink by what was walked over."""

    def __init__(self, data: Buffer, budget: Budget) -> None:
        self._data = data
        self._budget = budget
        self._left_bytes = 2 * len(data) + _TEXT_CHARACTERS
        self._left_tokens = TOKENS_MAX

    def tokens(self, at: int) -> Iterator[re.Match[bytes]]:
        """Tokens up to the end of the group that `at` stands in.

        Raises: LimitReached when destinations overlap too often; DeadlineReached.
        """
        depth = 0
        while at < len(self._data) and (match := _TOKEN.match(self._data, at)):
            skipped_bytes = min(int(match[2]), len(self._data) - match.end()) if match[2] else 0
            self._left_tokens -= 1
            self._left_bytes -= match.end() - at + skipped_bytes
            if self._left_bytes < 0 or self._left_tokens < 0:
                raise LimitReached(TOKENS_LIMIT)
            if self._left_tokens % 256 == 0:
                self._budget.check_time()
            if match[1] == b"{":
                depth += 1
            elif match[1] == b"}":
                depth -= 1
                if depth < 0:
                    return
            yield match
            at = match.end() + skipped_bytes

    def text(self, at: int) -> str:
        """A destination's text, characters by number included (RTF 1.9.1, \\u and \\').

        Of what stands for a character in readers without Unicode, one is skipped, or none: \\uc may stand anywhere
        before. Both readings are given where they differ.
        """
        skipping, whole = _Text(1), _Text(0)
        for match in self.tokens(at):
            for text in (skipping, whole):
                text.take(match)
            if whole.count >= _TEXT_CHARACTERS:
                break
        first, second = skipping.joined(), whole.joined()
        return first if first == second else f"{first}\n{second}"

    def objects(self, at: int) -> tuple[list[bytes], int]:
        """What an \\objdata destination may be: with and without what nested groups hold; and how much was noise."""
        outer: list[bytes] = []
        whole: list[bytes] = []
        depth = noise = 0
        for match in self.tokens(at):
            if match[1]:
                depth += 1 if match[1] == b"{" else -1
                noise += 1
            elif match[2]:
                raw = self._data[match.end() : match.end() + int(match[2])]
                for pieces in (outer, whole):
                    pieces.append(b"\\" + raw)
            elif match[6]:
                digits = match[6].translate(None, _NOT_HEX)
                whole.append(digits)
                if not depth:
                    outer.append(digits)
            else:
                noise += 1
        readings = dict.fromkeys((_joined(outer), _joined(whole)))
        digits = b"".join(piece for piece in whole if not piece.startswith(b"\\"))
        if any(digits.lower().find(mark) % 2 for mark in _MARKS if mark in digits.lower()):
            readings[_joined([digits[1:]])] = None  # a digit too many before it
        return list(readings), noise


class _Text:
    """Collects a text. State: `count` of characters that are no blanks before it; how many are to be skipped."""

    def __init__(self, skipped: int) -> None:
        self.count = 0
        self._skipped = skipped
        self._pending = 0
        self._parts: list[str] = []

    def take(self, match: re.Match[bytes]) -> None:
        if match[4]:
            self._keep(chr(int(match[4]) & 0xFFFF))
            self._pending = self._skipped
            return
        text = match[3] and chr(int(match[3], 16))
        text = text or (match[5] or match[6] or b"").decode("latin-1").replace("\r", "").replace("\n", "")
        passed = min(self._pending, len(text))
        self._pending -= passed
        self._keep(text[passed:])

    def _keep(self, text: str) -> None:
        text = text if self._parts else text.lstrip()
        if text:
            self._parts.append(text)
            self.count += len(text)

    def joined(self) -> str:
        return "".join(self._parts).lower()


def _joined(pieces: list[bytes]) -> bytes:
    """Digits to bytes; what \\bin brought (marked by a backslash) stays as it is."""
    out = bytearray()
    digits = bytearray()
    for piece in [*pieces, b"\\"]:
        if not piece.startswith(b"\\"):
            digits += piece
            continue
        out += binascii.unhexlify(bytes(digits[: len(digits) // 2 * 2]))
        digits.clear()
        out += piece[1:]
    return bytes(out)


def unpack(sample: Sample, options: OfficeOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """The findings about a document, then its objects as samples.

    Raises: LimitReached of the budget; DeadlineReached.
    """
    signs: list[Indicator] = []
    members: list[tuple[str, bytes]] = []
    reached = ""
    if sample.data[:6].lower() != b"{\\rtf1":
        signs.append(rtf_table.ODD_HEADER)
    try:
        for sign_or_member in _read(sample.data, budget):
            if isinstance(sign_or_member, Indicator):
                signs.append(sign_or_member)
            else:
                members.append(sign_or_member)
    except LimitReached as error:
        reached = error.limit
    yield from add_up(findings.ENGINE, signs, COMBINATIONS, options.thresholds, sample.trail)
    for name, content in members:
        if content:
            budget.take_member()
            yield sample.member(content, name)
    if reached:
        yield findings.limit(reached, sample.trail)


def _read(data: Buffer, budget: Budget) -> Iterator[Indicator | tuple[str, bytes]]:
    reader = _Reader(data, budget)
    count = 0
    for match in _DESTINATION.finditer(data):
        start = data[max(match.start() - 64, 0) : match.start()]
        if (len(start) - len(start.rstrip(b"\\"))) % 2:
            continue  # an escaped backslash: the word is text
        word = match[1].lower()
        if word == b"objupdate":
            yield rtf_table.UPDATES
        elif word == b"objautlink":
            yield rtf_table.LINKED
        elif word == b"objdata":
            count += 1
            if count > OBJECTS_MAX:
                raise LimitReached(OBJECTS_LIMIT)
            yield from _object(reader, match.end(), count, budget)
        else:
            yield from _text_signs(word, reader.text(match.end()))


def _text_signs(word: bytes, text: str) -> Iterator[Indicator]:
    if word == b"objclass":
        if text.strip().startswith("equation"):
            yield ole_table.EQUATION
    elif word == b"template":
        if _REMOTE.search(text):
            yield rtf_table.TEMPLATE
    elif _FIELD_DDE.search(text):
        yield rtf_table.DDE
        text += embedded.quoted(text)
        if any(command in text for command in ole_table.COMMANDS):
            yield rtf_table.DDE_COMMAND
    elif _FIELD_FETCHES.search(text) and _REMOTE.search(text):
        yield rtf_table.REMOTE_FIELD


def _object(reader: _Reader, at: int, number: int, budget: Budget) -> Iterator[Indicator | tuple[str, bytes]]:
    yield rtf_table.OBJECT
    readings, noise = reader.objects(at)
    if noise >= _NOISY:
        yield rtf_table.NOISE
    for reading in readings:
        budget.take_bytes(len(reading))
        yield from _object_signs(reading)
        yield from _object_members(reading, f"object {number}")


def _object_signs(reading: bytes) -> Iterator[Indicator]:
    found = embedded.object1(reading)
    if _EQUATION_CLASS in reading or (found and found.class_name.lower().startswith("equation")):
        yield ole_table.EQUATION
    if found and found.class_name.lower().startswith("equation") and not found.data.startswith(OLE_MAGIC):
        yield from embedded.equation_signs(found.data)
    yield from embedded.moniker_signs(reading)
    package = embedded.package(found.data) if found and found.class_name.lower() == "package" else None
    if package is not None:
        yield from package.signs


def _object_members(reading: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """The file that an object is, or where one begins in what cannot be read."""
    found = embedded.object1(reading)
    if found is not None and found.data:
        package = embedded.package(found.data)
        yield (package.name, package.data) if package is not None else (name, found.data)
        return
    at = reading.find(OLE_MAGIC)
    yield (name, reading[at:] if at > 0 else reading)
