"""Finds the objects of a PDF by looking for them, not by trusting its cross-reference table.

Every definition of an object counts, also those that a later revision replaced: readers disagree about which is the
last. Only what tells something is read into values; the rest is indexed and read when a reference leads to it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from engines.pdf.crypt import Cipher
from engines.pdf.filters import Decoded, Effort, decode
from engines.pdf.values import TOKENS_MAX, Name, Reader, Ref, Value
from icapd.scan.engine_api import LimitReached
from icapd.scan.model import Budget, Buffer

OBJECTS_MAX: Final = 400_000
CANDIDATES_MAX: Final = 1_000_000
"""Places where an object may begin."""
PACKED_BYTES_MAX: Final = 64 * 1024 * 1024
PACKED_LIMIT: Final = "pdf.max_object_stream_bytes"
OBJECTS_LIMIT: Final = "pdf.max_objects"
DEFINITIONS_MAX: Final = 4
"""Definitions of one object that a reference may lead to; the last ones."""
_BODY_BYTES_MAX: Final = 1 << 20

_OBJ = re.compile(rb"obj(?<=[0-9\0\t\n\f\r ]obj)")
_HEAD = re.compile(rb"(\d{1,10})[\0\t\n\f\r ]{1,32}(\d{1,10})[\0\t\n\f\r ]{0,32}\Z")
_STREAM = re.compile(rb"[\0\t\n\f\r ]{0,64}stream(\r\n|\n|\r|[ ]{0,8}\r?\n)?")
_TELLING = re.compile(
    rb"/(?:JS|JavaScript|OpenAction|AA|Launch|EmbeddedFiles?|EF|RichMedia\w{0,16}|XFA|GoToR|GoToE|SubmitForm|ImportData"
    rb"|Rendition|Flash|3D)(?![A-Za-z0-9])|/[^/\s<>\[\]()]{0,64}#[0-9A-Fa-f]{2}"
)


@dataclass(slots=True)
class Object:
    """One definition. `stream` is where its stream's bytes are, in the file."""

    number: int
    generation: int
    value: Value
    stream: tuple[int, int] | None = None
    is_packed: bool = False
    """Stands in an object stream: its strings are not encrypted by themselves."""

    @property
    def dictionary(self) -> dict[str, Value]:
        return self.value if isinstance(self.value, dict) else {}


class _Next:
    """Finds a mark from ever later places; the whole file is searched once however often it is asked.

    State: the last place found; -1 when there are no more.
    """

    def __init__(self, data: Buffer, mark: bytes) -> None:
        self._data = data
        self._mark = mark
        self._at = data.find(mark)

    def after(self, start: int) -> int:
        if 0 <= self._at < start:
            self._at = self._data.find(self._mark, start)
        return self._at


class Document:
    """The objects of one file.

    State: the index grows while `telling` goes on; `limits` and `problems` collect what was met on the way.
    """

    def __init__(self, data: Buffer, budget: Budget, max_stream_bytes: int) -> None:
        self.data = data
        self.escaped: set[str] = set()
        self.limits: set[str] = set()
        self.problems: set[str] = set()
        self.filters: set[str] = set()
        self.cipher: Cipher | None = None
        self._budget = budget
        self._max_stream_bytes = max_stream_bytes
        self._effort = Effort()
        self._tokens = [TOKENS_MAX]
        self._reader = Reader(data, self._tokens, self.escaped)
        self._places: defaultdict[int, list[tuple[Buffer, int]]] = defaultdict(list)
        self.streams: list[Object] = []
        self._streams_at: dict[int, Object] = {}
        self.trailers: list[dict[str, Value]] = []
        self.objects: list[Object] = []
        self._count = 0
        self._bodies_left = 4 * len(data) + _BODY_BYTES_MAX

    def read(self) -> None:
        """Indexes the whole file, reads what tells something, and every stream's dictionary.

        Raises: LimitReached of the budget; DeadlineReached.
        """
        try:
            self._find_trailers()
            self._find_objects()
        except LimitReached as reached:
            self.note(reached)

    def unpack_objects(self) -> list[tuple[Object, Decoded]]:
        """Reads the object streams (7.5.7); returns them decoded, as they are members too.

        Raises: LimitReached of the budget; DeadlineReached.
        """
        unpacked = []
        bytes_left = PACKED_BYTES_MAX
        for holder in [each for each in self.streams if each.dictionary.get("Type") == "ObjStm"]:
            decoded = self.decoded(holder)
            unpacked.append((holder, decoded))
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
        at = self.data.find(b"trailer")
        for _ in range(64):
            if at < 0:
                return
            value, _ = self._reader.value(at + 7)
            if isinstance(value, dict):
                self.trailers.append(value)
            at = self.data.find(b"trailer", at + 7)

    def _find_objects(self) -> None:
        data = self.data
        end_stream = _Next(data, b"endstream")
        end_object = _Next(data, b"endobj")
        resume = 0
        for candidate, match in enumerate(_OBJ.finditer(data)):
            at = match.start()
            if at < resume:
                continue
            if candidate > CANDIDATES_MAX:
                raise LimitReached(OBJECTS_LIMIT)
            head = _HEAD.search(data[max(at - 72, 0) : at])
            if head is None:
                continue
            self._take_one()
            start = match.end()
            end = end_object.after(start)
            read = self._object(int(head[1]), int(head[2]), start, end if end >= 0 else len(data))
            if read is None:
                continue
            found, stop = read
            stream = _STREAM.match(data, stop)
            if stream is not None and isinstance(found.value, dict):
                self.streams.append(found)
                self._streams_at[match.end()] = found
                found.stream = (stream.end(), self._stream_end(found, stream.end(), end_stream, end_object))
                resume = found.stream[1]

    def _take_one(self) -> None:
        self._count += 1
        if self._count > OBJECTS_MAX:
            raise LimitReached(OBJECTS_LIMIT)
        if self._count % 256 == 0:
            self._budget.check_time()

    def _object(self, number: int, generation: int, start: int, end: int) -> tuple[Object, int] | None:
        """Indexes an object; reads it when it has a stream or tells something, and says where its value ends."""
        self._places[number].append((self.data, start))
        body = self.data[start : min(end, start + _BODY_BYTES_MAX)]
        self._bodies_left -= len(body)
        if self._bodies_left < 0:  # objects without ends overlap; those of programs do not
            raise LimitReached(OBJECTS_LIMIT)
        has_stream = b"stream" in body
        if not has_stream and _TELLING.search(body) is None:
            return None
        value, stop = self._reader.value(start)
        found = Object(number, generation, value)
        self.objects.append(found)
        return found, stop

    def _stream_end(self, found: Object, start: int, end_stream: _Next, end_object: _Next) -> int:
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
            if _TELLING.search(content[at : following.get(at, len(content))]) is not None:
                self.objects.append(Object(number, 0, reader.value(at)[0], is_packed=True))

    def resolve(self, value: Value) -> Iterator[Object]:
        """What a value is: itself, or every definition that its reference may mean, the last one first."""
        if not isinstance(value, Ref):
            yield Object(0, 0, value)
            return
        for data, at in reversed(self._places.get(value.number, [])[-DEFINITIONS_MAX:]):
            if data is self.data and at in self._streams_at:
                yield self._streams_at[at]
                continue
            is_packed = data is not self.data
            reader = Reader(data, self._tokens, self.escaped) if is_packed else self._reader
            yield Object(value.number, value.generation, reader.value(at)[0], is_packed=is_packed)

    def first(self, value: Value) -> Value:
        """The last definition's value."""
        return next((each.value for each in self.resolve(value)), None) if isinstance(value, Ref) else value

    def filters_of(self, holder: Object) -> tuple[list[str], list[Value]]:
        """The filters of a stream, outermost first, with their parameters."""
        given = self.first(holder.dictionary.get("Filter", holder.dictionary.get("F")))
        names = given if isinstance(given, list) else [given]
        filters = [str(each) for each in map(self.first, names) if isinstance(each, Name)]
        parameters = self.first(holder.dictionary.get("DecodeParms", holder.dictionary.get("DP")))
        listed = parameters if isinstance(parameters, list) else [parameters]
        return filters, [self.first(each) for each in listed]

    def decoded(self, holder: Object) -> Decoded:
        """The bytes of a stream, decrypted and without its filters.

        Raises: LimitReached of the budget; DeadlineReached.
        """
        if holder.stream is None:
            return Decoded(b"")
        self._budget.check_time()
        raw = bytes(self.data[holder.stream[0] : self._end_by_reference(holder, holder.stream)])
        if self.cipher is not None:
            raw = self.cipher.stream(raw, holder.number, holder.generation, holder.dictionary)
        names, parameters = self.filters_of(holder)
        self.filters.update(names)
        decoded = decode(raw, names, parameters, self._budget, self._effort, self._max_stream_bytes)
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

    def plain(self, holder: Object, value: Value) -> Value:
        """A string of an object, decrypted."""
        if isinstance(value, bytes) and self.cipher is not None and holder.number and not holder.is_packed:
            return self.cipher.string(value, holder.number, holder.generation)
        return value
