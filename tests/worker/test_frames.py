"""Messages between processes: what goes in comes out, and foreign bytes end in msgspec's error alone."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from icapd.config.schema import Scanners
from icapd.errors import Problem
from icapd.scan.model import EngineReport, Finding, FindingKind, Identity, Outcome, Severity
from icapd.scan.tree import Examination
from icapd.worker.frames import (
    PACKET_BYTES_MAX,
    BuildFailed,
    Drain,
    Exited,
    Fatal,
    FromFront,
    FromNursery,
    Loaded,
    Metrics,
    ReadMetrics,
    Ready,
    ScanAnswer,
    ScanTask,
    Spawn,
    Spawned,
    ToFront,
    decode_answer,
    decode_from_front,
    decode_from_nursery,
    decode_spawn,
    decode_task,
    decode_to_front,
    decode_values,
    encode,
    encode_task,
    encode_values,
    pack_problems,
    unpack_problems,
)

PROBLEMS = [Problem("rules/a.yar:3", "no such thing"), Problem("", "nowhere")]
TASK = ScanTask(7, 5, b"\x00\xff" * 16, 12.5, "gzip", ("yara", "hashes"))
EXAMINATION = Examination(
    Identity("application/zip", "archive", "ZIP"),
    (
        EngineReport("yara", Outcome.FOUND, (Finding(FindingKind.MALWARE, "x", "yara", Severity.LOW, ("a", "b")),)),
        EngineReport("hashes", Outcome.FAILED, (), 0.5, "broken"),
    ),
    1234,
    0.25,
)
Decode = Callable[[bytes], object]


@pytest.mark.parametrize(
    ("message", "decode"),
    [
        (Loaded(1.5), decode_from_nursery),
        (BuildFailed(pack_problems(PROBLEMS)), decode_from_nursery),
        (Spawned(3, 4711), decode_from_nursery),
        (Exited(3, 4711, 2, 9), decode_from_nursery),
        (Spawn(3), decode_spawn),
        (Ready(True), decode_from_front),
        (Fatal(pack_problems(PROBLEMS)), decode_from_front),
        (Metrics(9), decode_from_front),
        (Drain(30.0), decode_to_front),
        (ReadMetrics(9), decode_to_front),
        (ScanAnswer(7, EXAMINATION), decode_answer),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, msgspec.Struct) else "",
)
def test_round_trip(message: FromFront | ToFront | FromNursery | Spawn | ScanAnswer, decode: Decode) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256)) * 8], ids=["none", "one byte", "2 KiB"])
@pytest.mark.parametrize("task", [TASK, ScanTask(1, 0, b"", 0.0)], ids=["full", "least"])
def test_task_with_its_body(task: ScanTask, body: bytes) -> None:
    assert decode_task(encode_task(task) + body) == (task, body)


def test_metric_values_survive() -> None:
    values = {"a": [((), 1.0), (("x", "y"), 2.5)], "b": []}

    assert decode_values(encode_values(values)) == values


def test_problems_survive() -> None:
    assert unpack_problems(pack_problems(PROBLEMS)) == PROBLEMS


def test_a_task_with_the_largest_inline_body_fits_a_packet() -> None:
    inline_bytes_max = next(
        bound.le for bound in Scanners.model_fields["inline_bytes"].metadata if hasattr(bound, "le")
    )
    task = msgspec.structs.replace(TASK, coding="c" * 1024, engines=tuple(f"engine-{n}" for n in range(100)))

    assert len(encode_task(task)) + inline_bytes_max <= PACKET_BYTES_MAX


@pytest.mark.parametrize("decode", [decode_from_front, decode_to_front, decode_from_nursery, decode_spawn])
def test_a_message_for_somebody_else_is_refused(decode: Decode) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(encode(ScanAnswer(7, EXAMINATION)))


def test_a_front_takes_no_word_of_a_nursery() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_to_front(encode(Loaded(1.0)))


@pytest.mark.parametrize(
    ("packet", "decode"),
    [
        (encode(ScanAnswer(7, EXAMINATION)), decode_answer),
        (encode(Metrics(9)), decode_from_front),
        (encode_values({"a": [(("x",), 1.0)]}), decode_values),
        (encode(Drain(30.0)), decode_to_front),
        (encode(Spawned(3, 4711)), decode_from_nursery),
        (encode(Spawn(3)), decode_spawn),
        (encode_task(TASK), decode_task),
    ],
    ids=["answer", "from front", "values", "to front", "from nursery", "spawn", "task"],
)
def test_a_truncated_packet_is_refused(packet: bytes, decode: Decode) -> None:
    for length in range(len(packet)):
        with pytest.raises(msgspec.MsgspecError):
            decode(packet[:length])


@given(st.binary(max_size=200))
@example(b"\xff\xff\xff\xff")
@example(b"\x00\x00\x00\x00")
@example(b"\x81\xa9\x00\x00\x00\x00\x00\x00\x00\x00\x80")  # text that is no Unicode
def test_foreign_bytes_end_in_one_kind_of_error(packet: bytes) -> None:
    decoders: tuple[Decode, ...] = (
        decode_answer,
        decode_from_front,
        decode_to_front,
        decode_from_nursery,
        decode_spawn,
        decode_task,
        decode_values,
    )
    for decode in decoders:
        with pytest.raises(msgspec.MsgspecError):
            decode(packet)
