"""Filters give back what was put in, and no file costs more than a little time and memory."""

from __future__ import annotations

import time
import tracemalloc
import zlib
from collections.abc import Callable
from functools import cache

import pytest

from engines.pdf import PdfOptions, document, filters, values
from engines.pdf.document import Document
from engines.pdf.filters import Effort, decode
from engines.pdf.unpacker import PdfUnpacker
from engines.pdf.values import Name, Reader, Ref, Value
from icapd.scan.model import HELD_BYTES, Budget, FindingKind, Sample
from tests.engines.document_probe import members, names, scan
from tests.engines.pdf_writing import ENCODERS, object_stream, png_rows, stream
from tests.engines.pdf_writing import document as written
from tests.support.pace import is_within

CONTENT = b"".join(b"%d soup and %d bread\n" % (number, number * 7) for number in range(2000))
MiB = 1 << 20


def decoded(raw: bytes, *names: str, parameters: Value = None, max_bytes: int = MiB) -> bytes:
    budget = Budget(time.monotonic() + 20)
    return decode(raw, list(names), [parameters] * len(names), budget, Effort(), max_bytes).data


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 127, 128, 129, 258, 600, 5000, len(CONTENT)])
def test_every_filter_gives_back_what_was_put_in(name: str, size: int) -> None:
    assert decoded(ENCODERS[name](CONTENT[:size]), name) == CONTENT[:size]


@pytest.mark.parametrize("name", ENCODERS)
def test_bytes_of_every_value_come_back(name: str) -> None:
    content = bytes(range(256)) * 40 + bytes(500)
    assert decoded(ENCODERS[name](content), name) == content


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("columns", [1, 4, 5])
def test_predictors_are_undone(kind: int, columns: int) -> None:
    content = CONTENT[: 50 * columns]
    parameters: Value = {"Predictor": 12, "Columns": columns}
    assert decoded(zlib.compress(png_rows(content, columns, kind)), "FlateDecode", parameters=parameters) == content


def test_what_comes_before_damage_is_kept() -> None:
    packed = bytearray(zlib.compress(CONTENT))
    packed[len(packed) // 2] ^= 0xFF
    kept = decoded(bytes(packed), "FlateDecode")
    assert len(kept) > 1000
    assert CONTENT.startswith(kept[:1000])
    assert decoded(zlib.compress(CONTENT)[:-20], "FlateDecode")[:5000] == CONTENT[:5000]
    assert decoded(zlib.compress(CONTENT)[2:-4], "FlateDecode") == CONTENT


def test_a_stream_ends_at_its_limit() -> None:
    packed = zlib.compress(bytes(2 * MiB))
    assert len(decoded(packed, "FlateDecode", max_bytes=MiB)) == MiB
    budget = Budget(time.monotonic() + 20)
    whole = decode(packed, ["FlateDecode"], [], budget, Effort(), 2 * MiB)
    assert (len(whole.data), whole.limit) == (2 * MiB, "")
    assert decode(packed, ["FlateDecode"], [], budget, Effort(), 2 * MiB - 1).limit == filters.STREAM_LIMIT


def test_chains_end_at_their_limit() -> None:
    content = CONTENT[:50]
    chain = ["ASCIIHexDecode"] * filters.CHAIN_MAX
    packed = content
    for name in chain:
        packed = ENCODERS[name](packed)
    budget = Budget(time.monotonic() + 20)
    assert decode(packed, chain, [], budget, Effort(), MiB).data == content
    longer = decode(ENCODERS["ASCIIHexDecode"](packed), [*chain, "ASCIIHexDecode"], [], budget, Effort(), MiB)
    assert longer.limit == filters.CHAIN_LIMIT


def test_slow_filters_end_at_their_limit() -> None:
    packed = ENCODERS["LZWDecode"](CONTENT)
    budget = Budget(time.monotonic() + 20)
    assert decode(packed, ["LZWDecode"], [], budget, Effort(len(packed)), MiB).data == CONTENT
    assert decode(packed, ["LZWDecode"], [], budget, Effort(len(packed) - 1), MiB).limit == filters.SLOW_LIMIT


def value_of(data: bytes) -> Value:
    return Reader(data, [1_000_000], set()).value(0)[0]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b"<< /A 1 /B [1 2 R true null] /C (a\\(b\\)c) >>", {"A": 1, "B": [Ref(1, 2), True, None], "C": b"a(b)c"}),
        (b"[12 0 R]", [Ref(12, 0)]),
        (b"/J#61va#53cript", Name("JavaScript")),
        (b"(a(b)c\\101\\n\\\r\nd)", b"a(b)cA\nd"),
        (b"<4a 53\n4>", b"JS@"),
        (b"% note\r\n -1.5", -1.5),
        (b"<< /A", {"A": None}),
        (b"[1 (a", [1, b"a"]),
        (b"<4a", b"J"),
        (b"", None),
        (b"--5", 0),
    ],
)
def test_values_are_read_as_readers_read_them(written: bytes, expected: Value) -> None:
    assert value_of(written) == expected


def test_values_nest_to_the_limit() -> None:
    assert value_of(b"[" * 40 + b"7" + b"]" * 40) is not None
    assert value_of(b"[" * 100_000) is not None
    assert value_of(b"<</A" * 100_000) is not None


def test_objects_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(*["<< /S /URI >>"] * 20)
    monkeypatch.setattr(document, "OBJECTS_MAX", 20)
    assert document.OBJECTS_LIMIT not in names(scan(data))
    monkeypatch.setattr(document, "OBJECTS_MAX", 19)
    assert document.OBJECTS_LIMIT in names(scan(data))
    monkeypatch.undo()
    monkeypatch.setattr(document, "CANDIDATES_MAX", 18)
    assert document.OBJECTS_LIMIT in names(scan(data))


def test_tokens_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written("<< /S /Launch >>")  # two tokens, and three of the trailer
    more = len(data) // values.BYTES_FOR_A_TOKEN
    monkeypatch.setattr(document, "TOKENS_MAX", 5 - more)
    assert values.TOKENS_LIMIT not in names(scan(data))
    monkeypatch.setattr(document, "TOKENS_MAX", 4 - more)
    assert values.TOKENS_LIMIT in names(scan(data))


def test_object_streams_end_at_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = object_stream({9: "<< /S /Launch >>"})
    size = len("9 0 << /S /Launch >>")
    monkeypatch.setattr(document, "PACKED_BYTES_MAX", size)
    assert document.PACKED_LIMIT not in names(scan(written(packed)))
    monkeypatch.setattr(document, "PACKED_BYTES_MAX", size - 1)
    assert document.PACKED_LIMIT in names(scan(written(packed)))


def test_scripts_end_at_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written("<< /S /JavaScript /JS (0123456789) >>")
    monkeypatch.setattr("engines.pdf.judge.SCRIPT_CHARACTERS_MAX", 10)
    assert "pdf.max_script_bytes" not in names(scan(data))
    monkeypatch.setattr("engines.pdf.judge.SCRIPT_CHARACTERS_MAX", 9)
    assert "pdf.max_script_bytes" in names(scan(data))


def test_actions_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written("<< /S /Launch >>", "<< /S /Launch >>")
    monkeypatch.setattr("engines.pdf.judge.ACTIONS_MAX", 2)
    assert "pdf.max_actions" not in names(scan(data))
    monkeypatch.setattr("engines.pdf.judge.ACTIONS_MAX", 1)
    assert "pdf.max_actions" in names(scan(data))


def test_a_definition_older_than_the_last_few_is_still_walked() -> None:
    data = b"%PDF-1.4\n" + b"5 0 obj\n<< /S /Launch >>\nendobj\n" + b"5 0 obj\n<< >>\nendobj\n" * 20 + b"%%EOF"
    assert "pdf:launch" in names(scan(data))


def _spread(piece: bytes, size: int = 2 * MiB) -> bytes:
    return b"%PDF-1.7\n" + piece * (size // len(piece)) + b"\n%%EOF"


def _refs() -> bytes:
    """Each object is an action whose files are each of the next objects."""
    keys = " ".join(f"/{key} 1 0 R" for key in ("F", "UF", "Win", "P", "D", "O", "Unix", "Mac"))
    return b"%PDF-1.7\n" + f"1 0 obj\n<< /S /Launch {keys} >>\nendobj\n".encode() * 5000


BOMBS: dict[str, Callable[[], bytes]] = {
    "zeros": lambda: written(stream(bytes(64 * MiB))),
    "zeros twice": lambda: written(stream(bytes(64 * MiB), "", ("FlateDecode", "FlateDecode"))),
    "many zeros": lambda: written(*[stream(bytes(4 * MiB))] * 100),
    "runs": lambda: written(stream(bytes(8 * MiB), "", ("FlateDecode", "RunLengthDecode"))),
    "z": lambda: written(stream(bytes(24 * MiB), "", ("FlateDecode", "ASCII85Decode"))),
    "lzw": lambda: written(*[stream(bytes(60_000), "", ("FlateDecode", "LZWDecode"))] * 500),
    "rows": lambda: written(
        *[stream(png_rows(bytes(90_000), 100, 4), "/DecodeParms << /Predictor 15 /Columns 100 >>")] * 100
    ),
    "objects without ends": lambda: _spread(b"1 0 obj "),
    "telling objects without ends": lambda: _spread(b"1 0 obj <</JS "),
    "open strings": lambda: _spread(b"1 0 obj (/JS "),
    "open arrays": lambda: _spread(b"1 0 obj [/JS "),
    "open hexadecimal": lambda: _spread(b"1 0 obj <a/JS "),
    "open comments": lambda: _spread(b"1 0 obj /JS %"),
    "streams without ends": lambda: _spread(b"1 0 obj <<>> stream "),
    "no objects": lambda: _spread(b" obj"),
    "digits": lambda: _spread(b"1"),
    "brackets": lambda: _spread(b"1 0 obj /JS [[[[[[[[ endobj "),
    "trailers": lambda: _spread(b"trailer <<"),
    "slashes": lambda: _spread(b"1 0 obj " + b"/" * 5000 + b" endobj "),
    "references": lambda: _refs(),
    "object streams": lambda: written(*[object_stream(dict.fromkeys(range(2000), "<< /S /Launch /F 9 0 R >>"))] * 30),
    "lies": lambda: written(
        b"<< /Type /ObjStm /N 999999999 /First 8 /Length 8 >>\nstream\n" + b"9 9 9 9 \nendstream"
    ),
}


@cache
def bomb_of(name: str) -> bytes:
    """Made once: several take longer to make than to read."""
    return BOMBS[name]()


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_costs_little_time_and_memory(bomb: str) -> None:
    data = bomb_of(bomb)
    started = time.process_time()
    report = scan(data)
    spent = time.process_time() - started
    assert not any(finding.kind is FindingKind.FAILED for finding in report.findings)
    assert is_within(spent, 2), spent


@pytest.mark.parametrize("bomb", ["zeros", "zeros twice", "many zeros", "runs", "z"])
def test_a_bomb_takes_little_memory(bomb: str) -> None:
    data = bomb_of(bomb)
    tracemalloc.start()
    scan(data, pdf=PdfOptions())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * MiB


def test_a_document_is_read_from_a_buffer_of_any_kind() -> None:
    import mmap

    data = written("<< /S /Launch /F (manual.pdf) >>", stream(b"x"))
    with mmap.mmap(-1, len(data)) as mapped:
        mapped[:] = data
        found = Document(mapped, Budget(time.monotonic() + 20), MiB)
        found.read()
        assert [each.number for each in found.objects] == [1, 2]
        del found


def test_what_is_held_while_members_are_looked_at_counts() -> None:
    packed, page = object_stream({9: "<< /S /URI >>" + " " * 5000}), b"q 1 0 0 1 0 0 cm BT ET\n"
    data = written(packed, stream(page), stream(b"<html>soup</html>"))
    budget = Budget(time.monotonic() + 60, held_bytes_left=10_000)
    left = {}
    for item in PdfUnpacker(PdfOptions()).unpack(Sample(data), budget):
        if isinstance(item, Sample):
            left[item.name] = budget.held_bytes_left
    held_bytes = len("9 0 << /S /URI >>") + 5000
    assert left == {
        "stream 1": 10_000 - held_bytes,
        "stream 3": 10_000 - held_bytes - len(page),
        "stream 2": 10_000 - held_bytes,
    }
    assert budget.held_bytes_left == 10_000


@pytest.mark.parametrize("short_bytes", [0, 1])
def test_a_stream_ends_at_what_may_be_held(short_bytes: int) -> None:
    data = written(stream(CONTENT))
    budget = Budget(time.monotonic() + 60, held_bytes_left=len(CONTENT) - short_bytes)
    assert (HELD_BYTES in names(scan(data, budget=budget))) is bool(short_bytes)


def test_a_large_stream_of_contents_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    page = b"q 1 0 0 1 0 0 cm BT ET\n"
    data = written(stream(page), stream(page * 9))
    monkeypatch.setattr("engines.pdf.contents.JOINED_BYTES", len(page) * 9 + 1)
    assert set(members(data)) == {(), ("contents 1",)}
    monkeypatch.setattr("engines.pdf.contents.JOINED_BYTES", len(page) * 9)
    assert set(members(data)) == {(), ("stream 1",), ("stream 2",)}
