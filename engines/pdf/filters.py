"""Undoes the filters of PDF streams (ISO 32000-2, 7.4), each under the budget. What is not undone stays as it is.

Pictures' own codings (DCT, JPX, CCITT, JBIG2) are left alone: what they hold is a picture.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from engines.inflate import RAW, ZLIB, Damaged, InflateError, Inflater, decompressor
from engines.pdf.values import Value
from icapd.scan.model import Budget

CHAIN_MAX: Final = 8
CHAIN_LIMIT: Final = "pdf.max_filters"
STREAM_LIMIT: Final = "pdf.max_stream_bytes"
STEP_BYTES: Final = 256 * 1024
"""What is unpacked before limits are looked at again."""
_NOISE_BYTES: Final = 64
"""So much of what is no deflate may be inflated by chance; it is to count as damage."""
_ROW_BYTES_MAX: Final = 1 << 20
SLOW_LIMIT: Final = "pdf.max_slow_bytes"
SLOW_BYTES_MAX: Final = 1_500_000
"""Bytes of one document that may go through filters that take a step of ours for each of them."""
_CHARACTERS_AT_ONCE: Final = 5 * 65_536
PARAMETERS: Final = ("Predictor", "Colors", "BitsPerComponent", "Columns", "EarlyChange", "Name")
"""What is asked of a filter's parameters; the last one by the cipher."""
PICTURES: Final = frozenset({"DCTDecode", "DCT", "JPXDecode", "CCITTFaxDecode", "CCF", "JBIG2Decode"})
_NOT_HEX = re.compile(rb"[^0-9a-fA-F]+")
_NOT_85 = re.compile(rb"[^!-uz]+")


@dataclass(slots=True)
class Decoded:
    """What came out. State: `data` is replaced at each step; `is_whole` and `is_known` only fall."""

    data: bytes
    is_whole: bool = True
    is_known: bool = True
    is_picture: bool = False
    limit: str = ""


@dataclass(slots=True)
class Effort:
    """What a document may still cost. State: shrinks with each stream."""

    slow_left: int = SLOW_BYTES_MAX

    def take(self, count: int) -> bool:
        self.slow_left -= count
        return self.slow_left >= 0


class _Full(Exception):
    """One stream gave all that one stream may give."""

    def __init__(self, data: bytes, limit: str = STREAM_LIMIT) -> None:
        self.data = data
        self.limit = limit


class _Unknown(Exception):
    """A filter's parameters say what we do not know."""


def decode(
    raw: bytes, names: list[str], parameters: list[Value], budget: Budget, effort: Effort, max_bytes: int
) -> Decoded:
    """The bytes behind a chain of filters, as far as they can be had.

    Raises: LimitReached when the budget of the whole body is used up; DeadlineReached.
    """
    decoded = Decoded(raw)
    for place, name in enumerate(names):
        if place >= CHAIN_MAX:
            decoded.limit = CHAIN_LIMIT
            break
        if name in PICTURES:
            decoded.is_picture = True
            break
        if name == "Crypt":
            continue
        step = _FILTERS.get(name)
        if step is None:
            decoded.is_known = False
            break
        given = parameters[place] if place < len(parameters) else None
        try:
            early = 0 if isinstance(given, dict) and given.get("EarlyChange") == 0 else 1
            data, is_whole = step(decoded.data, _Gauge(budget, effort, len(raw), max_bytes, early))
            if name in _PREDICTED and isinstance(given, dict):
                data = _unpredict(data, given, effort)
        except _Unknown:
            decoded.is_known = False
            break
        except _Full as full:
            decoded.data, decoded.limit = full.data, full.limit
            break
        decoded.data = data
        decoded.is_whole &= is_whole
    return decoded


class _Gauge:
    """Charges what one filter gives. State: `out_bytes` grows. `early_change` is LZW's parameter of that name."""

    def __init__(self, budget: Budget, effort: Effort, raw_bytes: int, max_bytes: int, early_change: int) -> None:
        self.effort = effort
        self.early_change = early_change
        self._budget = budget
        self._raw_bytes = raw_bytes
        self._max_bytes = max_bytes
        self.out_bytes = 0

    def take(self, count: int) -> None:
        self._budget.check_time()
        self._budget.take_bytes(count)
        self.out_bytes += count
        self._budget.check_ratio(self._raw_bytes, self.out_bytes)

    def stop_at(self, blocks: list[bytes]) -> None:
        if self.out_bytes > self._max_bytes:
            raise _Full(b"".join(blocks)[: self._max_bytes])


def inflate_at_once(raw: bytes, budget: Budget, max_bytes: int) -> bytes | None:
    """A stream whose only filter is FlateDecode and that gives no more than a step, undamaged: as most do.

    Nothing is charged for any other. Raises: LimitReached when the budget of the whole body is used up.
    """
    inflater = decompressor(ZLIB)
    try:
        data = inflater.decompress(raw, STEP_BYTES)
    except InflateError:
        return None
    size_bytes = len(data)
    if not inflater.eof or size_bytes > max_bytes or size_bytes > budget.held_bytes_left:
        return None
    budget.take_block(size_bytes)
    budget.check_ratio(len(raw), size_bytes)
    return data


def _flate(data: bytes, gauge: _Gauge) -> tuple[bytes, bool]:
    """zlib, or deflate without its head and sum; what comes before damage is kept."""
    for window in (ZLIB, RAW):
        start = 2 if window < 0 and len(data) > 2 and data[0] & 0x0F == 8 else 0
        blocks, is_whole = _inflate(data[start:], window, gauge)
        if blocks or is_whole:
            return b"".join(blocks), is_whole
    return b"", not data.strip()


def _inflate(data: bytes, window: int, gauge: _Gauge) -> tuple[list[bytes], bool]:
    inflater = Inflater(window, _NOISE_BYTES)
    blocks: list[bytes] = []
    at = 0
    pending = b""
    is_broken = False
    while not (inflater.eof or is_broken):
        packed = pending or data[at : at + STEP_BYTES]
        at += 0 if pending else len(packed)
        try:
            block = inflater.read(packed, STEP_BYTES)
        except Damaged as damage:
            block, is_broken = damage.plain, True
        pending = inflater.unread
        if block:
            gauge.take(len(block))
            blocks.append(block)
            gauge.stop_at(blocks)
        elif not packed:
            break
    return blocks, inflater.eof


def _hex(data: bytes, gauge: _Gauge) -> tuple[bytes, bool]:
    digits = _NOT_HEX.sub(b"", data.partition(b">")[0])
    out = binascii.unhexlify(digits + b"0" * (len(digits) % 2))
    gauge.take(len(out))
    return out, True


def _ascii85(data: bytes, gauge: _Gauge) -> tuple[bytes, bool]:
    """Five characters for four bytes; `z` for four zeros (7.4.3)."""
    text = data.strip(b"\0\t\n\f\r ").removeprefix(b"<~").partition(b"~")[0]
    text = _NOT_85.sub(b"", text)
    gauge.take(len(text) + 4 * text.count(b"z"))
    text = text.replace(b"z", b"!!!!!")
    missing = -len(text) % 5
    text += b"u" * missing
    out = b"".join(_of_85(text[at : at + _CHARACTERS_AT_ONCE]) for at in range(0, len(text), _CHARACTERS_AT_ONCE))
    return out[: len(out) - missing] if missing else out, True


def _of_85(text: bytes) -> bytes:
    codes = np.frombuffer(text, dtype=np.uint8).astype(np.uint64).reshape(-1, 5) - np.uint64(33)
    weights = np.array([85**4, 85**3, 85**2, 85, 1], dtype=np.uint64)
    values = (codes * weights).sum(axis=1) & np.uint64(0xFFFFFFFF)
    return bytes(values.astype(">u4").data)


def _run_length(data: bytes, gauge: _Gauge) -> tuple[bytes, bool]:
    blocks: list[bytes] = []
    at = pending = 0
    while at < len(data) and data[at] != 128:
        length = data[at]
        if length < 128:
            block = data[at + 1 : at + 2 + length]
            at += 2 + length
        else:
            block = data[at + 1 : at + 2] * (257 - length)
            at += 2
        blocks.append(block)
        pending += len(block)
        if pending >= STEP_BYTES:
            gauge.take(pending)
            gauge.stop_at(blocks)
            pending = 0
    gauge.take(pending)
    return b"".join(blocks), True


def _lzw(data: bytes, gauge: _Gauge) -> tuple[bytes, bool]:
    """Variable-length codes of 9 to 12 bits, most significant bit first (7.4.4)."""
    early_change = gauge.early_change
    table = [bytes([byte]) for byte in range(256)] + [b"", b""]
    blocks: list[bytes] = []
    width, buffer, bits, pending = 9, 0, 0, 0
    previous = b""
    if not gauge.effort.take(len(data)):
        raise _Full(data, SLOW_LIMIT)
    for byte in data:
        buffer = (buffer << 8 | byte) & 0xFFFFFF
        bits += 8
        if bits < width:
            continue
        bits -= width
        code = buffer >> bits & ((1 << width) - 1)
        if code == 257:
            break
        if code == 256:
            del table[258:]
            width, previous = 9, b""
            continue
        entry = table[code] if code < len(table) else previous + previous[:1]
        if not entry:
            return b"".join(blocks), False
        blocks.append(entry)
        pending += len(entry)
        if previous and len(table) < 4096:
            table.append(previous + entry[:1])
        previous = entry
        width = min(max((len(table) + early_change).bit_length(), 9), 12)
        if pending >= STEP_BYTES:
            gauge.take(pending)
            gauge.stop_at(blocks)
            pending = 0
    gauge.take(pending)
    return b"".join(blocks), True


def _unpredict(data: bytes, given: dict[str, Value], effort: Effort) -> bytes:
    """Undoes TIFF's predictor and PNG's (7.4.4.4); rows may be cut short. Raises: _Unknown."""
    predictor = given.get("Predictor")
    if not isinstance(predictor, int) or predictor in (0, 1):
        return data
    colors, bits, columns = (_number(given.get(key), default) for key, default in _GEOMETRY)
    row_bytes = -(-colors * bits * columns // 8)
    if not 0 < row_bytes <= _ROW_BYTES_MAX:
        raise _Unknown
    if predictor == 2:
        return _tiff_rows(data, colors, bits, row_bytes)
    pixel_bytes = max(colors * bits // 8, 1)
    missing = -len(data) % (row_bytes + 1)
    data += bytes(missing)
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, row_bytes + 1)
    if np.all(rows[:, 0] == 2):
        out = np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8).tobytes()
    else:
        if not effort.take(len(data)):
            raise _Full(data, SLOW_LIMIT)
        out = _png_rows(data, row_bytes, pixel_bytes)
    return out[: len(out) - min(missing, row_bytes)]


def _tiff_rows(data: bytes, colors: int, bits: int, row_bytes: int) -> bytes:
    """Each sample is what it adds to the one before it in its row. Raises: _Unknown for samples below a byte."""
    if bits not in (8, 16):
        raise _Unknown
    missing = -len(data) % row_bytes
    numbers = np.frombuffer(data + bytes(missing), dtype=np.uint8 if bits == 8 else np.dtype(">u2"))
    rows = numbers.astype(np.uint8 if bits == 8 else np.uint16).reshape(-1, row_bytes * 8 // bits // colors, colors)
    out = np.cumsum(rows, axis=1, dtype=rows.dtype).astype(numbers.dtype).tobytes()
    return out[: len(data)]


def _png_rows(data: bytes, row_bytes: int, pixel_bytes: int) -> bytes:
    out = bytearray()
    above = bytes(row_bytes)
    for start in range(0, len(data), row_bytes + 1):
        above = _png_row(data[start], data[start + 1 : start + 1 + row_bytes], above, pixel_bytes)
        out += above
    return bytes(out)


_GEOMETRY: Final = (("Colors", 1), ("BitsPerComponent", 8), ("Columns", 1))


def _number(value: Value, default: int) -> int:
    return value if isinstance(value, int) and 0 < value < 1 << 20 else default


def _png_row(kind: int, row: bytes, above: bytes, pixel_bytes: int) -> bytes:
    if kind == 0 or kind > 4:
        return row
    if kind == 2:
        return ((np.frombuffer(row, np.uint8) + np.frombuffer(above, np.uint8)) & 0xFF).astype(np.uint8).tobytes()
    out = bytearray(row)
    for at in range(len(out)):
        left = out[at - pixel_bytes] if at >= pixel_bytes else 0
        if kind == 1:
            guess = left
        elif kind == 3:
            guess = (left + above[at]) // 2
        else:
            corner = above[at - pixel_bytes] if at >= pixel_bytes else 0
            guess = _paeth(left, above[at], corner)
        out[at] = (out[at] + guess) & 0xFF
    return bytes(out)


def _paeth(left: int, above: int, corner: int) -> int:
    guess = left + above - corner
    distances = (abs(guess - left), abs(guess - above), abs(guess - corner))
    return (left, above, corner)[distances.index(min(distances))]


_FILTERS: Final[dict[str, Callable[[bytes, _Gauge], tuple[bytes, bool]]]] = {
    "FlateDecode": _flate,
    "Fl": _flate,
    "LZWDecode": _lzw,
    "LZW": _lzw,
    "ASCIIHexDecode": _hex,
    "AHx": _hex,
    "ASCII85Decode": _ascii85,
    "A85": _ascii85,
    "RunLengthDecode": _run_length,
    "RL": _run_length,
}
_PREDICTED: Final = frozenset({"FlateDecode", "Fl", "LZWDecode", "LZW"})
