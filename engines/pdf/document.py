"""Finds the objects of a PDF by looking for them, not by trusting its cross-reference table.

Every definition of an object counts, also those that a later revision replaced: readers disagree about which is the
last. So do objects that stand inside a stream's data: a cross-reference table may lead there. Only what tells
something is read into values; the rest is indexed and read when a reference leads to it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from engines.pdf.crypt import Cipher
from engines.pdf.filters import (
    CHAIN_LIMIT,
    CHAIN_MAX,
    PARAMETERS,
    STEP_BYTES,
    STREAM_LIMIT,
    Decoded,
    Effort,
    decode,
    inflate_at_once,
)
from engines.pdf.marks import END_STREAM, HEAD, HEAD_BYTES, OBJ, PLAIN_STREAM, STREAM, TELLING, Next
from engines.pdf.values import BYTES_FOR_A_TOKEN, TOKENS_MAX, Name, Reader, Ref, Value
from icapd.scan.engine_api import LimitReached
from icapd.scan.model import HELD_BYTES, Budget, Buffer

OBJECTS_MAX: Final = 400_000
CANDIDATES_MAX: Final = 500_000
"""Places where an object may begin."""
PACKED_BYTES_MAX: Final = 64 * 1024 * 1024
PACKED_LIMIT: Final = "pdf.max_object_stream_bytes"
OBJECTS_LIMIT: Final = "pdf.max_objects"
DEFINITIONS_MAX: Final = 256
"""Definitions of one object that a reference may lead to; the last ones."""
DEFINITIONS_LIMIT: Final = "pdf.max_definitions"
_TEXT: Final = bytes((9, 10, 13, *range(32, 127)))
_TEXT_BYTES: Final = 12
"""So many encrypted bytes are text by chance once in 100,000 times."""
_OVERLAP_BYTES: Final = 1 << 20
"""What objects without ends, and streams inside streams, may cost more than the file is long."""

_FLATE_NAME: Final = Name("FlateDecode")


@dataclass(slots=True)
class Object:
    """One definition. `stream` is where its stream's bytes are, in the file."""

    number: int
    generation: int
    value: Value
    stream: tuple[int, int] | None = None
    is_packed: bool = False
    """Stands in an object stream: its strings are not encrypted by themselves."""
    is_plain: bool = False
    """Its dictionary says nothing but how long the stream is and that it is deflated."""

    @property
    def dictionary(self) -> dict[str, Value]:
        return self.value if isinstance(self.value, dict) else {}


class Document:
    """The objects of one file.

    State: the index grows while `telling` goes on; `limits` and `problems` collect what was met on the way.
    """

    def __init__(self, data: Buffer, budget: Budget, max_stream_bytes: int) -> None:
        self.data = data
        self.escaped: set[str] = set()
        self.limits: set[str] = set()
        self.problems: set[str] = set()
        self.ciphers: list[Cipher] = []
        self._budget = budget
        self._max_stream_bytes = max_stream_bytes
        self._effort = Effort()
        self._tokens = [TOKENS_MAX + len(data) // BYTES_FOR_A_TOKEN]
        self._reader = Reader(data, self._tokens, self.escaped)
        self._places: defaultdict[int, list[tuple[Buffer, int]]] = defaultdict(list)
        self.streams: list[Object] = []
        self._streams_at: dict[int, Object] = {}
        self._read_at: dict[tuple[int, int], Object] = {}
        self.trailers: list[dict[str, Value]] = []
        self.objects: list[Object] = []
        self._count = 0
        self._bodies_left = 4 * len(data) + _OVERLAP_BYTES
        self._streams_left = 2 * len(data) + _OVERLAP_BYTES

    def read(self) -> None:
        """Indexes the whole file, reads what tells something, and every stream's dictionary.

        Raises: LimitReached of the budget; DeadlineReached.
        """
        for find in (self._find_objects, self._find_trailers):
            try:
                find()
            except LimitReached as reached:
                self.note(reached)

    def unpack_objects(self) -> list[tuple[Object, Decoded]]:
        """Reads the object streams (7.5.7); returns them decoded, as they are members too.

        They stay in memory, and are taken from what the budget lets be held.

        Raises: LimitReached of the budget; DeadlineReached.
        """
        unpacked = []
        bytes_left = PACKED_BYTES_MAX
        for holder in [e for e in self.streams if not e.is_plain and e.dictionary.get("Type") == "ObjStm"]:
            decoded = self.decoded(holder)
            unpacked.append((holder, decoded))
            self._budget.held_bytes_left -= len(decoded.data)
            bytes_left -= len(decoded.data)
            if bytes_left < 0:
                self.limits.add(PACKED_LIMIT)
                break
            try:
                self._read_packed(holder, decoded.data)
            except LimitReached as reached:
                self.note(reached)
                break
        return unpacked

    def note(self, reached: LimitReached) -> None:
        """Keeps a limit of this reader; those of the body's budget end the work.

        Raises: LimitReached.
        """
        if not reached.limit.startswith("pdf."):
            raise reached
        self.limits.add(reached.limit)

    def _find_trailers(self) -> None:
        """Every trailer, also one that stands in the data of a stream: `startxref` may lead there."""
        at = self.data.find(b"trailer")
        while at >= 0:
            value, _ = self._reader.value(at + 7)
            if isinstance(value, dict):
                self.trailers.append(value)
            at = self.data.find(b"trailer", at + 7)

    def _find_objects(self) -> None:
        data = self.data
        end_stream = Next(data, b"endstream")
        end_object = Next(data, b"endobj")
        for candidate, match in enumerate(OBJ.finditer(data)):
            if candidate > CANDIDATES_MAX:
                raise LimitReached(OBJECTS_LIMIT)
            at, start = match.span()
            head = HEAD.search(data, at - HEAD_BYTES, at)
            if head is None:
                continue
            self._take_one()
            number, generation = int(head[1]), int(head[2])
            self._places[number].append((data, start))
            found = self._plain_stream(number, generation, start)
            if found is None:
                found = self._object(number, generation, start, end_stream, end_object)
            if found is not None and found.stream is not None:
                self._keep_stream(found, found.stream, start)

    def _keep_stream(self, found: Object, stream: tuple[int, int], at: int) -> None:
        self.streams.append(found)
        self._streams_at[at] = found
        self._streams_left -= stream[1] - stream[0]
        if self._streams_left < 0:
            raise LimitReached(OBJECTS_LIMIT)

    def _take_one(self) -> None:
        self._count += 1
        if self._count > OBJECTS_MAX:
            raise LimitReached(OBJECTS_LIMIT)
        if self._count % 256 == 0:
            self._budget.check_time()

    def _object(self, number: int, generation: int, start: int, end_stream: Next, end_object: Next) -> Object | None:
        """Indexes an object; reads it when it has a stream or tells something."""
        end = end_object.after(start)
        end = end if end >= 0 else len(self.data)
        self._bodies_left -= end - start
        if self._bodies_left < 0:  # objects without ends overlap; those of programs do not
            raise LimitReached(OBJECTS_LIMIT)
        if self.data.find(b"stream", start, end) < 0 and TELLING.search(self.data, start, end) is None:
            return None
        value, stop = self._reader.value(start)
        found = Object(number, generation, value)
        self.objects.append(found)
        stream = STREAM.match(self.data, self._reader.skip(stop)) if isinstance(value, dict) else None
        if stream is not None:
            found.stream = (stream.end(), self._stream_end(found, stream.end(), end_stream, end_object))
        return found

    def _plain_stream(self, number: int, generation: int, start: int) -> Object | None:
        """A stream whose dictionary has two entries, and whose length is true."""
        match = PLAIN_STREAM.match(self.data, start)
        if match is None:
            return None
        length = int(match[1] or match[2])
        begin = match.end()
        if END_STREAM.match(self.data, begin + length) is None:
            return None
        value: dict[str, Value] = {"Length": length, "Filter": _FLATE_NAME}
        return Object(number, generation, value, (begin, begin + length), is_plain=True)

    def _stream_end(self, found: Object, start: int, end_stream: Next, end_object: Next) -> int:
        """By the length if `endstream` stands there, else at the next `endstream` or `endobj`, or the file's end."""
        length = found.dictionary.get("Length")
        if isinstance(length, int) and 0 <= length <= len(self.data) - start:
            at = self._reader.skip(start + length)
            if at - start - length <= 4 and self.data[at : at + 9] == b"endstream":
                return start + length
        ends = [place for place in (end_stream.after(start), end_object.after(start)) if place >= 0]
        if not ends:
            self.problems.add("cut")
            return len(self.data)
        end = min(ends)
        if self.data[end - 2 : end] == b"\r\n":
            return end - 2
        return end - 1 if self.data[end - 1 : end] in (b"\n", b"\r") and end > start else end

    def _read_packed(self, holder: Object, content: bytes) -> None:
        count, first = holder.dictionary.get("N"), holder.dictionary.get("First")
        if not isinstance(first, int) or not 0 < first <= len(content):
            self.problems.add("object-stream")
            return
        numbers = [int(number) for number in re.findall(rb"\d{1,10}", content[:first])]
        reader = Reader(content, self._tokens, self.escaped)
        pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
        if isinstance(count, int) and 0 <= count < len(pairs):
            pairs = pairs[:count]
        offsets = sorted({first + offset for _, offset in pairs} | {len(content)})
        following = dict(pairwise(offsets))
        for number, offset in pairs:
            self._take_one()
            at = first + offset
            if at >= len(content):
                continue
            self._places[number].append((content, at))
            if TELLING.search(content, at, following.get(at, len(content))) is not None:
                self.objects.append(Object(number, 0, reader.value(at)[0], is_packed=True))

    def resolve(self, value: Value) -> Iterator[Object]:
        """What a value is: itself, or every definition that its reference may mean, the last one first."""
        if not isinstance(value, Ref):
            yield Object(0, 0, value)
            return
        places = self._places.get(value.number, [])
        if len(places) > DEFINITIONS_MAX:
            self.limits.add(DEFINITIONS_LIMIT)
        for data, at in reversed(places[-DEFINITIONS_MAX:]):
            if data is self.data and at in self._streams_at:
                yield self._streams_at[at]
                continue
            place = (id(data), at)
            if place not in self._read_at:
                is_packed = data is not self.data
                reader = Reader(data, self._tokens, self.escaped) if is_packed else self._reader
                read = reader.value(at)[0]
                self._read_at[place] = Object(value.number, value.generation, read, is_packed=is_packed)
            yield self._read_at[place]

    def first(self, value: Value) -> Value:
        """The last definition's value."""
        return next((each.value for each in self.resolve(value)), None) if isinstance(value, Ref) else value

    def filters_of(self, holder: Object) -> tuple[list[str], list[Value]]:
        """The filters of a stream, outermost first, with their parameters."""
        if holder.is_plain:
            return ["FlateDecode"], []
        dictionary = holder.dictionary
        given = self.first(dictionary.get("Filter", dictionary.get("F")))
        parameters = self.first(dictionary.get("DecodeParms", dictionary.get("DP")))
        if isinstance(given, Name) and parameters is None:
            return [given], []
        filters = [str(each) for each in map(self.first, self._chain(given)) if isinstance(each, Name)]
        return filters, [self._resolved(self.first(each)) for each in self._chain(parameters)]

    def _chain(self, given: Value) -> list[Value]:
        """As many as a chain may have and one more: many streams may name one long list."""
        listed: list[Value] = given if isinstance(given, list) else [given]
        if len(listed) > CHAIN_MAX:
            self.limits.add(CHAIN_LIMIT)
        return listed[: CHAIN_MAX + 1]

    def _resolved(self, parameters: Value) -> Value:
        if not isinstance(parameters, dict):
            return parameters
        return {key: self.first(parameters[key]) for key in PARAMETERS if key in parameters}

    def in_one_step(self, holder: Object) -> bytes | None:
        """What a plain stream holds, where one step gives all of it; else nothing, and `decoded` has to look closer.

        Raises: LimitReached of the budget.
        """
        if holder.stream is None or self.ciphers:
            return None
        start, end = holder.stream
        if end - start > STEP_BYTES:
            return None
        return inflate_at_once(self.data[start:end], self._budget, self._max_stream_bytes)

    def decoded(self, holder: Object) -> Decoded:
        """The bytes of a stream, decrypted and without its filters.

        Raises: LimitReached of the budget; DeadlineReached.
        """
        if holder.stream is None:
            return Decoded(b"")
        self._budget.check_time()
        raw = bytes(self.data[holder.stream[0] : self._end_by_reference(holder, holder.stream)])
        if not self.ciphers:
            return self._undone(raw, holder)
        names, parameters = self.filters_of(holder)
        own = parameters[0] if names[:1] == ["Crypt"] and parameters else None
        kind = holder.dictionary.get("Type")
        best: Decoded | None = None
        for cipher in self.ciphers:
            plain = cipher.stream(raw, holder.number, holder.generation, kind, names, own)
            decoded = self._undone(plain, holder)
            if decoded.is_whole:
                return decoded
            best = best or decoded
        assert best is not None
        unsealed = self._undone(raw, holder)  # an encryption that only pretends to be one
        return unsealed if unsealed.is_whole and unsealed.data else best

    def _undone(self, raw: bytes, holder: Object) -> Decoded:
        names, parameters = self.filters_of(holder)
        room_bytes = max(self._budget.held_bytes_left, 0)
        max_bytes = min(self._max_stream_bytes, room_bytes)
        decoded = decode(raw, names, parameters, self._budget, self._effort, max_bytes)
        if decoded.limit == STREAM_LIMIT and room_bytes < self._max_stream_bytes:
            decoded.limit = HELD_BYTES
        if decoded.limit:
            self.limits.add(decoded.limit)
        return decoded

    def _end_by_reference(self, holder: Object, stream: tuple[int, int]) -> int:
        """Where a stream ends whose length is an object of its own: data may hold `endstream` before that."""
        length = holder.dictionary.get("Length")
        for each in self.resolve(length) if isinstance(length, Ref) else ():
            if isinstance(each.value, int) and 0 < each.value <= len(self.data) - stream[0]:
                at = self._reader.skip(stream[0] + each.value)
                if at - stream[0] - each.value <= 4 and self.data[at : at + 9] == b"endstream":
                    return stream[0] + each.value
        return stream[1]

    def readings(self, holder: Object, value: Value) -> list[Value]:
        """What a string of an object may mean: decrypted; also as it stands, if that is text."""
        if not isinstance(value, bytes) or not self.ciphers or not holder.number or holder.is_packed:
            return [value]
        read: list[Value] = [value] if len(value) >= _TEXT_BYTES and not value.translate(None, _TEXT) else []
        read += [cipher.string(value, holder.number, holder.generation) for cipher in self.ciphers]
        return read
